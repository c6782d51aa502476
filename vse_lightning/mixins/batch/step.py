"""One step of a host: its targets, asked before the host may empty the batch, and its embeddings, made once."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.mixins.batch.capture import (
    Output,
    TapesOfHost,
    capturing,
    replaying,
    require_gradients,
    require_once,
)
from vse_lightning.mixins.batch.chunks import embed_in_chunks
from vse_lightning.mixins.batch.returned_embeddings import (
    EmbeddingPair,
    captured_embeddings,
    checked_embeddings,
    embeddings_in,
    matrices_in,
)
from vse_lightning.targets import RetrievalTargets

TARGET_KEYS = ("image_ids", "text_image_ids", "text_ids", "relevance", "text_features")


class Step:
    """What both mixins know of the batch of a running step."""

    def __init__(self, module: Any, batch: Any, name: str, outer: "Step | None" = None) -> None:
        self.module, self.batch, self.name, self.outer = module, batch, name, outer
        self.copy = copy(batch) if _can_be_emptied(batch) else batch
        self.targets = checked_targets(module.retrieval_targets(self.copy))
        self.finished = False  # whether an inner step has already added or measured what the outer one would
        self._tapes: TapesOfHost = module.__dict__.setdefault("_retrieval_tapes", TapesOfHost())
        self._made: EmbeddingPair | None = None
        self._replays = False
        self._outputs: dict[str, list[Output]] | None = None if outer is None else outer._outputs

    def is_about(self, batch: Any) -> bool:
        """Whether the step is that of a batch, not of another one, or of a part."""
        return batch is self.batch or batch is self.copy

    @property
    def embedded(self) -> bool:
        """Whether ``retrieval_embeds`` ran encoders."""
        return self._made is not None and not self._replays

    def finish(self) -> None:
        """Nothing is left to add or measure, for the steps around this one neither."""
        step: Step | None = self
        while step is not None:
            step.finished, step = True, step.outer

    @contextmanager
    def host_running(self) -> Iterator[None]:
        """Record the embeddings that the host names while its own step runs."""
        names = embeds_from(self.module)
        with capturing(self.module, names, self._tapes) if names else nullcontext() as self._outputs:
            yield

    def embed(self, method: Callable[[Any], Any], batch: Any) -> Any:
        """What the host's ``retrieval_embeds`` returns, called once for the batch of the step whoever asks."""
        if not self.is_about(batch):
            return method(batch)
        if self._made is None:
            size = self.module.__dict__.get("relevance_chunk_size")
            chunked = size is not None and self.module.training and not self._replays
            made = embed_in_chunks(method, self.module, batch, size) if chunked else method(batch)
            self._made = checked_embeddings(made, "retrieval_embeds(batch)")
        return self._made

    def embeddings(self, output: Any = None, *, supplied: bool = False) -> EmbeddingPair:
        """The embeddings of the batch, whose step returned ``output``, or is ``supplied`` as the host has none."""
        captured = {} if supplied else self._outputs or {}  # by a supplied step nothing was captured
        method = hasattr(self.module, "retrieval_embeds")
        if matrices_in(output) or (embeddings_in(output) is not None and not method and not captured):
            return checked_embeddings(output, f"{self.name}'s output")
        if not method and not captured:
            raise TypeError(_no_embeddings(self.module, self.name))
        if method:  # it runs what the step did not
            captured = {name: recorded for name, recorded in captured.items() if recorded}
        return self._from_captured(captured, method=method) if captured else self._from_method()

    def _from_captured(self, captured: Mapping[str, list[Output]], *, method: bool) -> EmbeddingPair:
        """Embeddings in what the host's step ran, picked by ``retrieval_embeds`` if there is one."""
        require_once(captured, self.name)
        untraced = {name: recorded.untraced for name, (recorded,) in captured.items()}
        if method:
            self._replays = True
            with replaying(self.module, list(captured), self._tapes):
                embeds = self._from_method()
        else:
            embeds = captured_embeddings({name: recorded.output for name, (recorded,) in captured.items()})
        require_gradients(untraced, embeds)
        return embeds

    def _from_method(self) -> EmbeddingPair:
        return checked_embeddings(self.module.retrieval_embeds(self.copy), "retrieval_embeds(batch)")

    def resolved(self, embeds: EmbeddingPair, first_pair: int = 0) -> RetrievalTargets:
        """The targets of the embeddings, checked against them."""
        widths = embeds[0].shape[1], embeds[1].shape[1]
        message = (
            "image_embeds and text_embeds must have the same width for the cosine, got {} and {}: project them, or "
        )
        message += "override retrieval_similarity"
        require(not uses_cosine(self.module) or widths[0] == widths[1], message, *widths)
        return self.targets.resolve(*embeds, first_pair)


@contextmanager
def step_of(module: Any, batch: Any, name: str) -> Iterator[Step]:
    """The running step: a new one, or the one around it where a class overrides a step and calls ``super()``.

    Another batch than that of the step around it, or a part of it, has targets and embeddings of its own.
    """
    outer: Step | None = module.__dict__.get("_retrieval_step")
    if outer is not None and outer.is_about(batch):
        yield outer
        return
    module.__dict__["_retrieval_step"] = step = Step(module, batch, name, outer)
    try:
        yield step
    finally:
        if outer is None:
            del module.__dict__["_retrieval_step"]
        else:
            module.__dict__["_retrieval_step"] = outer


def _can_be_emptied(batch: Any) -> bool:
    """Whether a step might take something out of a batch, or put ``None`` in its place."""
    return isinstance(batch, MutableMapping | list) or is_dataclass(batch) or isinstance(batch, SimpleNamespace)


def cosine_of_module(self: Any, image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
    """Scores ``(N, M)`` of images and texts, higher is closer: their cosine, unless the host defines another."""
    return cosine_similarity(image_embeds, text_embeds)


def uses_cosine(module: Any) -> bool:
    """Whether a host leaves ``retrieval_similarity`` as it is."""
    return getattr(module.retrieval_similarity, "__func__", None) is cosine_of_module


def embeds_from(module: Any) -> tuple[str, ...]:
    """The names in the host's ``retrieval_embeds_from``."""
    named = getattr(module, "retrieval_embeds_from", None)
    if named is None or isinstance(named, str):
        return () if named is None else (named,)
    names = tuple(named) if isinstance(named, tuple | list) else ()
    if len(names) == 2 and names[0] != names[1] and all(isinstance(name, str) for name in names):
        return names
    raise TypeError(
        "retrieval_embeds_from must be 'forward', or one or two different names of submodules or methods, such as "
        f"('image_projection', 'text_projection'), got {named!r}"
    )


def checked_targets(returned: Any) -> RetrievalTargets:
    """What ``retrieval_targets`` returned, also as a mapping."""
    if isinstance(returned, RetrievalTargets):
        return returned
    if isinstance(returned, Mapping) and set(returned) <= set(TARGET_KEYS):
        ids = returned.get("image_ids"), returned.get("text_image_ids")
        return RetrievalTargets(*ids, **{key: returned.get(key) for key in TARGET_KEYS[2:]})
    kind = type(returned).__name__
    kind += f" with {', '.join(map(str, list(returned)[:8]))}" if isinstance(returned, Mapping) else ""
    kind += f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
    raise TypeError(
        f"retrieval_targets(batch) must return RetrievalTargets(image_ids, text_image_ids, text_ids=...), got {kind}"
    )


def embeddings_and_ids(module: Any, batch: Any, loader: int = 0) -> dict[str, Tensor]:
    """Embeddings and ids of a batch in prediction, on the CPU; text ids that the batch lacks are left out."""
    with step_of(module, batch, "predict_step") as step:
        supplied = hasattr(module, "retrieval_embeds")
        if not supplied and embeds_from(module) == ("forward",):
            with step.host_running():
                module(batch)
        embeds = step.embeddings(supplied=supplied)
        targets = step.resolved(embeds, pairs_seen(module, loader))
        count_pairs(module, loader, len(embeds[0]))
    image_ids, text_image_ids = targets.known_ids()
    columns = {"image_embeds": embeds[0], "text_embeds": embeds[1], "image_ids": image_ids}
    columns |= {"text_ids": targets.text_ids, "text_image_ids": text_image_ids}  # type: ignore[dict-item]
    return {name: column.detach().cpu() for name, column in columns.items() if column is not None}


def pairs_seen(module: Any, loader: int) -> int:
    """How many pairs of a dataloader this process has seen in the epoch."""
    return int(module.__dict__.get("_retrieval_pairs", {}).get(loader, 0))


def count_pairs(module: Any, loader: int, count: int) -> None:
    """Remember that so many more pairs of a dataloader were seen."""
    module.__dict__.setdefault("_retrieval_pairs", {})[loader] = pairs_seen(module, loader) + count


def forget_pairs(module: Any) -> None:
    """Start an epoch."""
    module.__dict__.pop("_retrieval_pairs", None)
    module.__dict__.pop("_retrieval_unnamed", None)


def _no_embeddings(module: Any, step: str) -> str:
    host = type(module).__name__
    if embeds_from(module):
        own = ", or a test_step that calls validation_step" if step == "test_step" else ""
        return (
            f"retrieval_embeds_from captures embeddings in the steps that a host has, and {host} has no {step}: define "
            f"retrieval_embeds(batch) -> (image_embeds (N, D), text_embeds (M, D)), such as `return self(batch)`{own}"
        )
    return (
        f"{host} does not say where its embeddings come from: return image_embeds (N, D) and text_embeds (M, D) in the "
        f"mapping that {step} returns, set the class attribute retrieval_embeds_from = 'forward' (or names of "
        "submodules or methods), or define retrieval_embeds(batch) -> (image_embeds, text_embeds)"
    )
