import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import LightningModule
from safetensors.torch import load_file

from vse_lightning.callbacks import EmbeddingWriter
from vse_lightning.cli import main
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.embedding_files import ShardWriter, read_embeddings
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder

from .conftest import GivenEmbeddings, NastySource, Rows


class Predicted(Rows):
    """Of the seven images of the split test, three in a batch; ``loaders`` times."""

    def __init__(self, loaders=1):
        super().__init__(NastySource())
        self.loaders = loaders

    def predict_dataloader(self):
        loaders = [self.test_dataloader() for _ in range(self.loaders)]
        return loaders[0] if self.loaders == 1 else loaders


def predict(trainer, module=None, data=None):
    trainer.predict(module or GivenEmbeddings(), datamodule=data or Predicted(), return_predictions=False)


def assert_complete(found):
    module, images = GivenEmbeddings(), torch.arange(5, 12)
    assert torch.equal(found.image_ids, images)
    assert torch.equal(found.text_ids, torch.arange(10, 24))
    assert torch.equal(found.text_image_ids, images.repeat_interleave(2))
    assert torch.equal(found.image_embeds, module.images[5:])
    assert torch.equal(found.text_embeds, module.texts[10:])


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
@pytest.mark.parametrize(("rows_per_shard", "shards"), [(1, 3), (10, 2), (1000, 1)])
def test_shards_hold_what_the_module_embeds(trainer_with, tmp_path, file_format, rows_per_shard, shards):
    writer = EmbeddingWriter(tmp_path / "out", file_format, rows_per_shard)
    predict(trainer_with(writer))
    assert (writer.path, writer.images, writer.texts) == (tmp_path / "out", 7, 14)
    arrays = ["image_embeds", "image_ids", "text_embeds", "text_ids", "text_image_ids"]
    names = [f"rank0of1-{shard:05d}" for shard in range(shards)]
    if file_format == "npy":
        names = [f"{name}.{array}" for name in names for array in arrays]
    expected = [*(f"{name}.{file_format}" for name in names), "rank0of1.json"]
    assert sorted(path.name for path in writer.path.iterdir()) == expected
    assert_complete(read_embeddings(writer.path))
    if file_format == "safetensors":
        assert sorted(load_file(writer.path / f"{names[0]}.safetensors")) == arrays


def test_two_processes_write_what_one_does(tmp_path):
    worker = str(Path(__file__).with_name("predict_worker.py"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
    subprocess.run([sys.executable, "-W", "ignore", worker, str(tmp_path)], check=True, timeout=240, env=environment)
    for file_format in ("safetensors", "npy"):
        folder = tmp_path / file_format / "embeddings"
        counts = [json.loads((folder / f"rank{rank}of2.json").read_text())["images"] for rank in range(2)]
        assert counts == [4, 3]
        assert_complete(read_embeddings(folder))


def test_each_dataloader_has_a_folder(trainer_with, tmp_path):
    writer = EmbeddingWriter(tmp_path)
    predict(trainer_with(writer), data=Predicted(loaders=2))
    assert (writer.images, writer.texts) == (14, 28)
    for loader in range(2):
        assert_complete(read_embeddings(tmp_path / f"dataloader_idx_{loader}"))


def test_text_ids_are_written_where_there_are_any(trainer_with, tmp_path):
    class WithoutTextIds(GivenEmbeddings):
        def retrieval_targets(self, batch):
            return super().retrieval_targets({**batch, "text_ids": None})

    predict(trainer_with(EmbeddingWriter(tmp_path, "npy", rows_per_shard=1)), WithoutTextIds())
    found = read_embeddings(tmp_path)
    assert found.text_ids is None
    assert torch.equal(found.text_embeds, GivenEmbeddings().texts[10:])


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
def test_half_precision(tmp_path, file_format):
    rows = {"image_embeds": torch.rand(2, 3).bfloat16(), "image_ids": torch.tensor([4, 2])}
    rows |= {"text_embeds": torch.rand(2, 3).half(), "text_image_ids": torch.tensor([4, 2])}
    shards = ShardWriter(tmp_path, file_format, 10, rank=0, world_size=1)
    shards.add(rows)
    shards.close()
    found = read_embeddings(tmp_path)
    assert torch.equal(found.image_embeds.float(), rows["image_embeds"].flip(0).float())
    assert found.image_embeds.dtype == (torch.float32 if file_format == "npy" else torch.bfloat16)
    assert found.text_embeds.dtype == torch.float16


def test_earlier_embeddings_are_refused_before_the_work_starts(trainer_with, tmp_path):
    predict(trainer_with(EmbeddingWriter(tmp_path)))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    class Untouched(GivenEmbeddings):
        def retrieval_embeds(self, batch):
            raise AssertionError

    with pytest.raises(ValueError, match=f"no embeddings of an earlier run, got 2 files of one in {tmp_path}: remove"):
        predict(trainer_with(EmbeddingWriter(tmp_path)), Untouched())
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_folder_that_cannot_be_written_is_refused_before_the_work_starts(trainer_with, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"folder must be one that can be written, got .*/file/out \(Not a directory\)"):
        predict(trainer_with(EmbeddingWriter(tmp_path / "file" / "out")))


class Untold(LightningModule):
    def predict_step(self, batch):
        return {"image_embeds": torch.rand(3, 2)}


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Untold, TypeError, r"Untold: predict_step must return a dict .* got a dict of \['image_embeds'\]"),
        (
            lambda: Returning(text_ids=torch.arange(2)),
            ValueError,
            "one id for each embedding, got rows .*'text_ids': 2",
        ),
    ],
)
def test_what_cannot_be_written_is_an_error(trainer_with, tmp_path, module, error, message):
    with pytest.raises(error, match=message):
        predict(trainer_with(EmbeddingWriter(tmp_path)), module())


class Returning(GivenEmbeddings):
    """Changes what it predicts for every batch but the first."""

    def __init__(self, **changes):
        super().__init__()
        self.changes = changes

    def predict_step(self, batch, batch_idx):
        found = dict(zip(("image_embeds", "text_embeds"), self.retrieval_embeds(batch), strict=True))
        return {**found, **batch, **self.changes} if batch_idx else {**found, **batch}


def test_a_predict_step_of_the_host_is_written_without_what_else_it_returns(trainer_with, tmp_path):
    predict(trainer_with(EmbeddingWriter(tmp_path)), Returning(scores=torch.rand(3)))
    assert_complete(read_embeddings(tmp_path))


def test_a_retriever_without_loss_and_metrics_predicts(trainer_with, tmp_path):
    pytest.importorskip("timm")
    data = ImageTextDataModule(ShapesSource(num_images=20), num_workers=0)
    texts = GRUTextEncoder(word_dim=2, embed_dim=4, min_count=1)
    texts.fit(data.source.captions)
    images = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=4, image_size=32)
    model = DualEncoder(images, texts).eval()
    predict(trainer_with(EmbeddingWriter(tmp_path)), model, data)
    found = read_embeddings(tmp_path)
    assert found.image_ids.tolist() == [18, 19]
    captions = [data.source.captions[text_id] for text_id in found.text_ids.tolist()]
    torch.testing.assert_close(found.text_embeds, model.encode_texts(model.text_transform()(captions)))


def written(folder, rank=0, world_size=1, **changes):
    shards = ShardWriter(folder, "safetensors", 10, rank, world_size)
    rows = {"image_embeds": torch.eye(3), "text_embeds": torch.eye(3), "image_ids": torch.arange(3)}
    shards.add({**rows, "text_image_ids": torch.arange(3), "text_ids": torch.arange(3), **changes})
    shards.close()


def test_rows_that_come_again_are_left_out(tmp_path):
    written(tmp_path, 0, 2)
    written(tmp_path, 1, 2, image_ids=torch.tensor([3, 1, 4]), text_ids=torch.tensor([3, 4, 2]))
    found = read_embeddings(tmp_path)
    assert found.image_ids.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(found.image_embeds, torch.eye(3)[[0, 1, 2, 0, 2]])
    assert found.text_ids.tolist() == [0, 1, 2, 3, 4]
    assert found.text_image_ids.tolist() == [0, 1, 2, 0, 1]


def test_batches_that_number_anew_are_an_error(tmp_path):
    written(tmp_path, 0, 2)
    written(tmp_path, 1, 2, image_embeds=torch.eye(3).flip(1))
    with pytest.raises(ValueError, match="those of image_ids 0 differ: do batches number anew"):
        read_embeddings(tmp_path)


def test_incomplete_folders_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"must hold embeddings of one run of predict, got files of none"):
        read_embeddings(tmp_path)
    written(tmp_path, 1, 2)
    with pytest.raises(ValueError, match=r"a run that did not finish: there is no rank0of2.json"):
        read_embeddings(tmp_path)
    written(tmp_path, 0, 2, text_image_ids=torch.tensor([0, 1, 7]))
    with pytest.raises(ValueError, match="text_image_ids must be among the image_ids, got 7"):
        read_embeddings(tmp_path)
    (tmp_path / "rank0of2-00000.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"rank0of2-00000.safetensors is damaged"):
        read_embeddings(tmp_path)
    written(tmp_path, 0, 1)
    with pytest.raises(ValueError, match="of one run of predict, got files of rank0of1 and rank0of2 and rank1of2"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
def test_a_flipped_bit_is_noticed(trainer_with, tmp_path, file_format):
    predict(trainer_with(EmbeddingWriter(tmp_path, file_format, 10)))
    damaged = tmp_path / ("rank0of1-00001" + {"npy": ".text_embeds.npy", "safetensors": ".safetensors"}[file_format])
    content = bytearray(damaged.read_bytes())
    content[-2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{damaged.name} is damaged: its checksum differs"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"shards": 3}', '{"shards": ["rank0of1-00000"]}'])
def test_a_damaged_list_of_shards_is_named(tmp_path, content):
    written(tmp_path, 0, 1)
    (tmp_path / "rank0of1.json").write_text(content)
    with pytest.raises(ValueError, match=r"rank0of1.json must be a list of shards that predict wrote, and whole"):
        read_embeddings(tmp_path)


def test_only_shards_of_the_folder_are_read(tmp_path):
    written(tmp_path, 0, 1)
    index = tmp_path / "rank0of1.json"
    index.write_text(index.read_text().replace("rank0of1-00000", "../other/rank0of1-00000"))
    with pytest.raises(ValueError, match=r"rank0of1.json must list the shards rank0of1-00000 .*got '../other/rank0of1"):
        read_embeddings(tmp_path)


def test_others_may_read_the_files(tmp_path):
    written(tmp_path, 0, 1)
    (tmp_path / "ordinary").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("arguments", [{"file_format": "pt"}, {"rows_per_shard": 0}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))} must be"):
        EmbeddingWriter(**arguments)


QUICKSTART = ["--config", "quickstart.yaml", "--config", "relevance/cider.yaml", "--trainer.accelerator=cpu"]
QUICKSTART += ["--data.init_args.source.init_args.num_images=80", "--data.init_args.num_workers=0"]
QUICKSTART += ["--trainer.enable_progress_bar=false"]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_predicted_embeddings_evaluate_as_the_test_did(tmp_path, monkeypatch, capsys):
    pytest.importorskip("timm")
    pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)
    main(["fit", *QUICKSTART, "--compare_with=null", "--trainer.max_epochs=1", "--data.init_args.batch_size=16"])
    tested = capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("epoch*.ckpt")
    main(["predict", *QUICKSTART, "--ckpt_path", str(checkpoint), "--embeddings.rows_per_shard=5"])
    printed = capsys.readouterr().out.splitlines()[-1]
    folder = tmp_path / "runs" / "quickstart" / "version_1" / "embeddings"
    assert printed == f"embeddings: {folder.relative_to(tmp_path)} (8 images, 40 texts)"
    assert len(list(folder.glob("*.safetensors"))) == 1
    main(["evaluate", str(folder), "--output", "results.json"])
    values = json.loads((tmp_path / "results.json").read_text())["models"]["embeddings"]
    assert f"{100 * values['i2t_recall_at_1']['value']:.1f} %" in tested
    assert re.search(rf"rsum\s*│\s*{values['rsum']['value']:.1f}", tested)

    own = ["--trainer.callbacks+=EmbeddingWriter", "--trainer.callbacks.folder=mine"]
    own += ["--trainer.callbacks.file_format=npy"]
    main(["predict", *QUICKSTART, "--ckpt_path", str(checkpoint), *own])
    assert capsys.readouterr().out.splitlines()[-1] == "embeddings: mine (8 images, 40 texts)"
    assert not list(tmp_path.glob("runs/quickstart/version_2/embeddings"))
    with pytest.raises(ValueError, match="no embeddings of an earlier run, got 6 files of one in mine"):
        main(["predict", *QUICKSTART, "--embeddings.folder=mine"])


@pytest.mark.parametrize(("kind", "ids"), [("image_embeds", "image_ids 7"), ("text_embeds", "text_image_ids 7")])
def test_embeddings_that_are_not_finite_are_not_written(tmp_path, kind, ids):
    shards = ShardWriter(tmp_path, "safetensors", 1, rank=0, world_size=1)
    rows = {"image_embeds": torch.ones(2, 3), "text_embeds": torch.ones(2, 3)}
    rows |= {"image_ids": torch.tensor([5, 7]), "text_image_ids": torch.tensor([5, 7])}
    rows[kind][1, 2] = torch.nan
    with pytest.raises(ValueError, match=f"{kind} must be finite to be written, got NaN .* for 1 of 2 rows, {ids}"):
        shards.add(rows)
    assert not list(tmp_path.iterdir())
