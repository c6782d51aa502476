"""What a Trainer says of the evaluation that runs: its loaders, whether all is seen, and whether some is seen twice."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import DistributedSampler
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.distributed import process_count


def loader_count(module: Any, stage: str) -> int:
    """How many dataloaders the running stage has, whether or not this process saw a batch of each."""
    trainer = getattr(module, "_trainer", None)
    return 0 if trainer is None else len(_batches(trainer, stage))


def is_partial(module: Any, stage: str, loader: int) -> bool:
    """Whether the gallery of a dataloader is not complete: a sanity check, a limit, or pictures that were skipped."""
    trainer = getattr(module, "_trainer", None)
    if trainer is None:
        return False
    if trainer.sanity_checking or getattr(getattr(trainer, "datamodule", None), "skipped_images", None):
        return True
    dataloader = _dataloader(trainer, stage, loader)
    return hasattr(dataloader, "__len__") and _batches(trainer, stage)[loader] < len(dataloader)


def warn_of_repeats(module: Any, stage: str, loader: int) -> None:
    """Say that a distributed sampler repeats texts, which without ids cannot be told from further ones."""
    trainer = getattr(module, "_trainer", None)
    if trainer is None or process_count() == 1 or module.__dict__.get("_retrieval_warned_of_repeats"):
        return
    sampler = _sampler(_dataloader(trainer, stage, loader))
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return
    repeats = sampler.total_size - len(sampler.dataset)  # type: ignore[arg-type]
    if repeats > 0:
        module.__dict__["_retrieval_warned_of_repeats"] = True
        rank_zero_warn(
            f"the distributed sampler repeats {repeats} items to fill up its {process_count()} processes, and batches "
            "without text_ids do not show which: they are measured as further texts. Return ids from "
            "retrieval_targets(batch), or evaluate in one process"
        )


def _batches(trainer: Any, stage: str) -> Sequence[int]:
    if stage == "test":
        batches = trainer.num_test_batches
    else:
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
    return batches if isinstance(batches, list | tuple) else [batches]


def _dataloader(trainer: Any, stage: str, loader: int) -> Any:
    dataloaders = trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders
    dataloaders = list(dataloaders.values()) if isinstance(dataloaders, dict) else dataloaders
    return dataloaders[loader] if isinstance(dataloaders, list | tuple) else dataloaders


def _sampler(dataloader: Any) -> Any:
    sampler = getattr(dataloader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        return sampler
    return getattr(getattr(dataloader, "batch_sampler", None), "sampler", None)
