"""What both mixins share: embeddings made once per step, targets, similarity, and good manners towards the host."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from vse_lightning.mixins.batch.step import TARGET_KEYS, cosine_of_module
from vse_lightning.mixins.host.extension import Extension, HostFirst, extend_methods_of
from vse_lightning.mixins.host.hyper_parameters import names_to_ignore, without_ours
from vse_lightning.mixins.host.lightning_internals import is_built_by_cli
from vse_lightning.mixins.host.load_from_checkpoint import LoadsLikeHost
from vse_lightning.targets import RetrievalTargets


def _embed_once(self: Any, host: Callable[[Any], Any], batch: Any) -> Any:
    """Within a step the same batch is embedded once, whoever asks."""
    step = self.__dict__.get("_retrieval_step")
    return host(batch) if step is None else step.embed(host, batch)


class RetrievalHooks:
    """Base of the mixins. It stands before the host in the class and inherits from nothing of Lightning."""

    _retrieval_arguments: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments of a mixin: attributes of a configured host, and no hyper-parameters."""
    _retrieval_names: ClassVar[tuple[str, ...]] = ()
    """Methods of a mixin, which a host cannot have too."""

    retrieval_embeds = Extension(_embed_once, lambda host: "_retrieval_configured" in host.__dict__)
    retrieval_similarity = HostFirst(cosine_of_module)
    load_from_checkpoint = LoadsLikeHost()

    @HostFirst
    def retrieval_targets(self, batch: Any) -> RetrievalTargets:
        """Ids and relevance of a batch, asked before the host's step, on a shallow copy of the batch.

        The default reads the keys ``image_ids``, ``text_image_ids``, ``text_ids``, ``relevance`` and
        ``text_features``; a batch without ids is pairs: the diagonal matches, and no pair is like another.
        """
        known: Mapping[str, Any] = batch if isinstance(batch, Mapping) else {}
        image_ids, text_image_ids, *others = (known.get(key) for key in TARGET_KEYS)
        return RetrievalTargets(image_ids, text_image_ids, **dict(zip(TARGET_KEYS[2:], others, strict=True)))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_order(cls)
        extend_methods_of(cls)

    def save_hyperparameters(self, *args: Any, ignore: Any = None, frame: Any = None, **kwargs: Any) -> None:
        """As Lightning's, without the arguments of the mixins, and without tables, losses and metrics.

        Built by LightningCLI, hyper-parameters are plain values from the config and are all kept.
        """
        frame = frame or inspect.currentframe().f_back  # type: ignore[union-attr]
        if not is_built_by_cli(type(self)):
            ours = [*_own_arguments(type(self)), *names_to_ignore(self, frame)]
            ignore = [*([ignore] if isinstance(ignore, str) else ignore or ()), *ours]
            kept = [name for name in args if not (isinstance(name, str) and name in ours)]
            if args and not kept:
                return  # without any, Lightning would save all arguments
            args = tuple(map(without_ours, kept))
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, **kwargs)  # type: ignore[misc]


def host_arguments(mixin: type, host: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an unconfigured mixin that the host takes under the same names: they are the host's."""
    classes = type(host).__mro__
    taken = _taken_by(classes[classes.index(mixin) + 1 :])
    return {name: value for name, value in arguments.items() if name in taken}


def _taken_by(classes: Iterable[type]) -> set[str]:
    """Arguments of constructors that are the host's, not a mixin's."""
    hosts = [base for base in classes if not issubclass(base, RetrievalHooks) and "__init__" in vars(base)]
    return {name for base in hosts for name in inspect.signature(vars(base)["__init__"]).parameters}


def configure(host: Any, mixin: type[RetrievalHooks], attributes: Mapping[str, Any]) -> None:
    """Give a host the attributes of a mixin that has something to do; refuse one that has some of these names."""
    _check_names(host, mixin, [*attributes, *mixin._retrieval_names])
    host.__dict__["_retrieval_configured"] = True
    for name, value in attributes.items():
        setattr(host, name, value)


def _check_names(host: Any, mixin: type[RetrievalHooks], names: Iterable[str]) -> None:
    classes = type(host).__mro__
    behind = [base for base in classes[classes.index(mixin) + 1 :] if not issubclass(base, RetrievalHooks)]
    registered = ("_modules", "_parameters", "_buffers")
    held = set(vars(host)).union(*(vars(host).get(kind, ()) for kind in registered))
    for name in names:
        owner = next((base.__name__ for base in behind if name in vars(base)), None)
        if name in held or owner is not None:
            raise TypeError(
                f"{owner or type(host).__name__} has {name} of its own, which {mixin.__name__} needs for itself: "
                "rename it there"
            )


def refuse_assigned_step(host: Any, name: str) -> None:
    """Raise where an attribute of the instance hides the step of the class, which a mixin extends."""
    if name in vars(host):
        raise RuntimeError(
            f"{type(host).__name__} assigns {name} to itself, which hides the one that the mixin extends: define "
            f"`def {name}(self, batch, batch_idx)` in the class and call it there"
        )


def _own_arguments(cls: type) -> list[str]:
    taken = _taken_by(cls.__mro__)
    own = [name for base in cls.__mro__ for name in vars(base).get("_retrieval_arguments", ())]
    return [name for name in own if name not in taken]


def _check_order(cls: type) -> None:
    """Behind the host a mixin's constructor would never run: refuse that when the class is made."""
    places = {base: place for place, base in enumerate(cls.__mro__)}
    first_mixin = min(place for base, place in places.items() if base.__module__.startswith("vse_lightning.mixins"))
    for base, place in places.items():
        if base.__name__ == "LightningModule" and place < first_mixin:
            mixins = [b.__name__ for b in cls.__mro__ if vars(b).get("_retrieval_arguments")]
            hosts = [b.__name__ for b in cls.__bases__ if b.__name__ not in mixins]
            raise TypeError(
                f"class {cls.__name__}: {', '.join(mixins)} must stand before {', '.join(hosts)}: "
                f"class {cls.__name__}({', '.join(mixins + hosts)})"
            )
