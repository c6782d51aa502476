import os
import pickle
import re
import time
import traceback
import warnings
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data.distributed import DistributedSampler

from vse_lightning.data import ImageTextDataModule, KarpathySource, ShapesSource
from vse_lightning.data.loaders.image_text_dataset import default_transform
from vse_lightning.data.loaders.samplers import SimilarBatchSampler
from vse_lightning.losses import SmoothNDCGLoss
from vse_lightning.mixins import RelevanceLossMixin
from vse_lightning.relevance import LSARelevance, PrecomputedRelevance, RelevanceTable, SBERTRelevance
from vse_lightning.relevance._sentence_models import SentenceModel

pytest.importorskip("PIL")

pytestmark = [
    # Lightning 2.6 with torch 2.15
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
    # No workers are quicker than some here, and some machines have more to offer.
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


class Retriever(LightningModule):
    """The least a host does with the batches; remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = {"train": [], "val": [], "test": []}

    def training_step(self, batch):
        self.seen["train"].append(batch)
        return self.layer(batch["image"].mean().view(1, 1)).sum()

    def validation_step(self, batch):
        self.seen["val"].append(batch)

    def test_step(self, batch):
        self.seen["test"].append(batch)

    def predict_step(self, batch):
        return batch["image_ids"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Recorder(Retriever):
    """Leaves what each process saw in a folder."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_fit_end(self):
        torch.save(self.seen, self.folder / f"{self.global_rank}.pt")


class Preprocessing(Retriever):
    """A host whose encoders bring their preprocessing."""

    def image_transform(self, train):
        return Constant(1.0 if train else 2.0)

    def text_transform(self):
        return lengths


class Constant:
    def __init__(self, value):
        self.value = value

    def __call__(self, picture):
        return torch.full((2,), self.value)


def lengths(texts):
    return torch.tensor([len(text) for text in texts])


@pytest.fixture(scope="module")
def source():
    return ShapesSource(40)


@pytest.fixture
def trainer(tmp_path):
    def make(**options):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(
            accelerator="cpu",
            default_root_dir=tmp_path,
            enable_model_summary=False,
            **quiet,
            **({"max_epochs": 1} | options),
        )

    return make


def ids(batches, key):
    return torch.cat([batch[key] for batch in batches]).tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_trainer_fits_validates_tests_and_predicts(source, trainer, num_workers):
    module = Retriever()
    data = ImageTextDataModule(source, relevance="source", batch_size=32, eval_batch_size=3, num_workers=num_workers)
    fit = trainer(num_sanity_val_steps=0, max_epochs=2)
    fit.fit(module, datamodule=data)
    fit.test(module, datamodule=data)
    predictions = fit.predict(module, datamodule=data)

    train = module.seen["train"]
    assert len(train) == 2 * (32 * 5 // 32)
    first, second = ids(train[:5], "text_ids"), ids(train[5:], "text_ids")
    assert sorted(first) == sorted(second) == list(range(160))
    assert first != second != list(range(160))  # shuffled anew in each epoch
    table = data.relevance_table
    for batch in train:
        assert batch["image"].shape == (32, 3, 64, 64)
        assert batch["text"] == [source.captions[text_id] for text_id in batch["text_ids"]]
        torch.testing.assert_close(batch["relevance"], table.block(batch["image_ids"], batch["text_ids"]))

    assert ids(module.seen["val"], "image_ids") == [32, 33, 34, 35] * 2
    assert ids(module.seen["test"], "text_ids") == list(range(180, 200))
    assert "relevance" not in module.seen["test"][0]
    assert torch.cat(predictions).tolist() == [36, 37, 38, 39]


def test_pictures_of_a_zip_and_features_reach_the_module(flickr8k, trainer):
    captions = flickr8k / "captions.json"
    for given in ({"images": flickr8k / "images_128px.zip"}, {"features": next(flickr8k.glob("efficient*.npy"))}):
        module = Retriever()
        data = ImageTextDataModule(KarpathySource(captions, **given), num_workers=2)
        trainer(limit_train_batches=2, limit_val_batches=1).fit(module, datamodule=data)
        batch = module.seen["train"][0]
        assert batch["image"].shape == ((128, 3, 128, 128) if "images" in given else (128, 1280))
        assert batch["image"].dtype == torch.float32
        assert module.seen["val"][0]["image_ids"].shape == (256,)
        assert module.seen["val"][0]["text_ids"].shape == (1280,)


def test_preprocessing_is_borrowed_from_the_module(source, trainer):
    module = Preprocessing()
    trainer().fit(module, datamodule=ImageTextDataModule(source, batch_size=32, num_workers=2))
    assert module.seen["train"][0]["image"].unique().tolist() == [1.0]
    assert module.seen["val"][0]["image"].unique().tolist() == [2.0]
    assert module.seen["val"][0]["text"].tolist() == lengths(source.captions[160:180]).tolist()


def test_own_preprocessing_overrides_the_module(source, trainer):
    def words(texts):
        return torch.tensor([len(text.split()) for text in texts])

    for transforms, of_train in ((Constant(3.0), 3.0), ({"train": Constant(4.0), "eval": Constant(3.0)}, 4.0)):
        module = Preprocessing()
        data = ImageTextDataModule(source, batch_size=32, num_workers=2, transforms=transforms, text=words)
        trainer().fit(module, datamodule=data)
        assert module.seen["train"][0]["image"].unique().tolist() == [of_train]
        assert module.seen["val"][0]["image"].unique().tolist() == [3.0]
        assert module.seen["val"][0]["text"].tolist() == words(source.captions[160:180]).tolist()


def test_loaders_without_a_trainer(source):
    data = ImageTextDataModule(source, batch_size=32, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch["text"][0], str)
    assert batch.keys() == {"image", "text", "image_ids", "text_ids", "text_image_ids"}
    assert data.train_captions == source.captions[:160]


def test_labels_are_fitted_on_training_captions_once(source, word_relevance, tmp_path):
    data = ImageTextDataModule(source, relevance=word_relevance, cache_dir=tmp_path)
    for stage in ("fit", "validate", "test", "predict", "fit"):
        data.setup(stage)
    assert word_relevance.fits == [(source.captions[:160], source.text_image_ids[:160].tolist())]
    assert word_relevance.cache_dir == tmp_path
    assert word_relevance.tables == [
        (source.captions[:160], list(range(160))),
        (source.captions[160:], list(range(160, 200))),
    ]
    assert list(data.eval_relevance_tables) == ["relevance"]
    assert data.eval_captions == source.captions[160:]


def test_test_only_run_fits_but_labels_no_training_captions(source, word_relevance):
    data = ImageTextDataModule(source, relevance=word_relevance)
    data.setup("test")
    assert data.relevance_table is None
    assert len(word_relevance.fits) == 1
    assert [len(text_ids) for _, text_ids in word_relevance.tables] == [40]


def test_predict_needs_no_labels(source, word_relevance):
    data = ImageTextDataModule(source, relevance=word_relevance)
    data.setup("predict")
    assert word_relevance.tables == []
    assert data.train_captions == source.captions[:160]


def test_evaluation_labels_may_differ_from_those_trained_on(source, word_relevance):
    data = ImageTextDataModule(source, eval_relevance={"scene": "source", "words": word_relevance})
    data.setup("fit")
    assert data.relevance_table is None
    assert {name: table.label for name, table in data.eval_relevance_tables.items()} == {
        "scene": "scene attributes",
        "words": "shared words",
    }
    data = ImageTextDataModule(source, relevance=word_relevance, eval_relevance={})
    data.setup("fit")
    assert data.relevance_table is not None
    assert data.eval_relevance_tables == {}


@pytest.mark.parametrize(("batch_size", "processes"), [(513, 1), (32, 2)])
def test_large_batches_and_several_processes_ask_the_table_instead(source, batch_size, processes):
    data = ImageTextDataModule(source, relevance="source", batch_size=batch_size, num_workers=0)
    data.trainer = FakeTrainer(processes)
    data.setup("fit")
    assert "relevance" not in next(iter(data.train_dataloader()))
    assert data.relevance_table is not None


class Ranker(RelevanceLossMixin, Retriever):
    """A host that learns from graded labels; remembers its losses."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(relevance_loss=SmoothNDCGLoss(temperature=0.1))
        self.image, self.text, self.losses = nn.Linear(3, 4), nn.Linear(1, 4), []

    def retrieval_embeds(self, batch):
        return self.image(batch["image"].mean(dim=(2, 3))), self.text(batch["text"][:, None].float())

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


def test_labels_on_the_device_give_the_same_losses(source, trainer):
    losses = []
    for labels_on_device in (False, True):
        module = Ranker()
        options = {"batch_size": 32, "num_workers": 0, "text": lengths, "labels_on_device": labels_on_device}
        data = ImageTextDataModule(source, relevance=LSARelevance(5), **options)
        trainer(limit_val_batches=0).fit(module, datamodule=data)
        assert ("relevance" in module.seen["train"][0]) is not labels_on_device
        losses.append(module.losses)
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize(("labels_on_device", "devices"), [(True, ["meta", "meta"]), (False, [])])
def test_labels_on_the_device_are_those_of_training_and_evaluation(
    source, word_relevance, monkeypatch, labels_on_device, devices
):
    asked = []
    monkeypatch.setattr(RelevanceTable, "to", lambda table, device: asked.append(str(device)) or table)
    data = ImageTextDataModule(source, relevance=word_relevance, labels_on_device=labels_on_device)
    data.trainer = FakeTrainer(1, device="meta")
    data.setup("fit")
    assert asked == devices


@pytest.mark.parametrize(("num_captions", "message"), [(199, "got 199 rows"), (201, "got 201 rows"), (200, None)])
@pytest.mark.parametrize("stage", ["fit", "test", "predict"])
def test_precomputed_labels_must_be_those_of_the_whole_source(
    source, word_relevance, tmp_path, num_captions, message, stage
):
    np.save(tmp_path / "captions.npy", np.ones((num_captions, 2), np.float32))
    labels = PrecomputedRelevance(tmp_path / "captions.npy")
    data = ImageTextDataModule(source, relevance=word_relevance, eval_relevance={"own": labels})
    if message is None:
        data.setup(stage)
        return
    with pytest.raises(ValueError, match=rf"one row for each of the 200 captions.* {message} in .*captions\.npy"):
        data.setup(stage)
    assert word_relevance.tables == []  # before anything is computed


@pytest.mark.parametrize(("batch_size", "sizes"), [(60, [60, 60]), (160, [160]), (161, [160])])
def test_last_short_batch_is_left_out_unless_it_is_the_only_one(source, batch_size, sizes):
    data = ImageTextDataModule(source, batch_size=batch_size, num_workers=0)
    data.setup("fit")
    assert [len(batch["text"]) for batch in data.train_dataloader()] == sizes


def test_padding_of_a_distributed_sampler_repeats_ids(source, trainer):
    data = ImageTextDataModule(source, eval_batch_size=3, num_workers=0)
    data.setup("test")
    seen = []
    for rank in range(3):
        loader = data.test_dataloader()
        sampler = DistributedSampler(loader.dataset, num_replicas=3, rank=rank, shuffle=False)
        again = torch.utils.data.DataLoader(
            loader.dataset, loader.batch_size, sampler=sampler, collate_fn=loader.collate_fn
        )
        seen += [image_id for batch in again for image_id in batch["image_ids"].tolist()]
    assert len(seen) == 6
    assert set(seen) == {36, 37, 38, 39}


def test_loader_can_be_sent_to_another_process(source):
    data = ImageTextDataModule(source, relevance="source", batch_size=32, num_workers=0, transforms=Constant(1.0))
    data.setup("fit")
    loader = data.train_dataloader()
    dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    batch = collate([dataset[index] for index in range(20)])
    torch.testing.assert_close(batch["relevance"], data.relevance_table.block(batch["image_ids"], batch["text_ids"]))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("batches", ["random", "distinct", "similar"])
def test_two_processes_share_the_data(source, trainer, tmp_path, batches):
    module = Recorder(tmp_path)
    data = ImageTextDataModule(
        source, relevance="source", batch_size=16, eval_batch_size=3, num_workers=0, batches=batches
    )
    trainer(strategy="ddp_fork", devices=2, num_sanity_val_steps=0).fit(module, datamodule=data)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert len(first["train"]) == len(second["train"]) == 5  # 160 pairs
    assert sorted(ids(first["train"] + second["train"], "text_ids")) == list(range(160))
    assert "relevance" not in first["train"][0]
    assert set(ids(first["val"] + second["val"], "image_ids")) == {32, 33, 34, 35}
    if batches == "distinct":
        assert all(len(batch["image_ids"].unique()) == 16 for batch in first["train"] + second["train"])


class SlowSentences:
    """Stands for a SentenceTransformer: leaves what it encoded in a file for each process."""

    def __init__(self, folder):
        self.folder = folder

    def encode(self, captions, **options):
        time.sleep(0.2)  # for the other process to come
        with (self.folder / f"{os.getpid()}.txt").open("a") as file:
            file.writelines(caption + "\n" for caption in captions if caption != "a")
        return torch.tensor([[len(caption), 1.0] for caption in captions]).numpy()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_one_of_two_processes_encodes_the_captions(source, trainer, tmp_path, monkeypatch):
    for name in ("model", "cache", "encoded"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(SentenceModel, "load", lambda self, device: SlowSentences(tmp_path / "encoded"))
    labels = SBERTRelevance(str(tmp_path / "model"))
    options = {"batch_size": 16, "num_workers": 0, "cache_dir": tmp_path / "cache"}
    data = ImageTextDataModule(source, relevance=labels, **options)
    trainer(strategy="ddp_fork", devices=2, max_steps=1, limit_val_batches=0).fit(Retriever(), datamodule=data)
    shares = [path.read_text().splitlines() for path in (tmp_path / "encoded").iterdir()]
    distinct = [*dict.fromkeys(source.captions[:160]), *dict.fromkeys(source.captions[160:])]
    assert sorted(chain(*shares)) == sorted(distinct)


@pytest.mark.parametrize("batches", ["distinct", "similar"])
def test_batches_are_chosen_under_a_trainer(source, trainer, batches):
    module = Retriever()
    data = ImageTextDataModule(source, relevance="source", batch_size=16, num_workers=2, batches=batches)
    trainer(max_epochs=2).fit(module, datamodule=data)
    train = module.seen["train"]
    assert sorted(ids(train[:10], "text_ids")) == sorted(ids(train[10:], "text_ids")) == list(range(160))
    assert ids(train[:10], "text_ids") != ids(train[10:], "text_ids")
    if batches == "distinct":
        assert all(len(batch["image_ids"].unique()) == 16 for batch in train)


def test_similar_batches_are_made_from_the_labels(source):
    data = ImageTextDataModule(source, relevance="source", batch_size=16, batches="similar")
    with pytest.raises(ValueError, match=r"needs the labels: call setup\('fit'\)"):
        data.train_dataloader()
    data.setup("fit")
    sampler = data.train_dataloader().batch_sampler
    assert isinstance(sampler, SimilarBatchSampler)
    assert sampler.relevance is data.relevance_table


@pytest.mark.parametrize("num_workers", [0, 2])
def test_corrupt_pictures_are_skipped_and_counted(karpathy, trainer, num_workers):
    for path in ("a/1.png", "b/4.png"):
        (karpathy / "pictures" / path).write_bytes(b"not a picture")
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    options = {"batch_size": 7, "eval_batch_size": 2, "num_workers": num_workers, "on_corrupt": "skip"}
    data = ImageTextDataModule(source, **options)
    module = Retriever()
    with pytest.warns(UserWarning, match=r"skipped 2 pictures that could not be read: 1\.png, 4\.png"):
        trainer(num_sanity_val_steps=0).fit(module, datamodule=data)
    assert data.skipped_images == [1, 4]
    assert set(ids(module.seen["train"], "image_ids")) == {0, 2, 3}
    assert ids(module.seen["val"], "image_ids") == [5, 5]
    with pytest.raises(ValueError, match=r"image_id \d: .*\.png cannot be read as a picture"):
        trainer().fit(Retriever(), datamodule=ImageTextDataModule(source, **{**options, "on_corrupt": "raise"}))


class Refusing:
    """A transform that dislikes one colour of picture."""

    def __call__(self, picture):
        if picture.getpixel((0, 0)) == (0, 250, 0):
            raise LookupError("green")
        return torch.zeros(3)


def refuse_5(texts):
    if any("number 5" in text for text in texts):
        raise LookupError("five")
    return torch.zeros(len(texts))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": Refusing()}, r"green\nThe transform was given 5\.png \(image_id 5\)\."),
        (
            {"text": refuse_5, "transforms": Constant(1.0)},
            r"five\nThe text transform was given caption 9: 'A green picture , number 5 \.'",
        ),
    ],
)
def test_errors_of_transforms_keep_their_type_and_name_what_they_are_about(karpathy, num_workers, options, message):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    data = ImageTextDataModule(source, num_workers=num_workers, **options)
    with pytest.raises(LookupError) as caught:
        list(data.val_dataloader())
    shown = "".join(traceback.format_exception(caught.value))  # what the user sees; from a worker it is the message
    assert re.search(message, shown)


def test_fit_without_a_validation_split_says_so(karpathy, edit_captions, trainer):
    path = edit_captions(lambda images: [image.update(split="train") for image in images if image["split"] == "val"])
    source = KarpathySource(path, features=karpathy / "features.npy")
    data = ImageTextDataModule(source, batch_size=4, num_workers=2)
    with pytest.raises(
        ValueError, match=r"no split 'val' to validate on, only \['test', 'train'\].* limit_val_batches=0"
    ):
        trainer().fit(Retriever(), datamodule=data)
    trainer(limit_val_batches=0).fit(Retriever(), datamodule=data)


def test_unknown_split_to_predict(source):
    data = ImageTextDataModule(source, predict_split="tset")
    with pytest.raises(ValueError, match=r"split must be one of .* got 'tset'"):
        data.predict_dataloader()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size must be"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0"),
        ({"relevance": "sources"}, "relevance must be a RelevanceSource or 'source' or None, got 'sources'"),
        ({"eval_relevance": {"a": 3}}, r"every entry of eval_relevance must be a RelevanceSource or 'source', got "),
        ({"eval_relevance": ["source"]}, r"eval_relevance must be a dict or None, got \['source'\]"),
        ({"eval_relevance": {"": "source"}}, "eval_relevance must have names of letters, digits, .*, got ''"),
        ({"eval_relevance": {"a": "source", "v2 @ 100%": "source"}}, "must have names of letters, .*, got 'v2 @ 100%'"),
        ({"eval_relevance": {"a": "source", "at_5": "source"}}, r"names without words of metrics \(at\), got 'at_5'"),
        ({"eval_relevance": {"NDCG-t2i": "source"}}, r"names without words of metrics \(ndcg, t2i\), got 'NDCG-t2i'"),
        (
            {"eval_relevance": {"cider": "source", "idf_cider": "source"}},
            "no name that ends in another, got 'cider' and 'idf_cider'",
        ),
        ({"batches": "alike"}, "batches must be one of 'random', 'distinct', 'similar', got 'alike'"),
        ({"batches": "similar"}, "batches='similar' needs relevance, got None"),
        ({"on_corrupt": "ignore"}, "on_corrupt must be one of 'raise', 'skip', got 'ignore'"),
        ({"transforms": {"train": lengths}}, r"transforms must have the keys 'train' and 'eval', got \['train'\]"),
    ],
)
def test_wrong_input(source, wrong, message):
    with pytest.raises(ValueError, match=message):
        ImageTextDataModule(source, **wrong)


def test_fit_without_a_training_split(karpathy, edit_captions, word_relevance):
    path = edit_captions(lambda images: [image.update(split="test") for image in images])
    data = ImageTextDataModule(KarpathySource(path, features=karpathy / "features.npy"), relevance=word_relevance)
    with pytest.raises(ValueError, match=r"split must be one of \['test'\], got 'train'"):
        data.setup("fit")
    data.setup("test")
    assert word_relevance.fits == []
    assert len(data.eval_captions) == 15


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning 2.6 calls jsonargparse 4.49 in its older ways
def test_is_built_from_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vse-lightning"])
    (tmp_path / "data.yaml").write_text(
        """
        data:
          source: {class_path: vse_lightning.data.ShapesSource, init_args: {num_images: 20}}
          relevance: source
          eval_relevance:
            scene: source
            topic: {class_path: vse_lightning.relevance.LSARelevance, init_args: {n_components: 5}}
          batches: similar
          transforms:
            train: vse_lightning.data.loaders.image_text_dataset.default_transform
            eval: {class_path: torch.nn.Flatten}
        """
    )
    options = {"run": False, "seed_everything_default": False}
    cli = LightningCLI(Retriever, ImageTextDataModule, args=["--config", "data.yaml"], **options)
    data = cli.datamodule
    assert data.source.num_images == 20
    assert data.relevance == data.eval_relevance["scene"] == "source"
    assert isinstance(data.eval_relevance["topic"], LSARelevance)
    assert isinstance(data.transforms["eval"], nn.Flatten)
    assert data.transforms["train"] is default_transform


HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Transferring(Retriever):
    """A host that overrides all hooks of the transfer."""

    def __init__(self):
        super().__init__()
        self.called = []

    def on_before_batch_transfer(self, batch, dataloader_idx):
        self.called.append(HOOKS[0])
        return batch

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        self.called.append(HOOKS[1])
        return batch

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.called.append(HOOKS[2])
        return batch


@pytest.mark.filterwarnings("ignore:You have overridden .* in `LightningModule` but have passed in a")
def test_hooks_of_the_host_are_called(source, trainer):
    for kind in ImageTextDataModule.__mro__[: ImageTextDataModule.__mro__.index(LightningDataModule)]:
        assert not set(HOOKS) & set(vars(kind))
    module = Transferring()
    trainer(limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=ImageTextDataModule(source))
    assert module.called == list(HOOKS)


def test_source_without_labels_of_its_own(karpathy):
    source = KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")
    data = ImageTextDataModule(source, relevance="source")
    with pytest.raises(ValueError, match="KarpathySource knows no graded relevance of its own"):
        data.setup("fit")


class FakeTrainer:
    """What the data module asks of a trainer, with as many processes as one likes."""

    lightning_module = None
    state = type("State", (), {"fn": None})
    overfit_batches = 0

    def __init__(self, processes, device="cpu"):
        self.world_size = self.num_devices = processes
        self.strategy = SimpleNamespace(root_device=torch.device(device))
        current = SimpleNamespace(processed=0)
        self.fit_loop = SimpleNamespace(epoch_progress=SimpleNamespace(current=current))


def test_warnings_are_only_those_of_lightning(source, trainer):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?!.*LeafSpec)")  # Lightning's own, with a recent torch
        trainer().fit(Retriever(), datamodule=ImageTextDataModule(source, batch_size=32, relevance="source"))
