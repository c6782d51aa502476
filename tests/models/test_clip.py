import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from lightning import Trainer

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import CLIPRetriever
from vse_lightning.models.checkpoints.restoring import restoring

pytest.importorskip("PIL")
pytest.importorskip("transformers")

SOURCE = ShapesSource(num_images=20, image_size=40)
PICTURES = [SOURCE.load_image(image_id) for image_id in range(5)]

# Runs in a fresh process, without the folders that the models came from; any connection is an error.
RELOAD = """
import socket, sys
import torch
from PIL import Image
from vse_lightning.models import CLIPRetriever

def refuse(*args, **kwargs):
    raise RuntimeError("the network was touched")

socket.socket.connect = refuse
for path in sys.argv[1:]:
    saved = torch.load(path, weights_only=True)
    told = saved["told"]
    retriever = CLIPRetriever.load_from_checkpoint(path).eval()
    text = retriever.text_transform()(told["captions"])
    picture = retriever.image_transform(train=False)(Image.fromarray(told["picture"].numpy()))
    torch.testing.assert_close(retriever.encode_texts(text), told["text_embeds"])
    torch.testing.assert_close(retriever.encode_images(picture[None]), told["image_embeds"])
    print(saved["hyper_parameters"]["max_length"])
"""


def make(folder, **arguments):
    torch.manual_seed(0)
    loss = WeightedSumLoss({"infonce": ContrastiveLoss(0.05), "ndcg": SmoothNDCGLoss()}, {"infonce": 1.0, "ndcg": 1.0})
    return CLIPRetriever(Path(folder), relevance_loss=loss, retrieval_metrics=RetrievalMetrics(), **arguments)


def batch_of(retriever, captions):
    image = torch.stack([retriever.image_transform(train=True)(picture) for picture in PICTURES])
    return {"image": image, "text": retriever.text_transform()(captions), "relevance": torch.rand(5, 5)}


def gradients(retriever, captions):
    torch.manual_seed(0)
    torch.stack(list(retriever.train().relevance_terms(batch_of(retriever, captions)).values())).sum().backward()
    return {name: parameter.grad for name, parameter in retriever.named_parameters()}


def fit(retriever, folder, **settings):
    data = ImageTextDataModule(SOURCE, relevance="source", batch_size=8, num_workers=0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, default_root_dir=folder, enable_checkpointing=False, **quiet, **settings)
    trainer.fit(retriever, data)
    return trainer


def test_embeds_as_the_model_itself(tiny_model, captions):
    from transformers import AutoModel, AutoProcessor

    reference, processor = AutoModel.from_pretrained(tiny_model), AutoProcessor.from_pretrained(tiny_model)
    retriever = CLIPRetriever(str(tiny_model), max_length=12).eval()
    batch = batch_of(retriever, captions)
    siglip = reference.config.model_type == "siglip"
    settings = {"padding": "max_length" if siglip else True, "truncation": True, "max_length": 12}
    text = processor.tokenizer(captions, return_tensors="pt", return_attention_mask=not siglip, **settings)
    image = processor.image_processor(PICTURES, return_tensors="pt")
    with torch.no_grad():
        image_embeds, text_embeds = retriever.retrieval_embeds(batch)
        expected_images = reference.get_image_features(**image).pooler_output
        expected_texts = reference.get_text_features(**text).pooler_output
    torch.testing.assert_close(image_embeds, expected_images)
    torch.testing.assert_close(text_embeds, expected_texts)
    assert image_embeds.shape == text_embeds.shape == (5, 16 if siglip else 8)


def test_every_parameter_that_learns_gets_a_gradient(tiny_model, captions):
    retriever = make(tiny_model)
    for name, gradient in gradients(retriever, captions).items():
        own_loss = name in ("backbone.model.logit_scale", "backbone.model.logit_bias")
        assert (gradient is None) == own_loss, name


def test_learns_graded_relevance(tiny_model, tmp_path):
    retriever = make(tiny_model)
    before = {name: parameter.clone() for name, parameter in retriever.named_parameters()}
    trainer = fit(retriever, tmp_path)
    kept = {name for name, parameter in retriever.named_parameters() if torch.equal(parameter, before[name])}
    assert {name for name in kept if not name.endswith("bias")} == {"backbone.model.logit_scale"}
    assert {"train/infonce", "train/ndcg"} < trainer.callback_metrics.keys()
    assert 0 < trainer.callback_metrics["val/i2t_ndcg_at_10"] <= 1


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_trains_in_bfloat16(precision, tiny_clip, tmp_path):
    retriever = make(tiny_clip)
    trainer = fit(retriever, tmp_path, precision=precision, limit_val_batches=0)
    assert trainer.callback_metrics["train/loss"].isfinite()


def test_checkpoint_needs_neither_network_nor_the_original_folder(
    tiny_clip, tiny_siglip, tiny_vit_bert, tmp_path, captions
):
    paths = []
    for original in (tiny_clip, tiny_siglip, tiny_vit_bert):
        folder = tmp_path / "first place" / original.name
        shutil.copytree(original, folder)
        retriever = make(folder, max_length=10, layer_decay=0.5)
        trainer = fit(retriever, tmp_path, limit_train_batches=1, limit_val_batches=0)
        paths.append(str(tmp_path / f"{original.name}.ckpt"))
        trainer.save_checkpoint(paths[-1])
        batch = batch_of(retriever.eval(), captions)
        with torch.no_grad():
            image_embeds, text_embeds = retriever.retrieval_embeds(batch)
        told = {"picture": torch.from_numpy(numpy.array(PICTURES[0])), "captions": captions}
        told |= {"image_embeds": image_embeds[:1], "text_embeds": text_embeds}
        torch.save({**torch.load(paths[-1], weights_only=True), "told": told}, paths[-1])
    (tmp_path / "first place").rename(tmp_path / "second place")
    result = subprocess.run(
        [sys.executable, "-c", RELOAD, *paths],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == ["10", "10", "10"], result.stderr


def test_reads_its_preprocessing_from_the_checkpoint_before_it_can_encode(tiny_clip, captions):
    retriever = make(tiny_clip).eval()
    with restoring():
        shell = make("/nowhere/clip", freeze="text", gradient_checkpointing=True)
    for use in (shell.text_transform, lambda: shell.image_transform(False), lambda: shell.encode_texts({})):
        with pytest.raises(RuntimeError, match="load its state dict first"):
            use()
    shell.load_state_dict(retriever.state_dict())
    assert not shell.train().backbone.model.text_model.training
    assert stored_values(shell, captions) < stored_values(retriever, captions)
    batch = batch_of(shell.eval(), captions)
    torch.testing.assert_close(shell.retrieval_embeds(batch), retriever.eval().retrieval_embeds(batch), rtol=0, atol=0)


def test_gives_the_model_back_to_hugging_face(tiny_clip, tmp_path, captions):
    from transformers import AutoModel

    retriever = make(tiny_clip).eval()
    with torch.no_grad():
        retriever.backbone.model.visual_projection.weight.mul_(2)
    retriever.backbone.model.save_pretrained(tmp_path)
    image = batch_of(retriever, captions)["image"]
    again = AutoModel.from_pretrained(tmp_path).get_image_features(image).pooler_output
    torch.testing.assert_close(again, retriever.encode_images(image))


@pytest.mark.parametrize(("freeze", "tower", "projection"), [
    ("image", "vision_model", "visual_projection"), ("text", "text_model", "text_projection")
])  # fmt: skip
def test_freeze_keeps_a_tower_as_it_is(freeze, tower, projection, tiny_clip, captions):
    retriever = make(tiny_clip, freeze=freeze)
    found = gradients(retriever, captions)
    without = {name for name, gradient in found.items() if gradient is None}
    frozen = {name for name in found if f".{tower}." in name}
    assert without == frozen | {"backbone.model.logit_scale"}
    assert found[f"backbone.model.{projection}.weight"] is not None
    assert {name for name, module in retriever.named_modules() if not module.training} == {
        name for name, _ in retriever.named_modules() if name.startswith(f"backbone.model.{tower}")
    }


def test_gradient_checkpointing_stores_less_and_changes_no_gradient(tiny_model, captions):
    plain, checkpointed = make(tiny_model), make(tiny_model, gradient_checkpointing=True)
    assert stored_values(checkpointed, captions) < 0.5 * stored_values(plain, captions)
    expected = gradients(plain, captions)
    for name, gradient in gradients(checkpointed, captions).items():
        torch.testing.assert_close(gradient, expected[name])


def stored_values(retriever, captions):
    stored = []

    def count(tensor):
        stored.append(0 if isinstance(tensor, torch.nn.Parameter) else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        retriever.train().retrieval_embeds(batch_of(retriever, captions))
    return sum(stored)


def test_embedding_in_chunks_changes_no_gradient(tiny_siglip, captions):
    expected = gradients(make(tiny_siglip), captions)
    for name, gradient in gradients(make(tiny_siglip, relevance_chunk_size=2), captions).items():
        torch.testing.assert_close(gradient, expected[name])


def test_transforms_are_light_and_picklable(tiny_model, captions):
    retriever = CLIPRetriever(str(tiny_model))
    transforms = retriever.image_transform(train=True), retriever.text_transform()
    stored = pickle.dumps(transforms)
    assert len(stored) < 30_000
    picture, text = pickle.loads(stored)
    torch.testing.assert_close(picture(PICTURES[0]), transforms[0](PICTURES[0]), rtol=0, atol=0)
    torch.testing.assert_close(text(captions), transforms[1](captions), rtol=0, atol=0)


def test_a_slow_tokenizer_gives_way_to_the_fast_one_beside_it(tiny_siglip, monkeypatch, captions):
    from transformers import AutoTokenizer

    def need_sentencepiece(path):
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    expected = CLIPRetriever(str(tiny_siglip)).text_transform()(captions)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", need_sentencepiece)
    torch.testing.assert_close(CLIPRetriever(str(tiny_siglip)).text_transform()(captions), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "nobody/nothing"}, OSError, "(?s)model='nobody/nothing' is neither .* hf download"),
        ({"freeze": "both"}, ValueError, "freeze must be one of 'none', 'image', 'text', got 'both'"),
        ({"max_length": 17}, ValueError, "max_length must be at most 16 for .* got 17"),
        ({"max_length": 0}, ValueError, "max_length must be a whole number of at least 1, got 0"),
        ({"layer_decay": 1.5}, ValueError, r"layer_decay must be in \(0, 1\] or None, got 1.5"),
        ({"layer_decay": 0.0}, ValueError, r"layer_decay must be in \(0, 1\] or None, got 0.0"),
        ({"lr_interval": "day"}, ValueError, "lr_interval must be one of 'epoch', 'step', got 'day'"),
    ],
)
def test_refuses(arguments, error, message, tiny_clip):
    with pytest.raises(error, match=message):
        CLIPRetriever(**{"model": str(tiny_clip), **arguments})


def test_refuses_an_encoder_of_text_alone(tiny_bert):
    with pytest.raises(ValueError, match="must be a dual encoder such as CLIP, got model type 'bert'"):
        CLIPRetriever(str(tiny_bert))


@pytest.mark.parametrize(("file", "error", "message"), [
    ("tokenizer.json", ValueError, "must have a fast tokenizer, found none"),
    ("processor_config.json", OSError, r"neither a folder .* \(config, preprocessing, weights\)"),
    ("model.safetensors", OSError, r"neither a folder .* \(config, preprocessing, weights\)"),
])  # fmt: skip
def test_refuses_an_incomplete_folder(file, error, message, tiny_clip, tmp_path):
    shutil.copytree(tiny_clip, tmp_path / "clip")
    (tmp_path / "clip" / file).unlink()
    with pytest.raises(error, match=message):
        CLIPRetriever(str(tmp_path / "clip"))


def test_refuses_pictures_of_any_aspect_ratio(tiny_siglip, tmp_path):
    from transformers import Siglip2ImageProcessor

    shutil.copytree(tiny_siglip, tmp_path / "naflex")
    (tmp_path / "naflex" / "processor_config.json").unlink()
    Siglip2ImageProcessor().save_pretrained(tmp_path / "naflex")
    with pytest.raises(ValueError, match=r"must take pictures as pixel_values alone, got .*'spatial_shapes'"):
        CLIPRetriever(str(tmp_path / "naflex"))


def test_refuses_features_and_strings(tiny_clip, captions):
    retriever = CLIPRetriever(str(tiny_clip))
    with pytest.raises(TypeError, match=r"takes pictures, but the source gives tensors of shape \(36, 2048\)"):
        retriever.image_transform(train=False)(torch.rand(36, 2048))
    with pytest.raises(TypeError, match=r"dict that text_transform\(\) makes, got list"):
        retriever.encode_texts(captions)
