"""A loader that goes on in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from vse_lightning.data.loaders.image_text_dataset import ImageTextItem


class ResumableLoader(DataLoader[ImageTextItem]):
    """A loader over a :class:`RandomBatchSampler` whose state is the epoch and how many of its batches were given.

    Lightning asks for the state at a checkpoint and gives it back before training goes on.
    """

    _given = 0
    _resumes: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator: the epoch is told after iter()
        sampler: Any = self.batch_sampler
        resumes, self._resumes = self._resumes, None
        sampler.resumes = resumes
        self._given = 0 if resumes is None or resumes["epoch"] != sampler.next_epoch else resumes["batches"]
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batches of it that were given."""
        sampler: Any = self.batch_sampler
        return {"epoch": sampler.running_epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave those batches out when the same epoch is next."""
        self._resumes = state
