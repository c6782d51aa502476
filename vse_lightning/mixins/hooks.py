"""What both mixins share: embeddings made once per step, targets, similarity, and good manners towards the host."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.mixins.extension import Extension, HostFirst, extend_methods_of
from vse_lightning.targets import RetrievalTargets

Embeddings = tuple[Tensor, Tensor]


def _is_configured(host: Any) -> bool:
    return getattr(host, "relevance_loss", None) is not None or getattr(host, "retrieval_metrics", None) is not None


def _embed_once(self: Any, host: Any, batch: Any) -> Embeddings:
    """Within a step the same batch is embedded once, whoever asks."""
    if host is None:
        raise TypeError(
            f"{type(self).__name__} defines no embed(batch) -> (image_embeds (N, D), text_embeds (M, D)): the "
            f"relevance loss and the retrieval metrics call it with the batch, here a {type(batch).__name__}"
        )
    memo = self.__dict__.get("_embedded")
    if memo is not None and memo[0] is batch:
        return memo[1]  # type: ignore[no-any-return]
    embeds: Embeddings = self._call_embed(host, batch)
    if memo is not None:
        self.__dict__["_embedded"] = (batch, embeds)
    return embeds


def _embed_signature(self: Any, batch: Any) -> Any:
    """Embeddings of the batch."""


def embeddings_in(output: Any) -> Embeddings | None:
    """Embeddings that the host's step already made and returned in its dict."""
    if isinstance(output, Mapping) and "image_embeds" in output and "text_embeds" in output:
        return output["image_embeds"], output["text_embeds"]
    return None


def embeddings_and_ids(module: Any, batch: Any) -> dict[str, Tensor]:
    """Embeddings and ids of a batch, on the CPU, as a dict; ids that the batch lacks are left out."""
    with module._one_embedding():
        image_embeds, text_embeds = module.embed(batch)
        targets = module.targets(batch)
    found = {"image_embeds": image_embeds, "text_embeds": text_embeds, "image_ids": targets.image_ids}
    found |= {"text_ids": targets.text_ids, "text_image_ids": targets.text_image_ids}
    return {name: tensor.detach().cpu() for name, tensor in found.items() if tensor is not None}


def _predict(self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    return embeddings_and_ids(self, batch) if host is None else host(batch, *args, **kwargs)


def _predict_signature(self: Any, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    """Embeddings and ids of the batch."""


class RetrievalHooks:
    """Base of the mixins. It stands before the host in the class and inherits from nothing of Lightning."""

    own_arguments: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments of a mixin, which the host's ``save_hyperparameters()`` leaves alone."""

    training: bool
    log_dict: Callable[..., None]  # these are the host's
    register_state_dict_post_hook: Callable[..., Any]
    register_load_state_dict_pre_hook: Callable[..., Any]

    embed = Extension(_embed_once, _is_configured, supplies=_embed_signature)
    predict_step = Extension(_predict, _is_configured, supplies=_predict_signature)

    @HostFirst
    def similarity(self, image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """Scores ``(N, M)`` of images and texts, higher is closer: their cosine, unless the host defines another."""
        return cosine_similarity(image_embeds, text_embeds)

    @HostFirst
    def targets(self, batch: Any) -> RetrievalTargets:
        """Ids and relevance of a batch.

        The default reads the keys ``image_ids``, ``text_ids``, ``text_image_ids``, ``relevance`` and
        ``text_features``; a batch without ids is pairs: the diagonal matches.
        """
        known: Mapping[str, Any] = batch if isinstance(batch, Mapping) else {}
        image_ids, text_image_ids = known.get("image_ids"), known.get("text_image_ids")
        if image_ids is None or text_image_ids is None:
            image_embeds, text_embeds = self.embed(batch)
            pairs = "a batch without image_ids and text_image_ids must be pairs, got {} images and {} texts"
            require(len(image_embeds) == len(text_embeds), pairs, len(image_embeds), len(text_embeds))
            image_ids = text_image_ids = torch.arange(len(image_embeds), device=image_embeds.device)
        return RetrievalTargets(
            image_ids, known.get("text_ids"), text_image_ids, known.get("relevance"), known.get("text_features")
        )

    def _call_embed(self, embed: Callable[[Any], Embeddings], batch: Any) -> Embeddings:
        """Call the host's ``embed``; a mixin may call it in another way."""
        return embed(batch)

    def _embeddings(self, batch: Any, known: Embeddings | None) -> Embeddings:
        """Embeddings of a batch: those that the host's step returned, else :meth:`embed`'s."""
        if known is None:
            embeds: Embeddings = self.embed(batch)
            return embeds
        self.__dict__["_embedded"] = (batch, known)
        return known

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_order(cls)
        extend_methods_of(cls)

    @contextmanager
    def _one_embedding(self) -> Iterator[None]:
        """A step, within which :meth:`embed` answers the same batch from memory."""
        self.__dict__["_embedded"] = (None, None)
        try:
            yield
        finally:
            del self.__dict__["_embedded"]

    def save_hyperparameters(self, *args: Any, ignore: Any = None, frame: Any = None, **kwargs: Any) -> None:
        """As Lightning's, without the arguments of the mixins: they are modules, and not the host's.

        Built by LightningCLI, hyper-parameters are plain values from the config and are all kept.
        """
        frame = frame or inspect.currentframe().f_back  # type: ignore[union-attr]
        if not _built_by_cli(type(self)):
            ignored = [ignore] if isinstance(ignore, str) else list(ignore or ())
            ignore = [*ignored, *(name for base in type(self).__mro__ for name in vars(base).get("own_arguments", ()))]
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, **kwargs)  # type: ignore[misc]


def _check_order(cls: type) -> None:
    """Behind the host a mixin's constructor would never run: refuse that when the class is made."""
    places = {base: place for place, base in enumerate(cls.__mro__)}
    first_mixin = min(place for base, place in places.items() if base.__module__.startswith("vse_lightning.mixins"))
    for base, place in places.items():
        if base.__name__ == "LightningModule" and place < first_mixin:
            mixins = [b.__name__ for b in cls.__mro__ if "own_arguments" in vars(b) and b is not RetrievalHooks]
            hosts = [b.__name__ for b in cls.__bases__ if b.__name__ not in mixins]
            raise TypeError(
                f"class {cls.__name__}: {', '.join(mixins)} must stand before {', '.join(hosts)}: "
                f"class {cls.__name__}({', '.join(mixins + hosts)})"
            )


def _built_by_cli(cls: type) -> bool:
    """Whether LightningCLI is making the module and has given its hyper-parameters (lightning's or pl's)."""
    for base in cls.__mro__:
        if base.__name__ == "HyperparametersMixin":
            given = getattr(sys.modules[base.__module__], "_given_hyperparameters", None)
            return given is not None and given.get() is not None
    return False
