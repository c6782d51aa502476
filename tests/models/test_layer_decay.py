import pytest
from torch import nn
from torch.optim import SGD

from vse_lightning.losses import ContrastiveLoss
from vse_lightning.models import CLIPRetriever, DualEncoder, FeatureImageEncoder, TransformerTextEncoder
from vse_lightning.models._layer_decay import decayed_optimizer


def rates(retriever):
    (optimizer,), _ = retriever.configure_optimizers()
    names = {parameter: name for name, parameter in retriever.named_parameters()}
    return {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}


def expected_depth(name):
    """By the names of the two layers of the tiny models, not by the code's rule."""
    if any(early in name for early in (".embeddings.", ".pre_layrnorm.")):
        return 3
    if ".layers.0." in name or ".layer.0." in name:
        return 2
    return 1 if ".layers.1." in name or ".layer.1." in name else 0


def test_rates_fall_from_the_last_layer_to_the_embeddings(tiny_model):
    retriever = CLIPRetriever(str(tiny_model), relevance_loss=ContrastiveLoss(), layer_decay=0.5, optimizer=sgd)
    found = rates(retriever)
    assert found == pytest.approx({name: 0.1 * 0.5 ** expected_depth(name) for name in found})
    learning = {name for name, parameter in retriever.named_parameters() if parameter.requires_grad}
    assert found.keys() == learning
    assert any(name.startswith("relevance_loss.") for name in learning)


def test_one_rate_without_layer_decay(tiny_clip):
    assert set(rates(CLIPRetriever(str(tiny_clip), optimizer=sgd)).values()) == {0.1}
    assert set(rates(CLIPRetriever(str(tiny_clip))).values()) == {1e-5}


def test_a_frozen_tower_is_in_no_group(tiny_clip):
    found = rates(CLIPRetriever(str(tiny_clip), optimizer=sgd, layer_decay=0.5, freeze="image"))
    assert not any("vision_model" in name for name in found)
    assert found["backbone.model.visual_projection.weight"] == 0.1


def test_schedules_keep_the_proportions(tiny_clip):
    from torch.optim.lr_scheduler import LambdaLR

    retriever = CLIPRetriever(
        str(tiny_clip), optimizer=sgd, layer_decay=0.5, lr_scheduler=lambda o: LambdaLR(o, lambda step: 0.1)
    )
    assert sorted(set(rates(retriever).values())) == pytest.approx([0.01 / 8, 0.01 / 4, 0.01 / 2, 0.01])


def test_refuses_a_schedule_that_sets_rates_itself(tiny_clip):
    from torch.optim.lr_scheduler import OneCycleLR

    def one_cycle(optimizer):
        return OneCycleLR(optimizer, max_lr=0.1, total_steps=10)

    arguments = {"optimizer": sgd, "lr_scheduler": one_cycle}
    with pytest.raises(ValueError, match="lr_scheduler must keep the rates of the layers, but OneCycleLR sets its own"):
        CLIPRetriever(str(tiny_clip), layer_decay=0.5, **arguments).configure_optimizers()
    assert CLIPRetriever(str(tiny_clip), **arguments).configure_optimizers()


def test_refuses_a_tower_without_layers():
    tower = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer_decay needs towers with a list of layers, Sequential has none"):
        decayed_optimizer(sgd, tower.parameters(), [tower], 0.5)


def test_layers_of_a_list_by_hand():
    tower = nn.Module()
    tower.stem, tower.blocks, tower.norm = (
        nn.Linear(1, 1),
        nn.ModuleList(nn.Linear(1, 1) for _ in range(12)),
        nn.Linear(1, 1),
    )
    optimizer = decayed_optimizer(sgd, tower.parameters(), [tower], 0.9)
    found = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert found[tower.norm.weight] == 0.1
    assert found[tower.blocks[11].bias] == pytest.approx(0.1 * 0.9)
    assert found[tower.blocks[1].bias] == pytest.approx(0.1 * 0.9**11)
    assert found[tower.stem.weight] == pytest.approx(0.1 * 0.9**13)
    assert len(found) == 28


def test_what_is_pretrained_learns_at_its_own_rate(tiny_bert):
    encoders = FeatureImageEncoder(4, embed_dim=8), TransformerTextEncoder(str(tiny_bert), embed_dim=8)
    found = rates(DualEncoder(*encoders, ContrastiveLoss(), optimizer=sgd, backbone_lr_factor=0.25))
    assert found == {name: 0.025 if ".backbone." in name else 0.1 for name in found}
    assert len(set(found.values())) == 2
    assert set(rates(DualEncoder(*encoders, ContrastiveLoss(), optimizer=sgd)).values()) == {0.1}


def test_a_rate_for_backbones_needs_one():
    features = FeatureImageEncoder(4, embed_dim=8)
    for factor in (0, float("inf"), "half"):
        with pytest.raises(ValueError, match="backbone_lr_factor must be a finite number above 0, got"):
            DualEncoder(features, features, backbone_lr_factor=factor)
    with pytest.raises(ValueError, match="backbone_lr_factor needs an encoder with a backbone, got FeatureImageEncode"):
        DualEncoder(features, features, optimizer=sgd, backbone_lr_factor=0.5).configure_optimizers()


def sgd(params):
    return SGD(params, lr=0.1)
