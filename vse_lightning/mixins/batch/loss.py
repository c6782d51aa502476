"""The loss of a batch, across processes and with candidates of the past; what a step logs of it; and NaN noticed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.distributed import process_count
from vse_lightning.losses._from_embeddings import terms_of_embeddings
from vse_lightning.mixins.batch.memory_queue import MemoryQueue
from vse_lightning.mixins.batch.returned_embeddings import EmbeddingPair
from vse_lightning.mixins.host.lightning_internals import is_logged_in_training, running_hook, trainer_of
from vse_lightning.targets import RetrievalTargets

_STEPS_AT_ONCE = 50  # whose losses are looked at together on a GPU
# where a host that optimises by hand may ask for its loss
_HOOKS = ("training_step", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


def batch_terms(
    module: Any, embeds: EmbeddingPair, targets: RetrievalTargets, queue: MemoryQueue | None
) -> dict[str, Tensor]:
    """Terms of the loss of a batch, as :meth:`RelevanceLossMixin.relevance_terms` returns them."""
    checked = module.__dict__.get("_relevance_checked", False)
    terms = terms_of_embeddings(
        module.relevance_loss,
        *embeds,
        targets,
        module.retrieval_similarity,
        gather=module.relevance_gather,
        beyond=queue,
        table=getattr(getattr(trainer_of(module), "datamodule", None), "relevance_table", None),
        check_labels=not checked,  # on a GPU the check waits for it: once a fit is enough
    )
    module.__dict__["_relevance_checked"] = True
    return terms


def log_training(module: Any, loss: Tensor, terms: Mapping[str, Tensor], *, pairs: int, total: bool) -> None:
    """Log ``train/relevance_loss``, weighted, and ``train/{term}``, in a training step of a Trainer and nowhere else.

    The number of ``pairs`` is the weight in the mean over an epoch; a ``total`` loss, which is all that is trained on,
    is ``train/loss`` too.
    """
    trainer = trainer_of(module)
    if trainer is None or running_hook(module) not in _HOOKS:
        return
    names: dict[str, str] = module.__dict__.setdefault("_relevance_log_names", {})
    for name in (f"train/{term}" for term in terms):
        if name not in names:
            # two values under one name would be averaged
            taken = is_logged_in_training(trainer, name)
            names[name] = name.replace("train/", "train/relevance_") if taken else name
            if taken:
                rank_zero_warn(f"{name} is what the host logs: the relevance loss's term is logged as {names[name]}")
    values = {names[f"train/{term}"]: value.detach() for term, value in terms.items()}
    values |= dict.fromkeys(
        ("train/relevance_loss", "train/loss") if total else ("train/relevance_loss",), loss.detach()
    )
    module.log_dict(values, sync_dist=process_count() > 1, batch_size=pairs)


class FiniteLosses:
    """Looks at the losses of a training: at once on the CPU, of many steps together on a GPU."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Any]] = []

    def add(self, loss: Tensor, image_ids: Tensor | None) -> None:
        """Take the loss of a batch, and :meth:`check` what waits as soon as that costs little."""
        self._waiting.append((loss.detach(), image_ids))
        if loss.device.type == "cpu" or len(self._waiting) == _STEPS_AT_ONCE:
            self.check()

    def check(self) -> None:
        """Raise a ``RuntimeError`` if one of the losses that wait is no finite number."""
        waiting, self._waiting = self._waiting, []
        if not waiting or bool((finite := torch.stack([loss for loss, _ in waiting]).isfinite()).all()):
            return
        first = int(finite.logical_not().nonzero()[0])
        loss, ids = waiting[first]
        known = "without ids" if ids is None else f"of image_ids {', '.join(map(str, ids[:8].tolist()))}"
        known += ", ..." if ids is not None and len(ids) > 8 else ""
        later = f", {len(waiting) - 1 - first} steps ago" if first < len(waiting) - 1 else ""
        raise RuntimeError(
            f"the relevance loss is {loss.item()} for the batch {known}{later}: its embeddings hold NaN or infinity, "
            "or are too large. Look for it in the data of that batch, or lower the learning rate"
        )
