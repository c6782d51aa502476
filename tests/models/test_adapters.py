"""Adapters: what learns, what a checkpoint holds, what it is put back on, and what they become when merged."""

import shutil

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.callbacks import WeightInterpolation
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import CLIPRetriever, load_retriever
from vse_lightning.models._adapters import merge_adapters

for needed in ("PIL", "transformers", "peft"):
    pytest.importorskip(needed)

SOURCE = ShapesSource(num_images=20, image_size=40)
PLAIN = RetrievalMetrics(ndcg_ks=(), coherent_ks=())
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory .* exists and is not empty",
)


def make(folder, lora=(("r", 2),), **arguments):
    torch.manual_seed(0)
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-2)  # noqa: E731
    options = {"relevance_loss": ContrastiveLoss("model"), "retrieval_metrics": PLAIN.clone(), "optimizer": adam}
    return CLIPRetriever(str(folder), lora=dict(lora), **options, **arguments)


def fit(retriever, folder, epochs=1, path=None, callbacks=()):
    data = ImageTextDataModule(SOURCE, batch_size=8, num_workers=0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    checkpoint = ModelCheckpoint(folder, monitor="val/rsum", mode="max", save_last=True)
    trainer = Trainer(max_epochs=epochs, callbacks=[*callbacks, checkpoint], **quiet)
    torch.manual_seed(0)
    trainer.fit(retriever, data, ckpt_path=path, weights_only=None if path is None else True)
    return folder / "last.ckpt"


@torch.no_grad()
def embeds_of(retriever):
    retriever.eval()
    image = torch.stack([retriever.image_transform(False)(SOURCE.load_image(number)) for number in range(4)])
    text = retriever.text_transform()(list(SOURCE.captions[:16:4]))
    return retriever.retrieval_embeds({"image": image, "text": text})


def assert_same_embeds(first, second, **tolerance):
    for one, other in zip(embeds_of(first), embeds_of(second), strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def learning(retriever):
    return {name for name, parameter in retriever.named_parameters() if parameter.requires_grad}


def test_adapters_and_projections_learn_and_nothing_else(tiny_model, tmp_path):
    retriever = make(tiny_model)
    assert_same_embeds(retriever, CLIPRetriever(str(tiny_model)))
    before = {name: weight.clone() for name, weight in retriever.train().named_parameters()}
    fit(retriever, tmp_path)
    changed = {name for name, weight in retriever.named_parameters() if not torch.equal(weight, before[name])}
    assert changed <= learning(retriever)
    assert any(".lora_A." in name for name in changed)
    assert any(".lora_B." in name for name in changed)
    outside = {name for name in changed if "_model." not in name}
    siglip = hasattr(retriever.backbone.model, "logit_bias")  # which has no projections
    projections = set() if siglip else {"visual_projection.weight", "text_projection.weight"}
    assert outside == {"relevance_loss.log_scale", *(f"backbone.model.{name}" for name in projections)}


def test_a_checkpoint_holds_what_learns_and_comes_back_from_its_path_alone(tiny_model, tmp_path):
    retriever = make(tiny_model, max_length=12)
    path = fit(retriever, tmp_path)
    state = torch.load(path, weights_only=True)["state_dict"]
    held = {name for name, value in state.items() if isinstance(value, torch.Tensor)}
    own = {f"backbone.model.{name}" for name, _ in retriever.backbone.model.named_parameters(recurse=False)}
    assert held - dict(retriever.named_buffers()).keys() == {n for n in learning(retriever) if "backbone" in n} | own
    restored = load_retriever(path)
    assert_same_embeds(restored, retriever, rtol=0, atol=0)
    assert restored.backbone.model.logit_scale.item() == retriever.backbone.model.logit_scale.item()


def test_what_has_learnt_is_kept_where_it_learns_no_more(tiny_clip, tmp_path):
    retriever = make(tiny_clip)
    frozen = CLIPRetriever.load_from_checkpoint(fit(retriever, tmp_path), freeze="image")
    assert frozen.state_dict().keys() == retriever.state_dict().keys()
    assert_same_embeds(frozen, retriever, rtol=0, atol=0)


def test_the_pretrained_model_must_be_the_one(tiny_clip, tmp_path):
    first = tmp_path / "first"
    shutil.copytree(tiny_clip, first)
    retriever = make(first)
    path = fit(retriever, tmp_path)
    first.rename(tmp_path / "second")
    with pytest.raises(OSError, match=r"the checkpoint holds the adapters of .*first, which is not there: put it back"):
        load_retriever(path)
    moved = CLIPRetriever.load_from_checkpoint(path, model=str(tmp_path / "second"))
    assert_same_embeds(moved, retriever, rtol=0, atol=0)

    other = CLIPRetriever(str(tiny_clip))
    torch.nn.init.normal_(other.backbone.model.visual_projection.weight)
    first.mkdir()
    shutil.copytree(tiny_clip, first, dirs_exist_ok=True)
    other.backbone.model.save_pretrained(first)
    with pytest.raises(ValueError, match="must have the weights that the checkpoint's adapters were trained on"):
        load_retriever(path)
    with pytest.raises(ValueError, match="of a model with adapters: lora must be that of its training, got None"):
        CLIPRetriever.load_from_checkpoint(path, lora=None)


def test_a_resumed_fit_is_the_same(tiny_clip, tmp_path):
    whole, resumed = make(tiny_clip), make(tiny_clip)
    fit(whole, tmp_path / "whole", 2)
    fit(resumed, tmp_path / "parts", 2, fit(make(tiny_clip), tmp_path / "parts"))
    assert_same_embeds(whole, resumed, rtol=0, atol=0)


def test_merged_it_is_a_plain_model_that_embeds_the_same(tiny_model, tmp_path):
    retriever = make(tiny_model)
    fit(retriever, tmp_path)
    expected = embeds_of(retriever)
    merge_adapters(retriever.backbone.model)
    for found, one in zip(embeds_of(retriever), expected, strict=True):
        torch.testing.assert_close(found, one)
    assert (
        retriever.backbone.model.state_dict().keys()
        == CLIPRetriever(str(tiny_model)).backbone.model.state_dict().keys()
    )


def test_interpolated_weights_are_the_mean_of_the_merged_ones(tiny_clip, tmp_path):
    retriever, callback = make(tiny_clip), WeightInterpolation(0.5)
    fit(retriever, tmp_path, callbacks=[callback])
    after = load_retriever(next(tmp_path.glob("epoch*.ckpt")))
    before = CLIPRetriever(str(tiny_clip)).backbone.model.state_dict()
    with callback.applied(retriever):
        mean = CLIPRetriever(str(tiny_clip), lora={"r": 2})
        mean.load_state_dict(retriever.state_dict())
    for model in (mean, after):
        merge_adapters(model.backbone.model)
    expected = after.backbone.model.state_dict()
    for name, weight in mean.backbone.model.state_dict().items():
        torch.testing.assert_close(weight, (before[name] + expected[name]) / 2)


def test_a_frozen_tower_gets_none(tiny_clip):
    names = learning(make(tiny_clip, freeze="text"))
    assert any("vision_model" in name for name in names)
    assert not any("text_model" in name for name in names)


@pytest.mark.parametrize(
    ("lora", "arguments", "message"),
    [
        ({"rank": 2}, {}, "lora must be a dict of arguments of peft.LoraConfig, got {'rank': 2}: .* 'rank'"),
        ({"r": 2, "init_lora_weights": "pissa"}, {}, "init_lora_weights must be true or 'gaussian', .* got 'pissa'"),
        ({"r": 2, "modules_to_save": ["head"]}, {}, "lora takes no modules_to_save: projections learn anyway"),
        ({"r": 2}, {"pretrained": False}, "lora adapts pretrained weights, got pretrained=False"),
        ({"r": 2, "target_modules": ["nothing"]}, {}, "Target modules .*nothing.* not found"),
    ],
)
def test_refuses(lora, arguments, message, tiny_clip):
    with pytest.raises(ValueError, match=message):
        make(tiny_clip, lora.items(), **arguments)
