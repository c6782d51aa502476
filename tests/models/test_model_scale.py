"""Losses that learn the model's own logit scale and bias further: the same value as the model's own loss has."""

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss, SigmoidLoss, WeightedSumLoss
from vse_lightning.models import CLIPRetriever, DualEncoder, FeatureImageEncoder, GRUTextEncoder
from vse_lightning.targets import RetrievalTargets

pytest.importorskip("PIL")
pytest.importorskip("transformers")

SOURCE = ShapesSource(num_images=20, image_size=40)
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You passed in a `val_dataloader` but have no",
    "ignore:the checkpoint's WeightedSumLoss has learnt losses.b.bias",
)


def batch_of(retriever):
    image = torch.stack([retriever.image_transform(False)(SOURCE.load_image(number)) for number in range(4)])
    return {"image": image, "text": retriever.text_transform()(list(SOURCE.captions[:16:4]))}


@pytest.mark.parametrize("folder", ["tiny_clip", "tiny_siglip"])
def test_it_is_the_loss_that_the_model_itself_has(folder, request):
    siglip = folder == "tiny_siglip"
    loss = SigmoidLoss(temperature="model", bias="model") if siglip else ContrastiveLoss(temperature="model")
    retriever = CLIPRetriever(str(request.getfixturevalue(folder)), relevance_loss=loss).eval()
    model = retriever.backbone.model
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        if siglip:
            model.logit_bias.fill_(-3.0)
    batch = batch_of(retriever)
    ours = torch.stack(list(retriever.relevance_terms(batch).values())).sum()
    theirs = model(pixel_values=batch["image"], **batch["text"], return_loss=True).loss
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    assert model.logit_scale.grad is not None


def fit(retriever, folder, epochs, path=None):
    data = ImageTextDataModule(SOURCE, batch_size=8, num_workers=0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_epochs=epochs, callbacks=ModelCheckpoint(folder, save_last=True), limit_val_batches=0, **quiet
    )
    torch.manual_seed(0)
    trainer.fit(retriever, data, ckpt_path=path, weights_only=None if path is None else True)


def make(folder, **arguments):
    torch.manual_seed(0)
    loss = WeightedSumLoss(
        {"a": ContrastiveLoss(temperature="model"), "b": SigmoidLoss(temperature="model")}, {"a": 1.0, "b": 0.1}
    )
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-2)  # noqa: E731
    return CLIPRetriever(str(folder), relevance_loss=loss, optimizer=adam, **arguments)


def test_what_is_learnt_is_in_the_model_and_its_checkpoint(tiny_clip, tmp_path):
    retriever = make(tiny_clip)
    before = retriever.backbone.model.logit_scale.item()
    fit(retriever, tmp_path, 1)
    learnt = retriever.backbone.model.logit_scale.item()
    assert learnt != before
    losses = retriever.relevance_loss.losses
    assert losses["a"].temperature == losses["b"].temperature == pytest.approx(torch.tensor(-learnt).exp().item())

    alone = CLIPRetriever.load_from_checkpoint(tmp_path / "last.ckpt")
    assert alone.backbone.model.logit_scale.item() == learnt
    again = CLIPRetriever.load_from_checkpoint(tmp_path / "last.ckpt", relevance_loss=ContrastiveLoss("model"))
    assert again.relevance_loss.log_scale is again.backbone.model.logit_scale
    assert again.relevance_loss.temperature == losses["a"].temperature


def test_a_resumed_fit_learns_it_as_one_that_was_not_interrupted(tiny_clip, tmp_path):
    whole, resumed = make(tiny_clip), make(tiny_clip)
    fit(whole, tmp_path / "whole", 2)
    fit(make(tiny_clip), tmp_path / "parts", 1)
    fit(resumed, tmp_path / "parts", 2, tmp_path / "parts" / "last.ckpt")
    for name, weight in whole.state_dict().items():
        if isinstance(weight, torch.Tensor):
            assert torch.equal(resumed.state_dict()[name], weight), name


def test_a_scale_beyond_the_bound_stays_where_the_model_had_it(tiny_clip):
    retriever = CLIPRetriever(str(tiny_clip), relevance_loss=ContrastiveLoss("model", max_scale=5.0))
    scale = retriever.backbone.model.logit_scale.item()
    retriever.relevance_loss.clamp_()
    assert retriever.backbone.model.logit_scale.item() == pytest.approx(scale)
    assert retriever.relevance_loss.max_scale == pytest.approx(14.2857, rel=1e-4)


def test_a_constant_stays_constant(tiny_clip):
    retriever = CLIPRetriever(str(tiny_clip), relevance_loss=ContrastiveLoss("model", learnable=False))
    assert not retriever.backbone.model.logit_scale.requires_grad


def test_elsewhere_there_is_no_model_to_ask(tiny_clip):
    rule = "temperature='model' takes what the model has learnt, which CLIPRetriever gives its loss"
    with pytest.raises(ValueError, match=rule):
        ContrastiveLoss("model")(torch.rand(3, 3))
    dual = DualEncoder(FeatureImageEncoder(4, 8), GRUTextEncoder(embed_dim=8), relevance_loss=ContrastiveLoss("model"))
    embeds = torch.rand(2, 8, requires_grad=True), torch.rand(2, 8)
    with pytest.raises(ValueError, match=rule):
        dual.relevance_terms({"image_ids": torch.arange(2), "text_image_ids": torch.arange(2)}, embeds)
    with pytest.raises(ValueError, match="bias='model' takes what the model has learnt"):
        SigmoidLoss(bias="model").from_embeddings(*embeds, RetrievalTargets([0, 1], [0, 1]))
    with pytest.raises(ValueError, match="bias='model' needs a model with a logit_bias, but CLIPModel has none"):
        CLIPRetriever(str(tiny_clip), relevance_loss=SigmoidLoss("model", "model"))
    with pytest.raises(ValueError, match="temperature must be a number or 'model', got 'own'"):
        ContrastiveLoss("own")
    with pytest.raises(ValueError, match="bias must be a number or 'model', got 'own'"):
        SigmoidLoss(bias="own")
    assert "temperature=model" in repr(ContrastiveLoss("model"))
