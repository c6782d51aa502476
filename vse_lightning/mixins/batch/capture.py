"""Embeddings that the host's own step makes, taken while it runs, so that its encoders run once."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction


class Tape(NamedTuple):
    """A method that records what it returns, and one in its place that gives it back instead of running."""

    record: Callable[..., Any]
    replay: Callable[..., Any]
    outputs: list["Output"]


class Output(NamedTuple):
    """What a method returned."""

    output: Any
    untraced: bool  # made within checkpoint(use_reentrant=True): only what that returns has a gradient


class TapesOfHost(dict[tuple[int, str], Tape]):
    """The tapes of a host, kept so that torch.compile sees the same functions in every step.

    Copies of the host start without: theirs would call the original's encoders.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "TapesOfHost":
        return TapesOfHost()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return TapesOfHost, ()


@contextmanager
def capturing(module: nn.Module, names: Sequence[str], tapes: TapesOfHost) -> Iterator[dict[str, list[Output]]]:
    """Record what submodules or methods of the host return meanwhile, by name, filled as the host calls them.

    Names are dotted: ``"forward"``, ``"image_projection"``, ``"model.encode_image"``.
    """
    outputs: dict[str, list[Output]] = {}

    def recording() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
        for name in names:
            owner, attribute = _find(module, name)
            method = getattr(owner, attribute)
            tape = tapes.get((id(owner), attribute))
            if tape is None or tape.record.__wrapped__ != method:  # type: ignore[attr-defined]
                tape = tapes[id(owner), attribute] = _tape_of(method, name)
            tape.outputs.clear()
            outputs[name] = tape.outputs
            yield owner, attribute, tape.record

    with _patched(recording()):
        yield outputs


@contextmanager
def replaying(module: nn.Module, names: Sequence[str], tapes: TapesOfHost) -> Iterator[None]:
    """Meanwhile, what has run once gives back, once, what it returned; what has not runs as ever."""
    places = [_find(module, name) for name in names]
    found = [(owner, attribute, tapes[id(owner), attribute]) for owner, attribute in places]
    with _patched((owner, attribute, tape.replay) for owner, attribute, tape in found if tape.outputs):
        yield


@contextmanager
def _patched(functions: Iterable[tuple[Any, str, Callable[..., Any]]]) -> Iterator[None]:
    """Put functions in the place of attributes, one after the other, and put these back."""
    patched: list[tuple[Any, str, Any]] = []
    try:
        for owner, attribute, function in functions:
            patched.append((owner, attribute, vars(owner).get(attribute)))
            setattr(owner, attribute, function)
        yield
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


def _tape_of(method: Callable[..., Any], name: str) -> Tape:
    outputs: list[Output] = []

    @wraps(method, updated=())  # not what torch.compile has marked the method with
    def record(*args: Any, **kwargs: Any) -> Any:
        output = method(*args, **kwargs)
        untraced = not (torch.is_grad_enabled() or torch.compiler.is_compiling()) and _in_checkpoint()
        outputs.append(Output(output, untraced))
        return output

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def replay(*args: Any, **kwargs: Any) -> Any:
        if not outputs:
            raise RuntimeError(
                f"retrieval_embeds(batch) calls {name!r} more than once, but it ran once in the host's step: call it "
                "once, or name something else in retrieval_embeds_from"
            )
        return outputs.pop().output

    return Tape(record, replay, outputs)


def _in_checkpoint() -> bool:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame is not None


def require_once(outputs: Mapping[str, Sequence[Output]], step: str) -> None:
    """Raise a ``RuntimeError`` unless everything captured ran exactly once in a step."""
    for name, recorded in outputs.items():
        if len(recorded) != 1:
            times = f"{len(recorded)} times" if recorded else "not at all"
            raise RuntimeError(
                f"retrieval_embeds_from: {name!r} must run exactly once in {step}, but ran {times}: name another "
                "submodule or method, or nothing, and define retrieval_embeds(batch) -> (image_embeds, text_embeds)"
            )


def require_gradients(untraced: Mapping[str, bool], embeds: Sequence[Tensor]) -> None:
    """Raise a ``RuntimeError`` where embeddings lack a gradient because of where they were captured.

    ``untraced`` says of each captured output whether it has no gradient; two outputs are of one matrix each.
    """
    for name, own in zip(untraced, [embeds] if len(untraced) == 1 else [embeds[:1], embeds[1:]], strict=True):
        lost = torch.is_grad_enabled() and not all(matrix.requires_grad for matrix in own)
        if lost and untraced[name]:
            raise RuntimeError(
                f"retrieval_embeds_from: {name!r} runs within checkpoint(use_reentrant=True), where nothing has a "
                "gradient: checkpoint with use_reentrant=False, or name what returns the embeddings outside"
            )
