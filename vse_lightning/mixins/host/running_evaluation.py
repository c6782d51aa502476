"""What a Trainer says of the evaluation that runs: its loaders, whether all is seen, and whether some is seen twice."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.distributed import process_count
from vse_lightning.functional.similarity import unit_length
from vse_lightning.mixins.host.lightning_internals import loader_of_loop, trainer_of, way_of_combining


def loader_count(module: Any, stage: str) -> int:
    """How many dataloaders the running stage has, whether or not this process saw a batch of each."""
    trainer = trainer_of(module)
    if trainer is None:
        return 0
    combined = _combined(trainer, stage)
    return len(combined.flattened) if _one_after_another(combined) else 1


def loader_names(module: Any, count: int) -> list[str]:
    """What the data module calls its dataloaders, the first by no name; nothing where it has no names for so many."""
    datamodule = getattr(trainer_of(module), "datamodule", None)
    known = list(getattr(datamodule, "eval_source_tables", ()))
    return ["", *known] if known and len(known) + 1 == count else []


def is_partial(module: Any, stage: str, loader: int) -> bool:
    """Whether the gallery of a dataloader is not complete: a sanity check, a limit, or pictures that were skipped."""
    trainer = trainer_of(module)
    if trainer is None:
        return False
    if trainer.sanity_checking or getattr(getattr(trainer, "datamodule", None), "skipped_images", None):
        return True
    combined = _combined(trainer, stage)
    dataloaders, limits = combined.flattened, _loop(trainer, stage).max_batches
    if _one_after_another(combined):
        return _is_cut(dataloaders[loader], limits[loader])
    if way_of_combining(combined) == "min_size":
        limits = [min(limits)] * len(limits)
    return any(map(_is_cut, dataloaders, limits))


def warn_of_repeats(module: Any, stage: str, loader: int) -> None:
    """Say that a distributed sampler repeats texts, which without ids cannot be told from further ones."""
    trainer = trainer_of(module)
    if trainer is None or process_count() == 1 or module.__dict__.get("_retrieval_warned_of_repeats"):
        return
    sampler = _sampler(_combined(trainer, stage).flattened[loader])
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


def warn_of_copies(module: Any, image_embeds: Tensor) -> None:
    """Say that pairs without ids show a picture several times, which is then measured as several pictures."""
    if module.__dict__.get("_retrieval_warned_of_copies"):
        return
    rows = unit_length(image_embeds.float())
    place = rows @ torch.arange(rows.shape[1], device=rows.device).sin()  # copies are neighbours on any line
    rows = rows[place.argsort()]
    distinct = 1 + int(((rows[1:] - rows[:-1]).abs() > 1e-5).any(1).sum())  # another batch changes the last digits
    if 1 < distinct < len(rows):  # one: a model that has collapsed
        module.__dict__["_retrieval_warned_of_copies"] = True
        rank_zero_warn(
            f"{len(rows)} pairs without ids show {distinct} distinct pictures, and each pair is measured as a picture "
            "of its own, so that captions of the same picture count as wrong: return image ids from "
            "retrieval_targets(batch)"
        )


def _loop(trainer: Any, stage: str) -> Any:
    """The loop that runs. ``trainer.val_dataloaders`` are those of ``fit`` in a ``validate`` that comes after it."""
    if stage == "test":
        return trainer.test_loop
    fits = getattr(trainer.state.fn, "value", None) == "fit"
    return trainer.fit_loop.epoch_loop.val_loop if fits else trainer.validate_loop


def _combined(trainer: Any, stage: str) -> Any:
    return loader_of_loop(_loop(trainer, stage))


def _one_after_another(combined: Any) -> bool:
    """Whether each dataloader is measured for itself; otherwise a batch holds one batch of each."""
    return way_of_combining(combined) == "sequential"


def _is_cut(dataloader: Any, limit: float) -> bool:
    """Whether a dataloader has more batches than are run; of one without a length, a limit is taken for a cut."""
    try:
        return bool(limit < len(dataloader))
    except TypeError:
        return limit != float("inf")


def _sampler(dataloader: Any) -> Any:
    sampler = getattr(dataloader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        return sampler
    return getattr(getattr(dataloader, "batch_sampler", None), "sampler", None)
