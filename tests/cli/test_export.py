"""Programs of both towers, which embed as the model does."""

import contextlib
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from lightning import Trainer
from torch import nn

from tests.models.conftest import tiny_bert, tiny_clip, tiny_siglip, tiny_vit_bert  # noqa: F401
from vse_lightning.cli import main
from vse_lightning.cli.export import formats
from vse_lightning.cli.export.towers import towers_of
from vse_lightning.data import ShapesSource
from vse_lightning.models import (
    CLIPRetriever,
    DualEncoder,
    FeatureImageEncoder,
    GRUTextEncoder,
    TimmImageEncoder,
    TransformerTextEncoder,
)

pytest.importorskip("PIL")
pytest.importorskip("timm")
pytest.importorskip("transformers")

SOURCE = ShapesSource(num_images=10)
CAPTIONS = SOURCE.captions[:7]
needs_onnx = pytest.mark.skipif(not find_spec("onnxruntime"), reason="onnxruntime is not installed")
FORMATS = ["pt2", pytest.param("onnx", marks=needs_onnx)]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def pictures_and_words(bidirectional=False, pooling="last"):
    words = GRUTextEncoder(word_dim=4, embed_dim=8, min_count=1, bidirectional=bidirectional, pooling=pooling)
    words.fit(CAPTIONS)
    return DualEncoder(TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32), words)


def features_and_tokens(folder, image_pooling="gpo", text_pooling="gpo"):
    image = FeatureImageEncoder(6, 8, pooling=image_pooling, residual_mlp=True, region_dropout=0.2)
    return DualEncoder(image, TransformerTextEncoder(str(folder), embed_dim=8, pooling=text_pooling))


@pytest.fixture
def export(tmp_path, capsys):
    """Save a model, export it from its checkpoint, give the folder, the facts and what was printed."""

    def made(model, *args):
        trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(tmp_path / "best.ckpt")
        with contextlib.chdir(tmp_path):
            main(["export", "--ckpt_path", "best.ckpt", "--output", "deployed", *args])
        facts = json.loads((tmp_path / "deployed" / "export.json").read_text())
        return tmp_path / "deployed", facts, capsys.readouterr().out

    return made


def program_at(path):
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda inputs: module(**inputs)
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs[name].numpy() for name in inputs})[0])


def inputs_of(model, rows, regions=False):
    """A batch of another size than those that the command tries."""
    transform = model.image_transform(train=False)
    if transform is None:
        image = torch.rand(rows, 9, 6) if regions else torch.rand(rows, 6)
    else:
        image = torch.stack([transform(SOURCE.load_image(image_id)) for image_id in range(rows)])
    text = model.text_transform()([caption.split(",")[0] for caption in CAPTIONS[:rows]])
    return image, text


def assert_equal(model, folder, file_format, regions=False):
    model.eval()
    programs = [program_at(folder / f"{tower}.{file_format}") for tower in ("image", "text")]
    for rows in (1, 2, 7):
        image, text = inputs_of(model, rows, regions)
        named = {"image": image}, text if isinstance(text, dict) else {"text": text}
        with torch.no_grad():
            expected = model.encode_images(image), model.encode_texts(text)
            found = [program(inputs) for program, inputs in zip(programs, named, strict=True)]
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("file_format", FORMATS)
def test_pictures_and_words(export, file_format):
    model = pictures_and_words()
    folder, facts, printed = export(model, "--format", file_format)
    assert_equal(model, folder, file_format)
    assert facts["image"]["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 32, 32]}]
    assert facts["text"]["inputs"] == [{"name": "text", "dtype": "int64", "shape": ["batch", "words"]}]
    assert facts["image"]["embed_dim"] == facts["text"]["embed_dim"] == 8
    assert facts["text"]["files"][file_format]["largest_difference"] < 1e-5
    assert f"text.{file_format}" in printed
    assert "exported: deployed" in printed
    preprocessing = facts["image"]["preprocessing"]
    assert preprocessing["input_size"] == [3, 32, 32]
    assert preprocessing["mean"] == [0.5, 0.5, 0.5]
    assert preprocessing["steps"][-1].startswith("Normalize(")


@needs_onnx
@pytest.mark.parametrize("formats", [["onnx", "pt2"], ["pt2", "onnx"]])
def test_formats_do_not_disturb_each_other(export, formats):
    model = pictures_and_words()
    folder = export(model, *(f"--format={file_format}" for file_format in formats))[0]
    for file_format in formats:
        assert_equal(model, folder, file_format)


@pytest.mark.parametrize(("bidirectional", "pooling"), [(True, "last"), (False, "gpo")])
def test_grus_of_every_kind(export, bidirectional, pooling):
    model = pictures_and_words(bidirectional, pooling)
    assert_equal(model, export(model)[0], "pt2")


def test_regions_and_tokens(export, tiny_bert):  # noqa: F811
    model = features_and_tokens(tiny_bert)
    folder, facts, _ = export(model, "--regions")
    assert_equal(model, folder, "pt2", regions=True)
    assert facts["image"]["inputs"][0]["shape"] == ["batch", "regions", 6]
    assert facts["image"]["preprocessing"] == {"kind": "features"}
    assert [given["name"] for given in facts["text"]["inputs"]] == ["input_ids", "attention_mask"]
    assert facts["text"]["inputs"][1]["shape"] == ["batch", "tokens"]


@needs_onnx
def test_pooled_features_and_the_first_token(export, tiny_bert, tmp_path):  # noqa: F811
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed" / "mine.txt").write_text("of the user")
    earlier = sorted(path.name for path in export(pictures_and_words())[0].iterdir())
    assert earlier == ["export.json", "image.pt2", "mine.txt", "text.pt2", "vocabulary.json"]
    model = features_and_tokens(tiny_bert, "mean", "cls")
    folder = export(model, "--format", "onnx")[0]
    assert_equal(model, folder, "onnx")
    written = ["export.json", "image.onnx", "mine.txt", "text.onnx", "tokenizer.json"]
    assert sorted(path.name for path in folder.iterdir()) == written


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("tiny_clip", "pt2"), pytest.param("tiny_clip", "onnx", marks=needs_onnx), ("tiny_vit_bert", "pt2")],
)
def test_dual_encoders_of_hugging_face(export, request, name, file_format):
    model = CLIPRetriever(str(request.getfixturevalue(name)))
    folder, facts, _ = export(model, "--format", file_format)
    assert_equal(model, folder, file_format)
    assert facts["image"]["preprocessing"]["image_mean"]
    weights = sum(4 * parameter.numel() for parameter in model.backbone.model.vision_model.parameters())
    if file_format == "pt2":
        found = torch.export.load(folder / "image.pt2").state_dict
        assert not [key for key in found if "text_model" in key]
        assert sum(4 * tensor.numel() for tensor in found.values()) < 1.3 * weights


def test_vocabulary_and_torch_are_all_that_captions_need(export):
    model = pictures_and_words()
    folder, facts, _ = export(model)
    told = facts["text"]["preprocessing"]
    words = json.loads((folder / told["file"]).read_text())
    numbers = {word: told["number_of_first_word"] + place for place, word in enumerate(words)}
    rows = [[numbers.get(word, told["number_of_unknown_words"]) for word in row] for row in (["a", "zebra"], ["small"])]
    rows[1].append(told["padding_id"])
    assert rows == model.text_transform()(["A zebra!", "small"]).tolist()

    code = "import sys, torch; program = torch.export.load(sys.argv[1]).module()"
    code += f"; print(program(text=torch.tensor({rows})).tolist())"
    code += "; assert not [name for name in sys.modules if name.startswith(('vse_lightning', 'lightning'))]"
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder / "text.pt2")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    expected = model.eval().encode_texts(torch.tensor(rows))
    torch.testing.assert_close(torch.tensor(json.loads(result.stdout)), expected)


def test_tokenizer_is_all_that_captions_need(export, tiny_siglip):  # noqa: F811
    from tokenizers import Tokenizer

    model = CLIPRetriever(str(tiny_siglip))
    folder, facts, _ = export(model)
    assert_equal(model, folder, "pt2")
    assert facts["text"]["inputs"] == [{"name": "input_ids", "dtype": "int64", "shape": ["batch", 16]}]
    tokenizer = Tokenizer.from_file(str(folder / facts["text"]["preprocessing"]["file"]))
    tokens = model.text_transform()(CAPTIONS[:1])["input_ids"][0]
    assert tokenizer.encode(CAPTIONS[0]).ids == tokens.tolist()
    assert facts["text"]["preprocessing"]["max_length"] == 16


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_what_embeds_differently_is_not_kept(export, monkeypatch, wrong):
    folder = export(pictures_and_words())[0]
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    read = formats._read_pt2
    monkeypatch.setattr(formats, "_read_pt2", lambda path: lambda batch: read(path)(batch) + wrong)
    with pytest.raises(ValueError, match=r"image.pt2 is not kept: .* and --tolerance is 1.0e-04"):
        export(pictures_and_words())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


@pytest.mark.parametrize("name", ["export.json", "text.pt2", "vocabulary.json"])
def test_files_of_others_are_not_replaced(export, tmp_path, name):
    mine = tmp_path / "deployed" / name
    mine.parent.mkdir()
    mine.write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=rf"--output: .*{name} is there already"):
        export(pictures_and_words())
    assert list(mine.parent.iterdir()) == [mine]
    assert mine.read_text() == '{"mine": 1}'


class Deciding(nn.Module):
    """Does one thing or another by the values of its input."""

    embed_dim = input_dim = 8

    def transform(self, train=False):
        return None

    def forward(self, image):
        return image if image.sum() > 0 else -image


def test_what_cannot_be_exported_is_named(tmp_path):
    model = pictures_and_words().eval()
    model.image_encoder = Deciding()
    with pytest.raises(ValueError, match="the image tower, Deciding, cannot be exported as pt2: "):
        formats.write_program(next(towers_of(model)), "pt2", tmp_path, 1e-4)
    model.image_encoder = nn.Identity()
    model.image_encoder.transform = lambda train: None
    with pytest.raises(ValueError, match="Identity must have a transform for pictures, or input_dim"):
        next(towers_of(model))


def test_captions_must_become_tensors_that_are_known():
    model = pictures_and_words().eval()
    model.text_encoder.transform = lambda: lambda captions: {"characters": torch.ones(len(captions), 3)}
    with pytest.raises(ValueError, match=r"must make a tensor, or a dict of input_ids .* got characters"):
        list(towers_of(model))


def test_regions_are_no_pictures(export):
    with pytest.raises(ValueError, match="--regions is for encoders of precomputed features, and this one takes pict"):
        export(pictures_and_words(), "--regions")


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    message = r'^--format onnx needs onnx, onnxscript, onnxruntime: pip install "vse-lightning\[export\]"$'
    with pytest.raises(ModuleNotFoundError, match=message):
        main(["export", "--ckpt_path", "nothing.ckpt", "--format", "onnx"])


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.ckpt"):
        main(["export", "--ckpt_path", str(tmp_path / "nothing.ckpt")])
    assert list(tmp_path.iterdir()) == []
