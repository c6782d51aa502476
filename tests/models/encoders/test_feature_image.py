import pytest
import torch

from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.models.encoders.feature_image import FeatureImageEncoder


@pytest.mark.parametrize("pooling", ["mean", "max", "gpo"])
@pytest.mark.parametrize("residual_mlp", [False, True])
def test_one_vector_is_encoded_as_one_region(pooling, residual_mlp):
    encoder = FeatureImageEncoder(6, embed_dim=4, pooling=pooling, residual_mlp=residual_mlp).eval()
    features = torch.randn(3, 6)
    assert encoder(features).shape == (3, 4)
    torch.testing.assert_close(encoder(features), encoder(features.unsqueeze(1)))


def test_projects_before_it_pools():
    encoder = FeatureImageEncoder(6, embed_dim=4, pooling="max")
    regions = torch.randn(2, 5, 6)
    torch.testing.assert_close(encoder(regions), encoder.linear(regions).amax(1))


def test_every_parameter_gets_a_gradient_from_pooled_features():
    encoder = FeatureImageEncoder(6, embed_dim=4, pooling="gpo", residual_mlp=True)
    encoder(torch.randn(3, 6)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_an_embedding_does_not_depend_on_its_batch():
    encoder = FeatureImageEncoder(6, embed_dim=4, pooling="gpo", residual_mlp=True)
    regions = torch.randn(5, 7, 6)
    torch.testing.assert_close(encoder(regions)[2:3], encoder(regions[2:3]))


def test_region_dropout_leaves_out_regions_in_training_only():
    torch.manual_seed(0)
    encoder = FeatureImageEncoder(1, embed_dim=1, pooling="max", region_dropout=0.9)
    torch.nn.init.ones_(encoder.linear.weight)
    # One region stands out: the maximum tells whether it was left out.
    regions = torch.zeros(2000, 4, 1)
    regions[:, 0] = 1
    kept = encoder(regions).mean().item()
    # Kept by luck (0.1), or because all four fell out (0.9 ** 4) and it is the luckiest of them (a quarter).
    assert kept == pytest.approx(0.1 + 0.9**4 / 4, abs=0.03)
    assert encoder.eval()(regions).eq(1).all()


def test_region_dropout_never_drops_the_only_region():
    encoder = FeatureImageEncoder(3, embed_dim=2, region_dropout=0.99)
    features = torch.randn(50, 3)
    torch.testing.assert_close(encoder(features), encoder.linear(features))


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 8, 8), (6,)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"input_dim=6 asks for features \(N, 6\) or \(N, R, 6\), got \(.*TimmImage"):
        FeatureImageEncoder(6)(torch.zeros(shape))


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match=r"region_dropout must be in \[0, 1\), got 1.0"):
        FeatureImageEncoder(6, region_dropout=1.0)
    with pytest.raises(ValueError, match="pooling must be one of"):
        FeatureImageEncoder(6, pooling="sum")


def test_normalize_makes_the_length_of_features_irrelevant():
    encoder, regions = FeatureImageEncoder(4, 8, normalize=True), torch.randn(3, 5, 4)
    torch.testing.assert_close(encoder(regions * torch.tensor([0.1, 1, 2, 3, 4])[:, None]), encoder(regions))
    plain = FeatureImageEncoder(4, 8)
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(plain(regions / regions.norm(dim=2, keepdim=True)), encoder(regions))


def test_power_comes_before_normalize_and_keeps_signs():
    encoder, features = FeatureImageEncoder(3, 8, normalize=True, power=0.5), torch.tensor([[4.0, -9.0, 0.0]])
    plain = FeatureImageEncoder(3, 8)
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(features), plain(torch.tensor([[2.0, -3.0, 0.0]]) / 13**0.5))


def test_has_no_transform():
    assert FeatureImageEncoder(6).transform(train=True) is None


@pytest.mark.parametrize("pooling", ["mean", "max", "gpo"])
def test_learns(pooling):
    torch.manual_seed(0)
    encoder = FeatureImageEncoder(8, embed_dim=16, pooling=pooling, residual_mlp=True)
    regions, targets = torch.randn(12, 5, 8), torch.randn(12, 16)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(cosine_similarity(encoder(regions), targets) * 10, torch.arange(12))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
