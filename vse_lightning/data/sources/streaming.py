"""Data sets that no table fits: shards that are read from beginning to end."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_whole
from vse_lightning.data.files.columns import texts_of
from vse_lightning.data.files.dataset_rows import from_hub
from vse_lightning.data.files.decoding import as_rgb, decode_rgb
from vse_lightning.data.files.shards import (
    SUFFIXES,
    Sample,
    columns_of,
    find_shards,
    is_table,
    samples_of_tables,
    samples_of_tars,
)
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.relevance import RelevanceTable

if TYPE_CHECKING:
    from datasets import IterableDataset
    from PIL.Image import Image


class DamagedSampleError(ValueError):
    """A sample of a stream cannot be read; the message says why."""


class StreamingSource(ImageTextSource):
    """Training pairs from shards: tars of WebDataset, parquet files, or any ``IterableDataset`` of ``datasets``.

    Nothing is read before it is needed and nothing is kept, so any number of pairs takes the same memory. Each process
    and each worker reads shards of its own, in an order drawn for each epoch; a shuffle buffer mixes what they read.
    Every caption of a picture makes a pair. A sample that cannot be read is left out: a warning at the end of the fit
    counts them, in each epoch anew, and names some. Identical pictures count as one, wherever they stand.

    A stream has no captions to fit a vocabulary on and no table of labels: graded labels are made for each batch with
    ``batch_labels=True`` of the data module. Validation and test need every caption at once, so they take an ordinary
    source, and the training captions of that, if it has any, are what vocabularies and label sources are fitted on.

    A checkpoint in the middle of an epoch says where every worker is; the training that goes on from it sees the same
    samples in the same order, which costs reading the running shard again up to there. Only an ``IterableDataset`` with
    a shuffle buffer of its own loses what that holds.

    Of tars, only files of the named columns are read, pickles never, and no link is followed.

    Args:
        path: a folder of shards, a pattern such as ``data/train-*.tar``, one shard, a list of these, a data set of the
            Hugging Face hub (``user/name``), or, in Python, an ``IterableDataset``.
        image_column: pictures as bytes or ``{bytes, path}`` (in an ``IterableDataset`` also opened ones, and paths
            alone), or features as a list or an ``.npy``. Of a tar, the ending of the file: ``jpg``, or ``jpg;png``
            where a sample has one of several.
        caption_column: a caption or a list of captions. Of a tar, the ending of a text file, ``txt``, or of a JSON. A
            dot leads into objects: ``json.caption``.
        evaluation: the source of the splits ``val`` and ``test``; None to train without.
        epoch_size: pairs in an epoch, of all processes together: what ends early starts anew. Needed with several
            processes, whose shards hold different numbers of pairs; None: an epoch ends with the shards.
        shuffle_buffer: samples in memory, of each worker, as they are in the shard, among which pairs are drawn.
        split: of a data set of the hub.
        load_options: further arguments of ``datasets.load_dataset`` for one of the hub.

    Attributes:
        num_shards: between how many workers, of all processes together, the stream can be shared out.

    Raises:
        FileNotFoundError: nothing is at a path.
        ValueError: there are no shards, or a column is missing; the message names the columns.
    """

    @typed
    def __init__(
        self,
        path: Any,
        image_column: str = "image",
        caption_column: str = "caption",
        evaluation: ImageTextSource | None = None,
        epoch_size: int | None = None,
        shuffle_buffer: int = 1000,
        split: str = "train",
        load_options: dict[str, Any] | None = None,
    ) -> None:
        require_extra("StreamingSource", "data", "datasets", "PIL")
        require_whole("shuffle_buffer", shuffle_buffer)
        if epoch_size is not None:
            require_whole("epoch_size", epoch_size)
        held = not isinstance(evaluation, StreamingSource)
        require(held, "evaluation needs every caption at once, so it must be another source than a StreamingSource")
        self.evaluation, self.epoch_size, self.shuffle_buffer = evaluation, epoch_size, shuffle_buffer
        self.image_column = image_column
        self._shards: list[str] = []
        self._stream: Any = None
        if is_hub_name(path):
            path = from_hub(path, split=split, streaming=True, **(load_options or {}))
        if not isinstance(path, str | Path | list | tuple):
            _require_stream(path)
            self._stream, names = _undecoded(path, image_column)
        else:
            self._shards = find_shards(path)
            names = columns_of(self._shards[0])
        whole = caption_column in names or "." not in caption_column
        self.caption_column, *self._fields = [caption_column] if whole else caption_column.split(".")
        where = self._shards[0] if self._shards else "the stream"
        of_tars = bool(self._shards) and not is_table(where)
        images = image_column.split(";") if of_tars else [image_column]
        for argument, columns in (("image_column", images), ("caption_column", [self.caption_column])):
            known, given = not set(names).isdisjoint(columns), ";".join(columns)
            require(known, "{} must be one of {}, the columns of {}, got {!r}", argument, sorted(names), where, given)
        self.num_shards: int = len(self._shards) or self._stream.num_shards
        if evaluation is None:  # as a source without pictures, which no other source may be
            self.captions, self.splits, self.num_images = [], {}, 0
            self.text_image_ids = self.captions_per_image = torch.empty(0, dtype=torch.int64)
            self._captions_by_image = self._first_caption = self.text_image_ids
        else:
            super().__init__(evaluation.captions, evaluation.text_image_ids, evaluation.splits, evaluation.num_images)

    def samples(self, part: int, parts: int, order: int) -> IterableDataset:
        """The samples of every ``parts``-th shard, from the ``part``-th on, of the shards in an order drawn for a seed.

        The order of an ``IterableDataset`` is its own, drawn for its seed and ``order`` if it shuffles.
        """
        if self._stream is not None:
            share = self._stream.shard(parts, part, contiguous=False)
            share.set_epoch(order % 2**31)
            return share
        from datasets import IterableDataset

        drawn = torch.randperm(self.num_shards, generator=torch.Generator().manual_seed(order))[part::parts]
        read = samples_of_tables if is_table(self._shards[0]) else samples_of_tars
        columns = {"image_columns": self.image_column, "caption_column": self.caption_column}
        return IterableDataset.from_generator(
            read, gen_kwargs={"shards": [self._shards[number] for number in drawn], **columns}
        )

    def captions_of(self, sample: Sample) -> list[str]:
        """The captions of a sample.

        Raises:
            DamagedSampleError: there is none, or what is there is no text.
        """
        try:
            if self._stream is None:  # a sample of theirs may have columns of any name
                require(sample.get("error") is None, "{}", sample.get("error"))
            value = sample[self.caption_column if self._stream is not None else "caption"]
            if isinstance(value, bytes):
                value = json.loads(value) if self.caption_column.endswith("json") else value.decode()
            return texts_of(value, self._fields, self.caption_column, name_of(sample))
        except ValueError as error:
            raise DamagedSampleError(str(error)) from error

    def image_of(self, sample: Sample) -> tuple[Image | Tensor, int]:
        """The picture of a sample as RGB, or its features, and an id that identical pictures share.

        Raises:
            DamagedSampleError: there is none, or it is damaged.
        """
        from PIL.Image import Image

        value = sample[self.image_column if self._stream is not None else "image"]
        try:
            if isinstance(value, Image):  # behind a map, which made pictures of the bytes
                picture = as_rgb(value)
                return picture, _digest(repr(picture.size).encode() + picture.tobytes())
            if isinstance(value, dict):
                value = _content(value, self._stream is not None)
            there = isinstance(value, bytes | list | np.ndarray)
            require(there, "there is no picture, neither bytes nor numbers, but {}", type(value).__name__)
            if isinstance(value, bytes) and not value.startswith(b"\x93NUMPY"):
                return decode_rgb(BytesIO(value), name_of(sample)), _digest(value)
            array = np.load(BytesIO(value), allow_pickle=False) if isinstance(value, bytes) else np.asarray(value)
            features = torch.from_numpy(array.astype(np.float32))
            return features, _digest(features.numpy().tobytes())
        except (ValueError, TypeError, EOFError, OSError) as error:  # UnreadableImageError is one
            raise DamagedSampleError(str(error)) from error

    def load_image(self, image_id: int) -> Image | Tensor:
        """Read one image of the evaluation."""
        require(self.evaluation is not None, "image_id must be one of evaluation, which is None, got {}", image_id)
        return self.evaluation.load_image(image_id)  # type: ignore[union-attr]

    def relevance_table(self) -> RelevanceTable:
        """What the evaluation knows of its own relevance."""
        return super().relevance_table() if self.evaluation is None else self.evaluation.relevance_table()

    def image_name(self, image_id: int) -> str:
        """What messages call an image of the evaluation."""
        return f"image {image_id}" if self.evaluation is None else self.evaluation.image_name(image_id)


def is_hub_name(path: Any) -> bool:
    """Whether a path is no path but a name as ``user/name``."""
    named = isinstance(path, str) and re.fullmatch(r"\w[\w.-]*/[\w.-]+", path) is not None
    return named and not path.endswith(SUFFIXES) and not Path(path).exists()


def name_of(sample: Sample) -> str:
    """What messages call a sample."""
    return str(sample.get("key") or sample.get("__key__") or "a sample of the stream")


def text_id_of(image_id: int, caption: str) -> int:
    """An id of 63 bits."""
    return _digest(f"{image_id} {caption}".encode(errors="surrogatepass"))


def _content(picture: dict[str, Any], follow: bool) -> bytes | None:
    """The bytes of a picture as ``datasets`` keeps it; of streams, those of a folder of pictures lie behind a path."""
    content, path = picture.get("bytes"), picture.get("path")
    if content is not None or not (follow and path):
        return content
    import fsspec

    with fsspec.open(path, "rb") as file:
        return file.read()  # type: ignore[no-any-return]


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1


def _require_stream(path: Any) -> None:
    from datasets import Dataset, IterableDataset

    remedy = ": give its to_iterable_dataset(num_shards=...)" if isinstance(path, Dataset) else ""
    rule = "path must lead to shards or be an IterableDataset of datasets, got {}{}"
    require(isinstance(path, IterableDataset), rule, type(path).__name__, remedy)


def _undecoded(stream: Any, image_column: str) -> tuple[Any, list[str]]:
    """A stream whose pictures stay as they are in the file, for our own reader, and its columns."""
    if stream.features is None:
        return stream, list(next(iter(stream)))
    from datasets import Image

    if isinstance(stream.features.get(image_column), Image):
        stream = stream.cast_column(image_column, Image(decode=False))
    return stream, list(stream.features)
