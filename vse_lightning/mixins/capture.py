"""Embeddings that the host's own step makes, taken while it runs, so that its encoders run once."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

Embeddings = tuple[Tensor, Tensor]
FIELDS = ("image_embeds", "text_embeds")


class Recorders(dict[tuple[int, str], tuple[Callable[..., Any], list[Any]]]):
    """What records the outputs of a method, kept so that torch.compile sees the same function in every step.

    Copies of the host start without: theirs would call the original's encoders.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recorders":
        return Recorders()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Recorders, ()


@contextmanager
def capturing(module: nn.Module, names: Sequence[str], recorders: Recorders) -> Iterator[dict[str, list[Any]]]:
    """Record what the named submodules or methods return meanwhile.

    Args:
        module: the host.
        names: dotted: ``"forward"``, ``"image_projection"``, ``"model.encode_image"``.
        recorders: of the host.

    Yields:
        The outputs by name, filled as the host calls them.

    Raises:
        AttributeError: the host has nothing of that name.
        TypeError: what has that name cannot be called.
    """
    outputs: dict[str, list[Any]] = {}
    patched: list[tuple[Any, str, Any]] = []
    try:
        for name in names:
            owner, attribute = _find(module, name)
            method = getattr(owner, attribute)
            record, recorded = recorders.get((id(owner), attribute), (None, []))
            if record is None or record.__wrapped__ != method:  # type: ignore[attr-defined]
                record, recorded = recorders[id(owner), attribute] = _recorder(method)
            recorded.clear()
            outputs[name] = recorded
            patched.append((owner, attribute, vars(owner).get(attribute)))
            setattr(owner, attribute, record)
        yield outputs
    finally:
        for owner, attribute, earlier in reversed(patched):
            if earlier is None:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, earlier)


def _find(module: nn.Module, name: str) -> tuple[Any, str]:
    """The object and the attribute to record: ``forward`` of a submodule, or a method."""
    owner: Any = module
    *path, last = name.split(".")
    for part in path:
        owner = _attribute(owner, part, module, name)
    target = _attribute(owner, last, module, name)
    if not callable(target) or isinstance(target, Tensor):
        kind = type(target).__name__
        raise TypeError(f"retrieval_embeds_from names {name!r}, a {kind}: name a submodule or a method")
    return (target, "forward") if isinstance(target, nn.Module) else (owner, last)


def _attribute(owner: Any, part: str, module: nn.Module, name: str) -> Any:
    try:
        return getattr(owner, part)
    except AttributeError:
        offered = [child for child, _ in owner.named_children()] if isinstance(owner, nn.Module) else []
        raise AttributeError(
            f"retrieval_embeds_from names {name!r}, but {type(owner).__name__} has no {part!r}"
            + (f" among its submodules {', '.join(offered)}" if offered else "")
        ) from None


def _recorder(method: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    outputs: list[Any] = []

    @wraps(method, updated=())  # not what torch.compile has marked the method with
    def record(*args: Any, **kwargs: Any) -> Any:
        output = method(*args, **kwargs)
        untraced = not (torch.is_grad_enabled() or torch.compiler.is_compiling()) and _in_checkpoint()
        outputs.append(_Untraced(output) if untraced else output)
        return output

    return record, outputs


class _Untraced(NamedTuple):
    """What was made within ``checkpoint(use_reentrant=True)``: only what that returns has a gradient."""

    output: Any


def _in_checkpoint() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame.f_back is not None


def captured_embeddings(outputs: Mapping[str, Sequence[Any]], step: str) -> Embeddings:
    """The embeddings among what was recorded.

    Raises:
        RuntimeError: something ran never, or more than once, or where its gradient is lost.
        TypeError: what came back holds no embeddings.
    """
    for name, recorded in outputs.items():
        if len(recorded) != 1:
            times = f"{len(recorded)} times" if recorded else "not at all"
            raise RuntimeError(
                f"retrieval_embeds_from: {name!r} must run exactly once in {step}, but ran {times}: name another "
                "submodule or method, or define retrieval_embeds(batch) -> (image_embeds, text_embeds)"
            )
    made = {name: output.output if isinstance(output, _Untraced) else output for name, (output,) in outputs.items()}
    embeds = _embeddings_of(made)
    for name, own in zip(made, [embeds] if len(made) == 1 else [embeds[:1], embeds[1:]], strict=True):
        lost = torch.is_grad_enabled() and not all(matrix.requires_grad for matrix in own)
        if lost and isinstance(outputs[name][0], _Untraced):
            raise RuntimeError(
                f"retrieval_embeds_from: {name!r} runs within checkpoint(use_reentrant=True), where nothing has a "
                "gradient: checkpoint with use_reentrant=False, or name what returns the embeddings outside"
            )
    return embeds


def _embeddings_of(made: Mapping[str, Any]) -> Embeddings:
    if len(made) == 1:
        ((name, output),) = made.items()
        return checked_embeddings(output, name)
    embeds = [_one_output(output, field, name) for field, (name, output) in zip(FIELDS, made.items(), strict=True)]
    return checked_embeddings(tuple(embeds), " and ".join(made))


def _one_output(output: Any, field: str, name: str) -> Any:
    """The embeddings that one encoder returned: a tensor, or a field of what Hugging Face models return."""
    if isinstance(output, Tensor):
        return output
    for known in (field, "pooler_output"):
        value = _field(output, known)
        if isinstance(value, Tensor):
            return value
    raise TypeError(f"{name} must return {field} as a tensor, got {_shown(output)}: name what returns it")


def checked_embeddings(returned: Any, source: str) -> Embeddings:
    """Two matrices from a pair, or from a mapping or object that has both fields.

    Args:
        returned: what came back.
        source: who returned it, for the message.

    Raises:
        TypeError: anything else, saying what came and what to return.
    """
    pair = embeddings_in(returned)
    if pair is None and isinstance(returned, tuple | list) and len(returned) == 2:
        pair = (returned[0], returned[1])
    if pair is None:
        first = " (take the first two)" if isinstance(returned, tuple | list) and len(returned) > 2 else ""
        raise TypeError(
            f"{source} must return (image_embeds (N, D), text_embeds (M, D)), or have these two fields, got "
            f"{_shown(returned)}: return these two from retrieval_embeds(batch){first}"
        )
    for field, embeds in zip(FIELDS, pair, strict=True):
        matrix = isinstance(embeds, Tensor) and embeds.ndim == 2 and embeds.is_floating_point()
        if not matrix:
            raise TypeError(
                f"{source}: {field} must be a floating point matrix, one row for each, got {_shown(embeds)}: return "
                "one vector for each from retrieval_embeds(batch)"
            )
    dtype: torch.dtype = torch.promote_types(pair[0].dtype, pair[1].dtype)
    return pair[0].to(dtype), pair[1].to(dtype)


def embeddings_in(output: Any) -> Embeddings | None:
    """The two fields of a mapping or object, if it has both."""
    if isinstance(output, Tensor | tuple | list) and not hasattr(output, FIELDS[0]):
        return None
    image_embeds, text_embeds = (_field(output, name) for name in FIELDS)
    return None if image_embeds is None or text_embeds is None else (image_embeds, text_embeds)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _shown(value: Any) -> str:
    """What a value is, short enough for a message."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, list(value)[:8])) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}: {'; '.join(_shown(part) for part in value[:4])}"
    return "None" if value is None else type(value).__name__
