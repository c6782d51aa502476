"""The LightningDataModule: a source and its labels, made into loaders."""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal, NoReturn
from warnings import warn

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities.data import suggested_max_num_workers
from torch import Tensor
from torch.utils.data import DataLoader

from vse_lightning.argument_types import typed
from vse_lightning.checks import SAME_LIGHTNING, require, require_lightning, require_whole
from vse_lightning.data.loaders.collate import Collate
from vse_lightning.data.loaders.image_text_dataset import ImageTextDataset, ImageTextItem
from vse_lightning.data.loaders.label_names import LabelSource, check_label_names, check_source_names
from vse_lightning.data.loaders.samplers import ResumableLoader, make_batches
from vse_lightning.data.loaders.stream_loader import StreamLoader, check_stream, make_stream_loader
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.data.sources.streaming import StreamingSource
from vse_lightning.relevance import RelevanceSource, RelevanceTable

Transform = Callable[[Any], Any]  # to a tensor, but jsonargparse would offer the subclasses of Tensor

EvaluationLoaders = DataLoader[ImageTextItem] | list[DataLoader[ImageTextItem]]

LARGEST_BATCH_LABELLED_IN_WORKERS = 512  # beyond, the block grows faster than the rest of the batch


class ImageTextDataModule(LightningDataModule):
    """Training pairs, evaluation images and graded labels from one source.

    A training item is one (image, caption) pair; an evaluation item is one image with all its captions, so that each
    picture is read and encoded once. A batch is a dict: ``image``, ``text``, ``image_ids (N,)``, ``text_ids (M,)``,
    ``text_image_ids (M,)`` and in training ``relevance (N, M)``, made in the workers; above 512 pairs, with several
    processes and with ``labels_on_device`` the loss asks ``relevance_table`` instead. Training batches are shuffled and
    full: the last, shorter one is left out unless it is the only one, because these losses depend on the batch size.

    Their order, and what transforms draw from the generators of Python, NumPy and PyTorch, are functions of the seed
    (that of ``seed_everything`` or ``torch.manual_seed``), the epoch and the caption's row: the global generators have
    no part in it and are left as they are. Seeding takes time: a callable that draws nothing may say so by an attribute
    ``draws = False``. With ``overfit_batches`` every epoch has the same batches.

    How pictures and captions become tensors is asked of the LightningModule, by ``image_transform(train)`` and
    ``text_transform()`` where it has them; its ``fit_text(captions)`` is called with the training captions. Otherwise
    pictures become float tensors in [0, 1] and captions stay strings.

    Args:
        source: where images, captions and splits (``train``, ``val``, ``test``) come from.
        relevance: graded labels to train on; ``"source"`` for those that the source itself knows (ShapesSource), None
            for none.
        eval_relevance: name -> labels to evaluate under. The first is logged under the plain names, others get
            ``_{name}``. Default: the labels trained on; an empty dict for none. Names are of letters, digits, ``_`` and
            ``-``, without the words of metrics, and none ends in another.
        eval_sources: name -> further source, measured in validation and test under ``{name}_`` before the metric and
            under the same labels: what fine-tuning on ``source`` does to other data. Names are of letters, digits,
            ``_`` and ``-``, without the words of metrics, and none begins with another.
        batch_size: pairs in a training batch (of each process).
        eval_batch_size: images in an evaluation batch.
        num_workers: loader processes; default as many as Lightning suggests for the CPUs, at most 8.
        text: tokenises and pads a list of strings, in place of the module's.
        transforms: makes a tensor of a picture (or of features), in place of the module's: one callable, or a dict with
            ``train`` and ``eval``.
        cache_dir: where label sources keep what they computed; default: each source's own.
        predict_split: the split whose images and captions ``predict`` embeds.
        batches: which pairs meet in a training batch: ``"random"``, ``"distinct"`` (no image twice) or ``"similar"``
            (groups of captions alike under ``relevance``, for graded losses); every pair comes once in an epoch.
        on_corrupt: what to do with a picture that cannot be read: ``"raise"`` an error that names it, or ``"skip"`` it:
            the next item takes its place, and a warning at the end counts and names what was skipped. Of
            ``eval_sources`` it is always an error.
        labels_on_device: keep the caption features of the labels in the memory of the GPU (0.4 GB for all captions of
            COCO under SBERT), so that the loss and the metrics look labels up there. Pays on large batches, with
            several processes and in evaluation; batches then hold no ``relevance``. It is for labels from vectors:
            SBERT, LSA, precomputed. CIDEr-D is computed on the CPU wherever it is asked.
        batch_labels: make the labels of each training batch from its own captions, on the device, as a
            :class:`StreamingSource` needs: ``relevance`` is then an ``SBERTRelevance``, and batches hold
            ``text_features`` for the loss to compare.

    Attributes:
        train_captions: captions of the split ``train`` in source order: vocabularies and label sources are fitted on
            these only.
        eval_captions: captions of the splits ``val`` and ``test``, which the evaluation labels serve.
        relevance_table: labels of the training captions, from ``setup("fit")`` on; None without ``relevance``.
        eval_relevance_tables: name -> labels of the evaluation captions, in the order of ``eval_relevance``.
        eval_source_captions: name of a further source -> its captions of the splits ``val`` and ``test``.
        eval_source_tables: name of a further source -> name -> labels of these captions.
    """

    @typed
    def __init__(
        self,
        source: ImageTextSource,
        relevance: LabelSource | None = None,
        eval_relevance: dict[str, LabelSource] | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        num_workers: int | None = None,
        text: Callable[[list[str]], Any] | None = None,
        transforms: Transform | dict[str, Transform] | None = None,
        cache_dir: str | Path | None = None,
        predict_split: str = "test",
        batches: Literal["random", "distinct", "similar"] = "random",
        on_corrupt: Literal["raise", "skip"] = "raise",
        labels_on_device: bool = False,
        eval_sources: dict[str, ImageTextSource] | None = None,
        batch_labels: bool = False,
    ) -> None:
        super().__init__()
        require_whole("batch_size", batch_size)
        require_whole("eval_batch_size", eval_batch_size)
        if num_workers is not None:
            require_whole("num_workers", num_workers, least=0)
        require(batches != "similar" or relevance is not None, "batches='similar' needs relevance, got None")
        if isinstance(transforms, Mapping):
            complete = transforms.keys() == {"train", "eval"}
            require(complete, "transforms must have the keys 'train' and 'eval', got {}", sorted(transforms))
        if eval_relevance is None:
            eval_relevance = {} if relevance is None else {"relevance": relevance}
        check_label_names(eval_relevance)
        check_source_names(eval_sources or {})
        strange = [further for further in (eval_sources or {}).values() if not isinstance(further, ImageTextSource)]
        require(not strange, "every entry of eval_sources must be an ImageTextSource, got {!r}", *strange[:1])
        self.source = source
        self.relevance = relevance
        self.eval_relevance = eval_relevance
        self.eval_sources = eval_sources or {}
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.text = text
        self.transforms = transforms
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.predict_split = predict_split
        self.batches = batches
        self.labels_on_device = labels_on_device
        self.batch_labels = batch_labels
        check_stream(source, batches, relevance, batch_labels)
        self._stream_loader: StreamLoader | None = None
        self._skipped: Tensor | None = None
        if on_corrupt == "skip":  # shared memory: the workers mark what they cannot read
            self._skipped = torch.zeros(source.num_images, dtype=torch.bool)
            self._skipped.share_memory_()  # type: ignore[no-untyped-call]
        self.train_captions: list[str] = []
        self.eval_captions: list[str] = []
        self.relevance_table: RelevanceTable | None = None
        self.eval_relevance_tables: dict[str, RelevanceTable] = {}
        self.eval_source_captions: dict[str, list[str]] = {}
        self.eval_source_tables: dict[str, dict[str, RelevanceTable]] = {}
        self._fitted: list[RelevanceSource] = []

    def setup(self, stage: str) -> None:
        """Fit label sources and the module's vocabulary on the training captions; build tables, each once."""
        checked = [(self.source, labels) for labels in (self.relevance, *self.eval_relevance.values())]
        checked += product(self.eval_sources.values(), self.eval_relevance.values())
        for source, labels in checked:
            if isinstance(labels, RelevanceSource):  # before another source has worked for long
                labels.check_size(len(source.captions), source.num_images)
        train, evaluation = (_text_ids(self.source, *splits) for splits in (("train",), ("val", "test")))
        self.train_captions, self.eval_captions = (_captions(self.source, text_ids) for text_ids in (train, evaluation))
        self.eval_source_captions = {
            name: _captions(source, _text_ids(source, "val", "test")) for name, source in self.eval_sources.items()
        }
        if stage == "fit" and self.relevance is not None and self.relevance_table is None and not self.batch_labels:
            self.source.split("train")  # or its error, before the labels have one about no captions
            self.relevance_table = self._table(self.relevance, train, self.source)
        if stage != "predict" and self.eval_captions and not self.eval_relevance_tables:
            self.eval_relevance_tables = self._eval_tables(self.source)
        if stage != "predict" and not self.eval_source_tables:
            self.eval_source_tables = {name: self._eval_tables(source) for name, source in self.eval_sources.items()}
        if stage == "fit":  # here and not in the module's own setup: averaging callbacks copy the module before that
            self._of_module("fit_text", self.train_captions)

    def train_dataloader(self) -> DataLoader[ImageTextItem] | StreamLoader:
        """Shuffled (image, caption) pairs of the split ``train``, or of the stream."""
        processes = 1 if self.trainer is None else self.trainer.world_size
        if isinstance(self.source, StreamingSource):
            workers = self._workers()
            if self.num_workers is None:  # each reads shards of its own
                workers = min(workers, self.source.num_shards // processes)
            earlier = self._stream_loader
            self._stream_loader = make_stream_loader(
                self.source,
                self.batch_size,
                Collate(self._text()),
                self._transform(train=True),
                self.relevance,
                workers,
                self.trainer,
            )
            if earlier is not None:  # the Trainer reloads
                self._stream_loader.skipped, self._stream_loader.named = earlier.skipped, earlier.named
            return self._stream_loader
        dataset = self._dataset(ImageTextDataset.pairs, self.source, "train", train=True)
        small = processes == 1 and self.batch_size <= LARGEST_BATCH_LABELLED_IN_WORKERS
        relevance = self.relevance_table if small and not self.labels_on_device else None
        drop_last = len(dataset) // processes >= self.batch_size
        batches = make_batches(self.batches, dataset, self.batch_size, drop_last, self.trainer, self.relevance_table)
        return self._loader(dataset, relevance, batch_sampler=batches)

    def val_dataloader(self) -> EvaluationLoaders:
        """Images of the split ``val`` with their captions; with ``eval_sources`` a list, the target first."""
        message = "the source has no split 'val' to validate on, only {}: to train without, set limit_val_batches=0"
        require("val" in self.source.splits, message, sorted(self.source.splits))
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> EvaluationLoaders:
        """Images of the split ``test`` with their captions; with ``eval_sources`` a list, the target first."""
        return self._evaluation_loaders("test")

    def predict_dataloader(self) -> DataLoader[ImageTextItem]:
        """Images of ``predict_split`` with their captions."""
        return self._evaluation_loader(self.source, self.predict_split)

    def teardown(self, stage: str) -> None:
        """Say what was skipped."""
        skipped = self.skipped_images
        if skipped:
            named = ", ".join(map(self.source.image_name, skipped[:5]))
            pictures = "picture" if len(skipped) == 1 else "pictures"
            warn(f"skipped {len(skipped)} {pictures} that could not be read: {named}", stacklevel=2)
        stream, self._stream_loader = self._stream_loader, None
        if stream is not None and stream.skipped:
            some = "; ".join(f"{name}: {reason}" for name, reason in stream.named.items())
            counted = f"skipped {stream.skipped} samples of the stream that could not be read, all epochs together"
            warn(f"{counted}: {some}", stacklevel=2)

    @property
    def skipped_images(self) -> list[int]:
        """Ids of the images that could not be read so far, with ``on_corrupt="skip"``.

        What workers and processes started by this one skip is known here at once. Processes that were started apart, as
        those of ``strategy="ddp"`` in a script, know what they skipped themselves.
        """
        return [] if self._skipped is None else self._skipped.nonzero().flatten().tolist()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainer":  # this is the first thing that a Trainer does with a data module
            require_lightning(type(self).__name__, value)
        super().__setattr__(name, value)

    def __iter__(self) -> NoReturn:
        # A Trainer of pytorch_lightning takes for a loader what comes by position and is no data module to it.
        raise NotImplementedError(
            f"{type(self).__name__} is no loader: iterate over train_dataloader(); or, if a Trainer of "
            f"pytorch_lightning took it for one: {SAME_LIGHTNING}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "trainer": None}  # as LightningModules do: a Trainer holds open loaders

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._skipped is not None:  # a copy has workers of its own
            self._skipped.share_memory_()  # type: ignore[no-untyped-call]

    def _evaluation_loaders(self, split: str) -> EvaluationLoaders:
        target = self._evaluation_loader(self.source, split)
        for name, source in self.eval_sources.items():
            rule = "eval_sources[{!r}] must have the split {!r} as source has, got only {}"
            require(split in source.splits, rule, name, split, sorted(source.splits))
        others = [self._evaluation_loader(source, split) for source in self.eval_sources.values()]
        return [target, *others] if others else target

    def _evaluation_loader(self, source: ImageTextSource, split: str) -> DataLoader[ImageTextItem]:
        dataset = self._dataset(ImageTextDataset.images, source, split, train=False)
        return self._loader(dataset, None, batch_size=self.eval_batch_size)

    def _dataset(
        self, make: Callable[..., ImageTextDataset], source: ImageTextSource, split: str, *, train: bool
    ) -> ImageTextDataset:
        skipped = self._skipped if source is self.source else None
        return make(source, split, self._transform(train=train), skipped, torch.initial_seed() % 2**63)

    def _loader(
        self, dataset: ImageTextDataset, relevance: RelevanceTable | None, **batching: Any
    ) -> DataLoader[ImageTextItem]:
        workers = self._workers()
        # By name: Lightning makes loaders again with another sampler or batch size.
        loader = ResumableLoader if "batch_sampler" in batching else DataLoader
        return loader(
            dataset,
            collate_fn=Collate(self._text(), relevance),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            generator=torch.Generator().manual_seed(dataset.seed),  # iterators would draw from the global one
            **batching,
        )

    def _workers(self) -> int:
        processes_here = 1 if self.trainer is None else self.trainer.num_devices
        return min(8, suggested_max_num_workers(processes_here)) if self.num_workers is None else self.num_workers

    def _transform(self, *, train: bool) -> Transform | None:
        if isinstance(self.transforms, Mapping):
            return self.transforms["train" if train else "eval"]
        return self._of_module("image_transform", train) if self.transforms is None else self.transforms

    def _text(self) -> Callable[[list[str]], Any] | None:
        return self._of_module("text_transform") if self.text is None else self.text

    def _of_module(self, name: str, *arguments: Any) -> Any:
        """What a method of the module returns, None where there is none."""
        method = None if self.trainer is None else getattr(self.trainer.lightning_module, name, None)
        return None if method is None else method(*arguments)

    def _eval_tables(self, source: ImageTextSource) -> dict[str, RelevanceTable]:
        text_ids = _text_ids(source, "val", "test")
        return {name: self._table(labels, text_ids, source) for name, labels in self.eval_relevance.items()}

    def _table(self, labels: LabelSource, text_ids: Tensor, source: ImageTextSource) -> RelevanceTable:
        if isinstance(labels, str):
            table = source.relevance_table()
        else:
            if self.cache_dir is not None:
                labels.cache_dir = self.cache_dir
            if self.train_captions and not any(labels is fitted for fitted in self._fitted):
                labels.fit(self.train_captions, self.source.text_image_ids[_text_ids(self.source, "train")])
                self._fitted.append(labels)
            table = labels.table(_captions(source, text_ids), source.text_image_ids[text_ids], text_ids)
        on_device = self.labels_on_device and self.trainer is not None
        return table.to(self.trainer.strategy.root_device) if on_device else table  # type: ignore[union-attr]


def _text_ids(source: ImageTextSource, *splits: str) -> Tensor:
    image_ids = [source.splits[name] for name in splits if name in source.splits]
    return source.text_ids(torch.cat([torch.arange(0), *image_ids]))


def _captions(source: ImageTextSource, text_ids: Tensor) -> list[str]:
    return [source.captions[text_id] for text_id in text_ids.tolist()]
