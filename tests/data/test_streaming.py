"""Shards of samples as a training set: everything once, the same again after an interruption, damage by name."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.data import HuggingFaceSource, ImageTextDataModule, KarpathySource, ShapesSource, StreamingSource
from vse_lightning.losses import ContrastiveLoss, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.models import DualEncoder, FeatureImageEncoder
from vse_lightning.relevance import FeatureTable, RelevanceSource

pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
WIDTH = 3


def content(number):
    file = io.BytesIO()
    np.save(file, np.full(WIDTH, number, dtype=np.float16))
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tars(tmp_path):
    """Four shards of 10, 11, 12 and 13 samples, numbered through."""
    folder, number = tmp_path / "tars", 0
    folder.mkdir()
    for shard in range(4):
        members = []
        for _ in range(10 + shard):
            members += [(f"a/{number:03}.npy", content(number)), (f"a/{number:03}.txt", f"caption {number}".encode())]
            number += 1
        write_tar(folder / f"{shard}.tar", members)
    return folder


def stream(path, **options):
    return StreamingSource(path, **{"image_column": "npy", "caption_column": "txt", "shuffle_buffer": 4} | options)


def loader(source, batch_size=1, workers=0, **options):
    return ImageTextDataModule(source, batch_size=batch_size, num_workers=workers, **options).train_dataloader()


def texts_of(batches):
    return [text for batch in batches for text in batch["text"]]


@pytest.mark.parametrize("workers", [0, 3])
def test_every_pair_comes_once_an_epoch_in_another_order(tars, workers):
    batches = loader(stream(tars), workers=workers)
    first, second = list(batches), list(batches)
    assert sorted(texts_of(first)) == sorted(f"caption {number}" for number in range(46)) == sorted(texts_of(second))
    assert texts_of(first) != texts_of(second)
    assert all(batch["text"] == [f"caption {int(batch['image'][0, 0])}"] for batch in first)
    assert len({int(batch["image_ids"]) for batch in first}) == 46
    assert all(torch.equal(batch["image_ids"], batch["text_image_ids"]) for batch in first)


def test_workers_of_all_processes_read_shards_of_their_own(tars):
    seen = []
    for rank in range(2):
        batches = loader(stream(tars, epoch_size=1000), workers=2)
        batches.batches.rank, batches.batches.processes = rank, 2
        batches.batches.source.epoch_size = None
        seen.append(texts_of(batches))
    assert sorted(seen[0] + seen[1]) == sorted(f"caption {number}" for number in range(46))


def test_tables_and_streams_of_datasets_hold_the_same(tars, tmp_path):
    from datasets import Dataset

    rows = {
        "features": [[float(number)] * WIDTH for number in range(46)],
        "said": [{"en": [f"caption {number}", f"again {number}"]} for number in range(46)],
        "error": [0.5] * 46,  # a column that nobody asked for
    }
    table = Dataset.from_dict(rows)
    for part in range(2):
        table.shard(2, part).to_parquet(tmp_path / f"train-{part}.parquet")
    columns = {"image_column": "features", "caption_column": "said.en"}
    for path in (str(tmp_path / "train-*.parquet"), table.to_iterable_dataset(num_shards=4)):
        batches = list(loader(stream(path, **columns), workers=2))
        found = {text: batch["image"][0].tolist() for batch in batches for text in batch["text"]}
        assert found == {
            f"{word} {number}": [float(number)] * WIDTH for word in ("caption", "again") for number in range(46)
        }
        assert len({int(batch["text_ids"]) for batch in batches}) == 92
        assert len({int(batch["image_ids"]) for batch in batches}) == 46
        with pytest.raises(ValueError, match=r"image_column must be one of .* got 'features;png'"):  # of tars alone
            stream(path, **columns | {"image_column": "features;png"})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("epoch_size", [None, 90])
@pytest.mark.parametrize("given", [1, 8])
def test_goes_on_where_it_was(tars, workers, epoch_size, given):
    """With ``epoch_size=90`` the shards are read a second time before the epoch ends."""
    source = stream(tars, epoch_size=epoch_size)
    torch.manual_seed(0)
    whole = texts_of(loader(source, 3, workers))
    torch.manual_seed(0)
    interrupted = loader(source, 3, workers)
    begun = [batch for _, batch in zip(range(given), interrupted, strict=False)]
    state = interrupted.state_dict()
    torch.manual_seed(0)
    resumed = loader(source, 3, workers)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert texts_of(begun) + texts_of(resumed) == whole
    assert len(whole) == (90 if epoch_size else len(whole) // 3 * 3)


def test_a_stream_shared_out_in_another_way_starts_the_epoch_again(tars):
    torch.manual_seed(0)
    batches = loader(stream(tars), 3)
    next(iter(batches))
    other = loader(stream(tars), 3, workers=2)
    with pytest.warns(UserWarning, match="the stream starts the epoch again.*'workers': 0.*'workers': 2"):
        other.load_state_dict(batches.state_dict())


def test_what_is_damaged_is_left_out_and_named(tmp_path):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 10, 10)).save(file, "PNG")
    good = file.getvalue()
    members = [("0.png", good), ("0.txt", b"good")]
    members += [("1.png", good[:20]), ("1.txt", b"torn"), ("2.png", good), ("3.png", good), ("3.txt", b"\xff\xfe")]
    members += [("4.txt", b"no picture"), ("5.png", good), ("5.txt", b"  "), ("6.png", good), ("6.txt", b"also good")]
    write_tar(tmp_path / "0.tar", members)
    write_tar(tmp_path / "1.tar", [("7.png", good), ("7.txt", b"cut off"), ("8.png", good * 50), ("8.txt", b"lost")])
    (tmp_path / "1.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:4000])
    data = ImageTextDataModule(stream(tmp_path, image_column="jpg;png"), batch_size=1, num_workers=0)
    batches = list(data.train_dataloader())
    assert sorted(texts_of(batches)) == ["also good", "cut off", "good"]
    assert batches[0]["image"].shape == (1, 3, 4, 4)
    assert {int(batch["image_ids"]) for batch in batches} == {int(batches[0]["image_ids"])}  # the same picture
    with pytest.warns(UserWarning, match="skipped 6 samples of the stream") as warned:
        data.teardown("fit")
    assert "of 0.tar" in str(warned[0].message)


def test_a_damaged_picture_counts_once_an_epoch_whatever_it_is_called(tmp_path):
    members = [(f"{n}.{end}", data) for n in range(6) for end, data in
               (("png", b"torn"), ("json", b'["one", "two", "three"]')) if n]  # fmt: skip
    write_tar(tmp_path / "0.tar", [("0.npy", content(0)), ("0.json", b'["good"]'), *members])
    data = ImageTextDataModule(
        stream(tmp_path, image_column="npy;png", caption_column="json"), batch_size=1, num_workers=0
    )
    for _ in range(2):  # as a Trainer does with reload_dataloaders_every_n_epochs
        assert texts_of(data.train_dataloader()) == ["good"]
    with pytest.warns(UserWarning, match="skipped 10 samples .*, all epochs together"):
        data.teardown("fit")


def pictures(count):
    return [ShapesSource(num_images=10, image_size=32).load_image(number) for number in range(count)]


def test_samples_without_a_name_count_one_by_one():
    from datasets import Dataset

    rows = {"image": [b"torn"] * 3 + [content(0)], "caption": ["a", "b", " ", "good"]}
    batches = loader(StreamingSource(Dataset.from_dict(rows).to_iterable_dataset()))
    assert texts_of(batches) == ["good"]
    assert batches.skipped == 3


def test_pictures_of_a_stream_are_opened_ones_or_lie_in_files(tmp_path):
    from datasets import Dataset, Features, Image, Value

    opened = pictures(3)
    for number, picture in enumerate(opened):
        picture.save(tmp_path / f"{number}.png")
    rows = {"image": [str(tmp_path / f"{number}.png") for number in range(3)], "caption": ["0", "1", "2"]}
    of_files = Dataset.from_dict(rows, Features(image=Image(), caption=Value("string"))).to_iterable_dataset()
    for stream_of in (of_files, of_files.map(dict), of_files.filter(bool)):
        batches = list(loader(StreamingSource(stream_of)))
        assert len({int(batch["image_ids"]) for batch in batches}) == 3
        for batch in batches:
            expected = torch.from_numpy(np.array(opened[int(batch["text"][0])])).permute(2, 0, 1) / 255
            torch.testing.assert_close(batch["image"][0], expected)
    with pytest.raises(ValueError, match="or be an IterableDataset of datasets, got Dataset: give its to_iterable"):
        StreamingSource(Dataset.from_dict(rows))
    with pytest.raises(ValueError, match="or be an IterableDataset of datasets, got dict"):
        StreamingSource({"train": of_files})


def test_a_table_of_other_columns_is_left_out_and_named(tmp_path):
    from datasets import Dataset

    for number, column in enumerate(("caption", "text")):
        Dataset.from_dict({"image": [[1.0]], column: ["said"]}).to_parquet(tmp_path / f"{number}.parquet")
    batches = loader(StreamingSource(tmp_path))
    assert texts_of(batches) == ["said"]
    assert [*batches.named.values()] == ["it has no column 'caption', only ['image', 'text']"]


def test_an_epoch_that_is_shorter_now_ends_where_it_goes_on(tars):
    batches = loader(stream(tars, epoch_size=40), 4)
    for _ in zip(range(8), batches, strict=False):
        pass
    shorter = loader(stream(tars, epoch_size=20), 4)
    shorter.load_state_dict(batches.state_dict())
    assert list(shorter) == []


def test_nothing_is_unpickled_and_no_link_followed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    secret = tmp_path / "secret.npy"
    secret.write_bytes(content(9))
    shard = tmp_path / "shards" / "0.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as tar:
        objects = io.BytesIO()
        np.save(objects, np.array([Harmful()], dtype=object), allow_pickle=True)
        for name, data in {
            "0.pkl": pickle.dumps(Harmful()), "0.pth": pickle.dumps(Harmful()), "0.npy": content(1), "0.txt": b"good",
            "1.npy": objects.getvalue(), "1.txt": b"pickled", "../../2.npy": content(2), "../../2.txt": b"outside",
            "3.txt": b"linked",
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("3.npy")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert sorted(texts_of(loader(stream(shard)))) == ["good", "outside"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"num_workers": 5}, "4 shards are too few for 1 processes x 5 workers, .* set num_workers to at most 4"),
        ({"epoch_size": 2}, {}, "epoch_size must be at least a batch of all processes, 3 pairs, got 2"),
        (
            {"image_column": "jpg"},
            {},
            r"image_column must be one of \['npy', 'txt'\], the columns of .*0.tar, got 'jpg'",
        ),
        ({"caption_column": "json.caption"}, {}, "caption_column must be one of .* got 'json'"),
        ({}, {"batches": "distinct"}, "batches must be 'random' with a StreamingSource, got 'distinct'"),
        ({}, {"batch_labels": True}, "relevance goes with batch_labels=True .* got None and True"),
        ({"shuffle_buffer": 0}, {}, "shuffle_buffer must be a whole number of at least 1, got 0"),
    ],
)
def test_one_message_for_what_does_not_fit(tars, change, options, message):
    with pytest.raises(ValueError, match=message):
        ImageTextDataModule(stream(tars, **change), **{"batch_size": 3, "num_workers": 0} | options).train_dataloader()


@pytest.mark.parametrize("source", [StreamingSource, HuggingFaceSource])
def test_a_path_that_could_be_a_name_is_said_to_be_neither(source, monkeypatch):
    import datasets

    def unreachable(path, **_):
        raise ConnectionError(f"Couldn't reach {path!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(FileNotFoundError, match="path: nothing at 'data/train', and no data set of that name from the"):
        source("data/train")


def test_paths_without_shards(tmp_path, tars):
    with pytest.raises(FileNotFoundError, match="path: nothing at"):
        stream(tmp_path / "nowhere")
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"path: .*broken.tar cannot be read"):
        stream(tmp_path / "broken.tar")
    with pytest.raises(ValueError, match=r"found none in data/train-\*.tar"):  # no name of the hub
        stream("data/train-*.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"path must lead to shards that end in \.tar, .* found none in .*empty"):
        stream(tmp_path / "empty")
    with pytest.raises(ValueError, match="evaluation needs every caption at once, so it must be another source"):
        stream(tars, evaluation=stream(tars))
    with pytest.raises(ValueError, match="batch_labels=True is for a StreamingSource, got ShapesSource"):
        ImageTextDataModule(ShapesSource(num_images=10, image_size=32), batch_labels=True)
    with pytest.raises(ValueError, match="must hold at least one batch of 40 pairs for each worker, got none"):
        list(loader(stream(tars), batch_size=40, workers=4))


class Numbers(RelevanceSource):
    """Captions are alike when their numbers are."""

    name = "numbers"

    def features(self, captions):
        angles = torch.tensor([int(caption.split()[-1]) for caption in captions]) / 20
        return torch.stack([angles.cos(), angles.sin()], 1)

    def table(self, captions, image_ids, text_ids=None):
        return FeatureTable(self.features(captions), image_ids, text_ids, label=self.name)

    def embedder(self, device):
        return lambda captions: self.features(captions).to(device)


class Digits(torch.nn.Module):
    """A text encoder of numbers; as an image encoder, of features."""

    embed_dim = 4

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 4)

    def transform(self, *_):
        return numbers_in

    def forward(self, text):
        return torch.nn.functional.dropout(self.linear(text), 0.3, self.training)


def numbers_in(captions):
    return torch.tensor([[float(caption.split()[-1])] for caption in captions])


def trained(source, folder, stop=None, resume=None, epochs=2, workers=0):
    seed_everything(0)
    losses = {"contrastive": ContrastiveLoss(), "ndcg": SmoothNDCGLoss(temperature=0.1)}
    loss = WeightedSumLoss(losses, {"contrastive": 1.0, "ndcg": 1.0})
    model = DualEncoder(FeatureImageEncoder(WIDTH, embed_dim=4), Digits(), loss)
    data = ImageTextDataModule(
        source, Numbers(), eval_relevance={}, batch_size=4, num_workers=workers, batch_labels=True
    )
    saves = [] if folder is None else [ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)]
    trainer = Trainer(
        max_epochs=epochs, max_steps=-1 if stop is None else stop, accelerator="cpu", logger=False, callbacks=saves,
        enable_checkpointing=folder is not None, limit_val_batches=0, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data, ckpt_path=resume)
    return model, trainer


@pytest.mark.parametrize(("epoch_size", "workers", "stop"), [(None, 0, 5), (None, 0, 19), (60, 2, 20)])
def test_a_training_that_goes_on_in_the_middle_of_an_epoch_is_the_same(tars, tmp_path, epoch_size, workers, stop):
    source = stream(tars, epoch_size=epoch_size)
    whole, trainer = trained(source, None, workers=workers)
    steps = trainer.global_step
    assert steps == 2 * (60 // 4 if epoch_size else 44 // 4)
    trained(source, tmp_path / "part", stop=stop, workers=workers)
    resumed, trainer = trained(source, None, resume=tmp_path / f"part/step={stop}.ckpt", workers=workers)
    assert trainer.global_step == steps
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_labels_of_a_batch_are_those_of_a_table(tars):
    data = ImageTextDataModule(
        stream(tars), Numbers(), eval_relevance={}, batch_size=8, num_workers=0, batch_labels=True
    )
    batch = next(iter(data.train_dataloader()))
    ids = batch["image_ids"], batch["text_ids"]
    expected = Numbers().table(batch["text"], *ids).block(*ids)
    from vse_lightning.targets import RetrievalTargets

    targets = RetrievalTargets(batch["image_ids"], batch["text_image_ids"], text_features=batch["text_features"])
    torch.testing.assert_close(targets.relevance_between(slice(None), slice(None)), expected)


def test_evaluation_is_an_ordinary_source(tars, karpathy):
    ordinary = KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")
    source = stream(tars, evaluation=ordinary)
    assert sorted(source.splits) == ["test", "train", "val"]
    assert torch.equal(source.load_image(4), ordinary.load_image(4))
    data = ImageTextDataModule(source, batch_size=4, num_workers=0)
    data.setup("fit")
    assert data.train_captions  # what a vocabulary is fitted on
    assert next(iter(data.val_dataloader()))["image_ids"].tolist() == [4, 5]
    assert len(next(iter(data.train_dataloader()))["text"]) == 4
