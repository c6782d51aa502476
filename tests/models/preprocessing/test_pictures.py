import pickle
import random

import pytest
import torch

from vse_lightning.models.encoders.timm_image import TimmImageEncoder

Image = pytest.importorskip("PIL.Image")
timm_data = pytest.importorskip("timm.data")


@pytest.fixture(scope="module")
def encoder():
    return TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8)


@pytest.fixture
def picture():
    """Red on the left, blue on the right, taller than wide."""
    picture = Image.new("RGB", (80, 120), "red")
    picture.paste("blue", (40, 0, 80, 120))
    return picture


def normalized(encoder, colour):
    settings = timm_data.resolve_model_data_config(encoder.backbone)
    return (torch.tensor(colour) - torch.tensor(settings["mean"])) / torch.tensor(settings["std"])


def test_evaluation_is_timms_own(encoder, picture):
    expected = timm_data.create_transform(is_training=False, **timm_data.resolve_model_data_config(encoder.backbone))(
        picture
    )
    assert torch.equal(encoder.transform(train=False)(picture), expected)


def test_only_training_draws(encoder, picture):
    assert encoder.transform(train=True).draws
    assert not encoder.transform(train=False).draws
    before = torch.get_rng_state().tolist(), random.getstate()
    encoder.transform(train=False)(picture)
    assert before == (torch.get_rng_state().tolist(), random.getstate())


def test_sizes_can_be_set(picture):
    encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32, crop_pct=1.0)
    assert encoder.transform(train=True)(picture).shape == (3, 32, 32)
    square = picture.resize((32, 32))
    tensor = encoder.transform(train=False)(square)
    # With crop_pct=1 and the right size already, nothing is scaled or cut.
    torch.testing.assert_close(tensor[:, 0, 0], normalized(encoder, [1.0, 0.0, 0.0]))
    torch.testing.assert_close(tensor[:, 31, 31], normalized(encoder, [0.0, 0.0, 1.0]))


def test_training_keeps_colours_and_sides(encoder, picture):
    torch.manual_seed(0)
    for _ in range(20):
        tensor = encoder.transform(train=True)(picture)
        torch.testing.assert_close(tensor[:, 0, 0], normalized(encoder, [1.0, 0.0, 0.0]))
        torch.testing.assert_close(tensor[:, -1, -1], normalized(encoder, [0.0, 0.0, 1.0]))


def test_mirrors_only_when_asked(picture):
    encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, horizontal_flip=1.0)
    tensor = encoder.transform(train=True)(picture)
    torch.testing.assert_close(tensor[:, 0, 0], normalized(encoder, [0.0, 0.0, 1.0]))


def test_travels_to_workers_without_weights(encoder, picture):
    pickled = pickle.dumps(encoder.transform(train=False))
    assert len(pickled) < 5000
    assert torch.equal(pickle.loads(pickled)(picture), encoder.transform(train=False)(picture))


def test_refuses_features(encoder):
    with pytest.raises(TypeError, match=r"takes pictures, .* tensors of shape \(1280,\).*FeatureImageEncoder"):
        encoder.transform(train=True)(torch.zeros(1280))
