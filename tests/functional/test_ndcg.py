"""NDCG against scikit-learn, Coherent Score against scipy, and merging against whole lists."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vse_lightning.functional._kendall_tau import coherent_score, coherent_score_of_ranking
from vse_lightning.functional.ndcg import ndcg_at_k, ndcg_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.top_k import top_k

GAIN = {"linear": lambda relevance: relevance, "exponential": lambda relevance: 2**relevance - 1}


@st.composite
def graded_lists(draw):
    """Scores and relevance, with or without ties."""
    queries, candidates = draw(st.integers(1, 4)), draw(st.integers(2, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randn(queries, candidates, generator=generator, dtype=torch.float64)
    relevance = torch.rand(queries, candidates, generator=generator, dtype=torch.float64)
    scores = scores.round(decimals=draw(st.sampled_from([0, 1, 9])))
    return scores, relevance.round(decimals=draw(st.sampled_from([0, 1, 9])))


@settings(deadline=None)
@given(graded_lists(), st.integers(1, 45), st.sampled_from(["linear", "exponential"]))
def test_ndcg_equals_scikit_learn(case, k, gain):
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    scores, relevance = case
    values = ndcg_at_k(scores, relevance, k, gain)
    for value, s, r in zip(values, scores.numpy(), relevance.numpy(), strict=True):
        assert value == pytest.approx(ndcg_score([GAIN[gain](r)], [s], k=k), abs=1e-12)


def first_k(scores, k):
    return np.argsort(-scores, kind="stable")[:k]


@settings(deadline=None)
@given(graded_lists(), st.integers(2, 45))
def test_coherent_score_equals_scipy(case, k):
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    scores, relevance = case
    for value, s, r in zip(coherent_score(scores, relevance, k), scores.numpy(), relevance.numpy(), strict=True):
        best = first_k(s, k)
        with np.errstate(invalid="ignore"):
            expected = np.nan_to_num(kendalltau(s[best], r[best]).statistic) if len(best) > 1 else 0
        assert value == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(graded_lists(), st.integers(2, 12), st.lists(st.integers(1, 39), max_size=5), st.booleans())
def test_merged_blocks_equal_the_whole_list(case, k, cuts, shuffle):
    scores, relevance = case
    whole = Ranking.of(scores, relevance, listed=k, ideal=k)
    bounds = sorted({0, scores.shape[1], *(cut for cut in cuts if cut < scores.shape[1])})
    names = torch.randperm(scores.shape[1]) if shuffle else torch.arange(scores.shape[1])
    blocks = []
    for start, stop in pairwise(bounds):
        columns = names[start:stop].sort().values
        blocks.append(Ranking.of(scores[:, columns], relevance[:, columns], listed=k, ideal=k, candidates=columns))
    in_pairs = [Ranking.merge(blocks[:2], listed=k, ideal=k), *blocks[2:]]
    for merged in (Ranking.merge(blocks, listed=k, ideal=k), Ranking.merge(in_pairs, listed=k, ideal=k)):
        assert torch.equal(merged.candidates, whole.candidates)
        assert torch.equal(merged.ideal, whole.ideal)
        torch.testing.assert_close(merged.overflow, whole.overflow)
        assert torch.equal(merged.num_candidates, whole.num_candidates)
        for gain in GAIN:
            torch.testing.assert_close(ndcg_of_ranking(merged, k, gain), ndcg_at_k(scores, relevance, k, gain))
        assert torch.equal(coherent_score_of_ranking(merged, k), coherent_score(scores, relevance, k))


@settings(deadline=None)
@given(graded_lists(), st.integers(1, 45))
def test_top_k_is_a_stable_sort(case, k):
    scores, _ = case
    expected = np.stack([first_k(s, k) for s in scores.numpy()])
    assert top_k(scores, k).indices.tolist() == expected.tolist()
    names = torch.randperm(scores.shape[1]).expand_as(scores)
    by_name = top_k(scores, k, names).indices
    for row, s in enumerate(scores.numpy()):
        order = np.lexsort((names[row].numpy(), -s))[:k]
        assert by_name[row].tolist() == order.tolist()


def test_ndcg_without_anything_relevant_is_zero():
    assert ndcg_at_k(torch.rand(2, 5), torch.zeros(2, 5), 3).tolist() == [0, 0]


def test_a_perfect_list_scores_one():
    relevance = torch.rand(3, 8)
    torch.testing.assert_close(ndcg_at_k(relevance.exp(), relevance, 5), torch.ones(3))
    torch.testing.assert_close(coherent_score(relevance.exp(), relevance, 5), torch.ones(3))


def test_a_constant_list_is_not_coherent():
    assert coherent_score(torch.ones(1, 6), torch.rand(1, 6), 4).tolist() == [0]
    assert coherent_score(torch.rand(1, 6), torch.ones(1, 6), 4).tolist() == [0]


@pytest.mark.parametrize(
    ("relevance", "k", "gain", "message"),
    [
        (torch.rand(2, 4), 3, "linear", "relevance must have the shape"),
        (torch.rand(2, 3) - 2, 3, "linear", r"relevance must lie in \[0, 1\]"),
        (torch.full((2, 3), float("nan")), 3, "linear", r"relevance must lie in \[0, 1\]"),
        (torch.rand(2, 3), 0, "linear", "k must be a whole number of at least 1, got 0"),
        (torch.rand(2, 3), 3, "cubic", "gain must be one of 'exponential', 'linear', got 'cubic'"),
    ],
)
def test_wrong_arguments(relevance, k, gain, message):
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(torch.rand(2, 3), relevance, k, gain)


def test_the_example_of_epic_kitchens():
    """The protocol's 3 videos x 4 captions (mwray/Joint-Part-of-Speech-Embeddings)."""
    scores = torch.tensor([[1, 0.7, 0.4, 0], [0.3, 0.9, 0.6, 0.1], [0.2, 0.5, 0.8, 0.4]], dtype=torch.float64)
    relevance = torch.tensor([[1, 0.5, 0.25, 0], [0, 1, 0.4, 0], [0.5, 0.3, 1, 0]], dtype=torch.float64)
    assert float(ndcg_at_k(scores, relevance, "relevant", "linear").mean()) == pytest.approx(0.93717899, abs=1e-8)


@settings(deadline=None)
@given(graded_lists())
def test_as_far_as_anything_is_relevant(case):
    scores, relevance = case
    for gain in GAIN:
        values = ndcg_at_k(scores, relevance, "relevant", gain)
        for row, value in enumerate(values):
            cutoff = max(1, int((relevance[row] > 0).sum()))
            torch.testing.assert_close(
                value, ndcg_at_k(scores[row : row + 1], relevance[row : row + 1], cutoff, gain)[0]
            )
