"""Whether all processes have as many batches: of several, one that is done would leave the others waiting for it."""

from typing import Any

import torch

from vse_lightning.checks import require
from vse_lightning.distributed import Processes
from vse_lightning.mixins.host.lightning_internals import counts_of_validation, trainer_of

_UNKNOWN = -1
_RULE = "every process must have as many training batches as the others, "
_REMEDY = ": let the Trainer share the data (use_distributed_sampler=True), or set limit_train_batches to the fewest"


def require_validation_everywhere(module: Any) -> None:
    """Raise a ``ValueError`` in all processes if some have no batch of validation, where Lightning does not.

    It leaves a process without any out of the validation, in which the others would wait for it.
    """
    trainer, everyone = trainer_of(module), Processes.of_group()
    allowed = [getattr(of, "allow_zero_length_dataloader_with_multiple_devices", False)
               for of in (module, getattr(trainer, "datamodule", None))]  # fmt: skip
    if everyone.count > 1 and any(allowed) and trainer.enable_validation:
        totals = _of_all(module, sum(counts_of_validation(trainer)))
        message = "every process must have a batch of validation, or none, got {}"
        require(all(totals) or not any(totals), message, _listed(totals))


def require_equal_batches(module: Any) -> None:
    """Raise a ``ValueError`` in all processes if training begins with different numbers of batches."""
    trainer = trainer_of(module)
    if trainer is not None and Processes.of_group().count > 1:
        module.__dict__["_relevance_batches_known"] = trainer.num_training_batches != float("inf")
        counts = _of_all(module, trainer.num_training_batches)
        require(len({*counts}) == 1, _RULE + "got {}" + _REMEDY, _listed(counts))


def require_some_batches(module: Any) -> None:
    """Raise a ``ValueError`` where a fit ends that had nothing to train on, while the others wait for this process."""
    trainer, alone = trainer_of(module), Processes.of_group().count == 1
    if alone or trainer is None or "_relevance_batches_known" in module.__dict__ or trainer.limit_train_batches == 0:
        return
    require(trainer.num_training_batches > 0, _RULE + "got none in this, process {}" + _REMEDY, trainer.global_rank)


def require_same_end(module: Any) -> None:
    """Raise a ``ValueError`` in all processes after the last batch of some, where nobody knew their number before."""
    if module.__dict__.get("_relevance_batches_known") is False:
        trainer = trainer_of(module)
        last = _of_all(module, int(trainer.is_last_batch))
        done = [str(rank) for rank, flag in enumerate(last) if flag]
        message = _RULE + "but after {} there are no more in process {}" + _REMEDY
        same = len(done) in (0, len(last))
        require(same, message, trainer.fit_loop.epoch_loop.batch_idx + 1, " and ".join(done))


def _of_all(module: Any, number: float) -> list[int]:
    """What each process has; ``_UNKNOWN`` for data of unknown length, of which Lightning says infinity."""
    known = torch.tensor(_UNKNOWN if number == float("inf") else int(number), device=module.device)
    return list(map(int, Processes.of_group().gather_alike(known)))


def _listed(counts: list[int]) -> str:
    return " and ".join("an unknown number" if count == _UNKNOWN else str(count) for count in counts)
