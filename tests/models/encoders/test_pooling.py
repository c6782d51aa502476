import math

import pytest
import torch

from vse_lightning.models.encoders._pooling import POOLING_KINDS, Pooling, RankWeights, sinusoidal_encodings

VALID = torch.tensor([[True, True, True, True], [True, False, False, False], [True, True, False, False]])


@pytest.fixture
def vectors():
    torch.manual_seed(0)
    return torch.randn(3, 4, 5)


def test_mean_and_max_of_the_valid_vectors(vectors):
    for pooled, expected in [(Pooling("mean"), lambda rows: rows.mean(0)), (Pooling("max"), lambda rows: rows.amax(0))]:
        by_hand = torch.stack([expected(rows[mask]) for rows, mask in zip(vectors, VALID, strict=True)])
        torch.testing.assert_close(pooled(vectors, VALID), by_hand)


def test_gpo_follows_the_paper_one_set_at_a_time(vectors):
    pooling = Pooling("gpo")
    weigh = pooling.rank_weights
    by_hand = []
    for rows, mask in zip(vectors, VALID, strict=True):
        members = rows[mask]
        encodings = sinusoidal_encodings(len(members), 32)
        ahead = weigh.gru.forwards(encodings)[0]
        behind = weigh.gru.backwards(encodings.flip(0))[0].flip(0)
        weights = (weigh.score((ahead + behind) / 2) / 0.1).softmax(0)
        by_hand.append((members.sort(0, descending=True).values * weights).sum(0))
    torch.testing.assert_close(pooling(vectors, VALID), torch.stack(by_hand))


def test_gpo_with_equal_weights_is_the_mean(vectors):
    pooling = Pooling("gpo")
    torch.nn.init.zeros_(pooling.rank_weights.score.weight)
    torch.testing.assert_close(pooling(vectors, VALID), Pooling("mean")(vectors, VALID))


def test_gpo_with_all_weight_on_the_first_rank_is_the_maximum(vectors, monkeypatch):
    pooling = Pooling("gpo")
    first = torch.tensor([1.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(pooling.rank_weights, "forward", lambda sizes, num_ranks: first.expand(len(sizes), -1))
    torch.testing.assert_close(pooling(vectors, VALID), Pooling("max")(vectors, VALID))


@pytest.mark.parametrize("kind", POOLING_KINDS)
def test_invalid_vectors_padding_and_order_do_not_matter(kind, vectors):
    pooling = Pooling(kind)
    expected = pooling(vectors, VALID)
    spoiled = torch.cat([vectors.masked_fill(~VALID.unsqueeze(-1), 1e4), torch.full((3, 2, 5), -1e4)], dim=1)
    longer = torch.cat([VALID, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(pooling(spoiled, longer), expected)
    order = torch.randperm(6)
    torch.testing.assert_close(pooling(spoiled[:, order], longer[:, order]), expected)


@pytest.mark.parametrize("kind", POOLING_KINDS)
def test_no_mask_means_all_valid(kind, vectors):
    pooling = Pooling(kind)
    torch.testing.assert_close(pooling(vectors), pooling(vectors, torch.ones(3, 4, dtype=torch.bool)))


@pytest.mark.parametrize("kind", POOLING_KINDS)
def test_a_single_vector_pools_to_itself(kind, vectors):
    torch.testing.assert_close(Pooling(kind)(vectors[:, :1]), vectors[:, 0])


@pytest.mark.parametrize("kind", POOLING_KINDS)
def test_an_empty_set_pools_to_zeros_with_finite_gradients(kind, vectors):
    pooling = Pooling(kind)
    vectors.requires_grad_()
    valid = VALID.clone()
    valid[1] = False
    pooled = pooling(vectors, valid)
    assert torch.equal(pooled[1], torch.zeros(5))
    pooled.square().sum().backward()
    assert vectors.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in pooling.parameters())


@pytest.mark.parametrize("kind", POOLING_KINDS)
def test_gradcheck(kind, vectors):
    pooling = Pooling(kind).double()
    torch.autograd.gradcheck(pooling, (vectors[..., :2].double().requires_grad_(), VALID))


@pytest.mark.parametrize("kind", POOLING_KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_keeps_half_precision(kind, dtype, vectors):
    pooled = Pooling(kind).to(dtype)(vectors.to(dtype), VALID)
    assert pooled.dtype == dtype
    assert pooled.isfinite().all()


def test_rank_weights_sum_to_one_and_stop_at_the_size():
    weights = RankWeights()(torch.tensor([1, 3, 6]), 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert torch.equal(weights > 0, torch.arange(6) < torch.tensor([[1], [3], [6]]))


def test_encodings_by_hand():
    frequency = 10000 ** (-2 / 4)
    expected = [math.sin(3), math.cos(3), math.sin(3 * frequency), math.cos(3 * frequency)]
    torch.testing.assert_close(sinusoidal_encodings(5, 4)[3], torch.tensor(expected))


def test_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="pooling must be one of 'mean', 'max', 'gpo', got 'sum'"):
        Pooling("sum")
