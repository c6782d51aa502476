"""Ranks, recall, MAP@R and R-Precision against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vse_lightning.functional._average_precision import average_precision_at_r, r_precision
from vse_lightning.functional._ranks import positive_ranks, ranks
from vse_lightning.functional.recall import recall_at_k


@st.composite
def lists(draw):
    """Scores with many ties and any number of positives."""
    queries, candidates = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randint(-2, 3, (queries, candidates), generator=generator).float() / 3
    return scores, torch.rand(queries, candidates, generator=generator) < draw(st.sampled_from([0.1, 0.4, 0.9]))


def ranked_worst_case(scores, positives):
    """Labels of a list in descending score order in which ties put the positives last."""
    order = sorted(range(len(scores)), key=lambda c: (-scores[c], positives[c]))
    return [bool(positives[c]) for c in order]


@settings(deadline=None)
@given(lists())
def test_ranks_put_positives_behind_their_ties(case):
    scores, positives = case
    all_ranks, best = positive_ranks(scores, positives), ranks(scores, positives)
    for query, (s, p) in enumerate(zip(scores.numpy(), positives.numpy(), strict=True)):
        labels = ranked_worst_case(s, p)
        expected = []
        for place, found in enumerate(np.flatnonzero(labels), start=1):
            # the others of the positives do not count against it, nor do its equals' places
            score = np.sort(s[p])[::-1][place - 1]
            assert labels[found]
            expected.append(place + int(((s >= score) & ~p).sum()))
        expected += [len(s) + 1] * (all_ranks.shape[1] - len(expected))
        assert all_ranks[query].tolist() == expected
        assert best[query] == expected[0]


@settings(deadline=None)
@given(lists(), st.integers(1, 12))
def test_binary_metrics_equal_loops_over_the_worst_case_list(case, k):
    scores, positives = case
    values = {
        "any": recall_at_k(scores, positives, k),
        "all": recall_at_k(scores, positives, k, recall="all"),
        "precision": r_precision(scores, positives),
        "average": average_precision_at_r(scores, positives),
    }
    for query, (s, p) in enumerate(zip(scores.numpy(), positives.numpy(), strict=True)):
        labels, total = ranked_worst_case(s, p), int(p.sum())
        top = labels[:total]
        found = [sum(top[: place + 1]) / (place + 1) for place, hit in enumerate(top) if hit]
        # Rank 1 + k candidates of no relevance that tie: "any" ignores the other positives in front.
        first = ranks(scores, positives)[query]
        assert values["any"][query] == float(total > 0 and first <= k)
        assert values["all"][query] == pytest.approx(sum(labels[:k]) / max(1, total))
        assert values["precision"][query] == pytest.approx(sum(top) / max(1, total))
        assert values["average"][query] == pytest.approx(sum(found) / max(1, total))


def test_a_worked_example():
    scores = torch.tensor([[-0.1, -0.4, -0.2, -0.2, -0.9]])
    positives = torch.tensor([[False, True, True, False, False]])
    assert positive_ranks(scores, positives).tolist() == [[3, 4]]
    assert recall_at_k(scores, positives, 2).tolist() == [0]
    assert recall_at_k(scores, positives, 3).tolist() == [1]
    assert recall_at_k(scores, positives, 3, recall="all").tolist() == [0.5]
    assert average_precision_at_r(scores, positives).tolist() == [0]


def test_any_recall_of_the_first_place_is_r_precision_with_one_positive():
    scores = torch.randn(6, 9)
    positives = torch.zeros(6, 9, dtype=torch.bool)
    positives[torch.arange(6), torch.arange(6)] = True
    assert torch.equal(recall_at_k(scores, positives, 1), r_precision(scores, positives))


def test_dtypes():
    positives = torch.tensor([[True, False]])
    for dtype, expected in [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)]:
        assert recall_at_k(torch.ones(1, 2, dtype=dtype), positives, 1).dtype == expected


@pytest.mark.parametrize(
    ("scores", "positives", "k", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), 0, "k must be a whole number of at least 1, got 0"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 1, "positives must be a bool mask"),
        (torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool), 1, "positives must have the shape of scores"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.bool), 1, "scores must be"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool), 1, "floating point"),
    ],
)
def test_wrong_arguments(scores, positives, k, message):
    with pytest.raises(ValueError, match=message):
        recall_at_k(scores, positives, k)


def test_unknown_recall():
    with pytest.raises(ValueError, match="recall must be one of 'any', 'all', got 'some'"):
        recall_at_k(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), 1, recall="some")
