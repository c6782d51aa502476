"""A folder for Hugging Face: transformers, sentence-transformers and CLIPRetriever embed alike with it."""

import contextlib
import json

import pytest
import torch
import yaml
from lightning import Trainer

from tests.models.conftest import tiny_bert, tiny_clip, tiny_model, tiny_siglip, tiny_vit_bert  # noqa: F401
from vse_lightning.cli import main
from vse_lightning.cli.export.model_card import model_card
from vse_lightning.data import ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.models import CLIPRetriever, DualEncoder, FeatureImageEncoder, GRUTextEncoder

for needed in ("PIL", "transformers", "sentence_transformers", "peft"):
    pytest.importorskip(needed)

SOURCE = ShapesSource(num_images=10, image_size=60)
PICTURES = [SOURCE.load_image(number) for number in range(4)]
CAPTIONS = [*SOURCE.captions[:5], " ".join(SOURCE.captions)]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def export(tmp_path, capsys):
    """Save a model, export it from its checkpoint, give the folder and what was printed."""

    def made(model, *args):
        trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(tmp_path / "best.ckpt")
        with contextlib.chdir(tmp_path):
            main(["export", "--ckpt_path", "best.ckpt", "--format", "hf", "--output", "given", *args])
        return tmp_path / "given", capsys.readouterr().out

    return made


@torch.no_grad()
def embeds_of(retriever):
    retriever.eval()
    image = torch.stack([retriever.image_transform(False)(picture) for picture in PICTURES])
    return retriever.encode_images(image), retriever.encode_texts(retriever.text_transform()(CAPTIONS))


def changed(folder, **arguments):
    """A retriever whose weights are no longer those of the folder."""
    retriever = CLIPRetriever(str(folder), **arguments)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in retriever.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return retriever


def test_three_libraries_embed_alike(tiny_model, export):  # noqa: F811
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoProcessor

    retriever = changed(tiny_model, max_length=10)
    folder, printed = export(retriever)
    assert "0.0e+00" in printed
    images, texts = embeds_of(retriever)

    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    siglip = model.config.model_type == "siglip"
    inputs = processor(
        text=CAPTIONS, images=PICTURES, return_tensors="pt", truncation=True, padding="max_length" if siglip else True
    )
    with torch.no_grad():
        found = model.eval()(**inputs)
    normalized = torch.nn.functional.normalize
    torch.testing.assert_close(found.image_embeds, normalized(images, dim=1))
    torch.testing.assert_close(found.text_embeds, normalized(texts, dim=1))

    opened = SentenceTransformer(str(folder), device="cpu")
    torch.testing.assert_close(opened.encode(PICTURES, convert_to_tensor=True), images)
    torch.testing.assert_close(opened.encode(CAPTIONS, convert_to_tensor=True), texts)
    scores = opened.similarity(opened.encode(PICTURES), opened.encode(CAPTIONS))
    torch.testing.assert_close(scores, normalized(images, dim=1) @ normalized(texts, dim=1).T)

    again = CLIPRetriever(str(folder))
    for one, other in zip(embeds_of(again), (images, texts), strict=True):
        torch.testing.assert_close(one, other)


def test_adapters_are_merged_and_the_scale_goes_back(tiny_clip, export):  # noqa: F811
    from transformers import CLIPModel

    retriever = changed(tiny_clip, lora={"r": 2}, relevance_loss=ContrastiveLoss("model"))
    # only what learns is in a checkpoint
    base = CLIPRetriever(str(tiny_clip), lora={"r": 2})
    base.load_state_dict(retriever.state_dict())
    folder, _ = export(base)
    plain = CLIPModel.from_pretrained(folder)
    assert not any("lora" in name for name in plain.state_dict())
    assert plain.logit_scale.item() == retriever.relevance_loss.log_scale.item()
    for one, other in zip(embeds_of(CLIPRetriever(str(folder))), embeds_of(base), strict=True):
        torch.testing.assert_close(one, other)


def test_starts_from_folders_of_sentence_transformers(tiny_clip, tmp_path):  # noqa: F811
    from sentence_transformers import SentenceTransformer

    expected = embeds_of(CLIPRetriever(str(tiny_clip)))
    opened = SentenceTransformer(str(tiny_clip), device="cpu")
    opened.save(str(tmp_path / "now"))
    older = tmp_path / "older"
    (older / "0_CLIPModel").mkdir(parents=True)
    for file in tiny_clip.iterdir():
        (older / "0_CLIPModel" / file.name).write_bytes(file.read_bytes())
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (older / "modules.json").write_text(json.dumps(modules))
    for folder in (tmp_path / "now", older):
        for one, other in zip(embeds_of(CLIPRetriever(str(folder))), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    modules.append({"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"})
    (older / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="must embed by CLIP alone, but sentence-transformers puts Dense behind it"):
        CLIPRetriever(str(older))


def test_refuses(tiny_clip, export, tmp_path):  # noqa: F811
    retriever = CLIPRetriever(str(tiny_clip))
    with pytest.raises(ValueError, match="--format hf makes a folder of its own and stands alone, got hf onnx"):
        export(retriever, "--format", "hf", "onnx")
    (tmp_path / "given").mkdir()
    mine = tmp_path / "given" / "README.md"
    mine.write_text("mine")
    with pytest.raises(ValueError, match=r"README.md is there already"):
        export(retriever)
    assert [path.name for path in (tmp_path / "given").iterdir()] == ["README.md"]
    mine.unlink()
    export(retriever)
    folder, _ = export(retriever)  # over its own
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]

    words = GRUTextEncoder(word_dim=4, embed_dim=8, min_count=1)
    words.fit(CAPTIONS)
    with pytest.raises(ValueError, match="needs a CLIPRetriever, whose model Hugging Face knows, got a DualEncoder"):
        export(DualEncoder(FeatureImageEncoder(6, 8), words))


def test_the_card_calls_nothing_fine_tuned_that_began_at_random(tiny_clip, export):  # noqa: F811
    folder, _ = export(CLIPRetriever(str(tiny_clip), pretrained=False))
    assert "fine-tuned" not in (folder / "README.md").read_text().lower()


def test_the_card_tells_of_data_loss_labels_and_results(tiny_clip, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean.yaml").write_text(
        "trainer: {callbacks+: [{class_path: vse_lightning.callbacks.WeightInterpolation}]}\n"
    )
    options = {
        "data.init_args.source": "vse_lightning.data.ShapesSource",
        "data.init_args.source.init_args.num_images": 20,
        "data.init_args.relevance": "source",
        "data.init_args.eval_relevance": "null",
        "data.init_args.batch_size": 8,
        "data.init_args.num_workers": 0,
        "model.init_args.model": tiny_clip,
        "model.init_args.lora": "{r: 2}",
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.precision": 32,
        "trainer.enable_progress_bar": "false",
    }
    main(["fit", "--config=clip.yaml", "--config=mean.yaml", *(f"--{name}={value}" for name, value in options.items())])
    printed = capsys.readouterr().out
    (path,) = (path for path in tmp_path.rglob("epoch*.ckpt") if path.parent.name == "checkpoints")
    main(["export", f"--ckpt_path={path}", "--format=hf", "--output=given"])
    card = (tmp_path / "given" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "sentence-transformers"
    assert "base_model" not in head  # a folder of this machine
    for told in ("vse_lightning.data.ShapesSource", "vse_lightning.losses.SmoothNDCGLoss", "relevance: source", "r: 2"):
        assert told in card
    assert str(tmp_path) not in card
    rows = [line for line in card.splitlines() if line.startswith("| NDCG@10 (scene attributes)")]
    (shown,) = (line for line in printed.splitlines() if "NDCG@10 (scene attributes) " in line)
    assert [cell.split()[0] for cell in rows[0].split("|")[2:4]] == [cell.split()[0] for cell in shown.split("│")[2:4]]
    assert " to 1)" in rows[0]
    assert "interpolated" not in card
    assert "WiSE-FT" not in card

    mean = path.parent / "interpolated" / path.name
    mean.parent.mkdir(exist_ok=True)
    mean.write_bytes(path.read_bytes())
    card = model_card(mean, CLIPRetriever(str(tiny_clip)))
    for told in ("mean of those before and after (WiSE-FT)", "WeightInterpolation", "alpha: 0.5"):
        assert told in card
    (row,) = [line for line in card.splitlines() if line.startswith("| NDCG@10 (scene attributes)")]
    assert row.count(" to 1)") == 2
    last = model_card(path.parent / "last.ckpt", CLIPRetriever(str(tiny_clip)))
    assert "the last test of the run was not of this checkpoint" in last

    path.rename(tmp_path / "alone.ckpt")
    main(["export", f"--ckpt_path={tmp_path / 'alone.ckpt'}", "--format=hf", "--output=other"])
    assert (tmp_path / "other" / "README.md").read_text().count("Not recorded") == 2
