import copy
import pickle

import pytest
import torch
from torch import Tensor

from vse_lightning.losses import RetrievalLoss


def both_directions(loss: RetrievalLoss, scores: Tensor, relevance: Tensor, positives: Tensor):
    return loss.query_terms(scores, relevance, positives), loss.query_terms(scores.T, relevance.T, positives.T)


def test_mean_averages_each_direction_over_its_terms(make_loss, batch):
    loss = make_loss(reduction="mean")
    i2t, t2i = both_directions(loss, *batch)
    expected = sum(
        (total.sum() / count.sum()).item() / 2 for terms in (i2t, t2i) for total, count in terms.values() if count.any()
    )
    assert loss(*batch).item() == pytest.approx(expected)


def test_sum_adds_everything(make_loss, batch):
    loss = make_loss(reduction="sum")
    expected = sum(total.sum().item() for terms in both_directions(loss, *batch) for total, _ in terms.values())
    assert loss(*batch).item() == pytest.approx(expected)


def test_text_to_image_is_the_transpose(make_loss, batch):
    loss = make_loss()
    transposed = loss(batch.scores.T, batch.relevance.T, batch.positives.T)
    torch.testing.assert_close(loss(*batch), transposed)


def test_the_order_of_images_and_texts_does_not_matter(make_loss, batch):
    loss = make_loss()
    rows, columns = torch.randperm(7), torch.randperm(9)
    shuffled = [matrix[rows][:, columns] for matrix in batch]
    torch.testing.assert_close(loss(*batch), loss(*shuffled))
    shuffled_terms = loss.query_terms(*shuffled)
    for term, (total, count) in loss.query_terms(*batch).items():
        torch.testing.assert_close(total[rows], shuffled_terms[term][0])
        assert torch.equal(count[rows], shuffled_terms[term][1])


def test_a_query_does_not_see_the_others(make_loss, batch):
    """What distributed training rests on: each process scores its own queries."""
    loss = make_loss()
    alone = [loss.query_terms(*(matrix[[query]] for matrix in batch)) for query in range(7)]
    for term, (total, count) in loss.query_terms(*batch).items():
        torch.testing.assert_close(torch.cat([terms[term][0] for terms in alone]), total)
        assert torch.equal(torch.cat([terms[term][1] for terms in alone]), count)


def test_relevance_at_positives_is_taken_as_one(make_loss, batch):
    loss = make_loss()
    relevance = batch.relevance.masked_fill(batch.positives, 0)
    assert torch.equal(loss(batch.scores, relevance, batch.positives), loss(*batch))


def test_positives_default_to_the_diagonal(make_loss, batch):
    loss = make_loss()
    scores, relevance = batch.scores[:, :7], batch.relevance[:, :7]
    torch.testing.assert_close(loss(scores, relevance), loss(scores, relevance, torch.eye(7, dtype=torch.bool)))


def test_gradient(make_loss, batch):
    loss = make_loss().double()
    assert torch.autograd.gradcheck(lambda s: loss(s, *batch[1:]), batch.scores.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(make_loss, batch, dtype):
    loss, scores = make_loss(), batch.scores.to(dtype).requires_grad_()
    value = loss(scores, batch.relevance.to(dtype), batch.positives)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(scores.float(), batch.relevance.to(dtype).float(), batch.positives))
    value.backward()
    assert scores.grad.dtype == dtype


def test_inputs_are_left_alone(make_loss, batch):
    before = [matrix.clone() for matrix in batch]
    make_loss()(*batch)
    for matrix, copied in zip(batch, before, strict=True):
        assert torch.equal(matrix, copied)


def test_copies_and_pickles(make_loss, batch):
    loss = make_loss()
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(*batch), loss(*batch))
        assert repr(twin) == repr(loss)


def test_a_missing_relevance_is_refused_with_the_remedy(make_loss, batch):
    loss = make_loss()
    if not loss.needs_relevance:
        assert loss(batch.scores, None, batch.positives).isfinite()
        return
    with pytest.raises(ValueError, match=r"Loss needs relevance \(N, M\) .*SBERTRelevance"):
        loss(batch.scores, None, batch.positives)


def test_an_unknown_reduction_is_refused(make_loss):
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', got 'none'"):
        make_loss(reduction="none")


class MeanGap(RetrievalLoss):
    """A loss of somebody else: the mean negative minus the mean positive."""

    term = "gap"

    def per_query(self, scores, relevance, positives):
        gaps = (scores * ~positives).sum(1) / (~positives).sum(1) - (scores * positives).sum(1) / positives.sum(1)
        return gaps, torch.ones(len(scores), dtype=torch.long)


def test_a_loss_of_your_own_is_one_method():
    scores = torch.tensor([[0.9, 0.1], [0.5, 0.3]], requires_grad=True)
    value = MeanGap()(scores)
    assert value.item() == pytest.approx(((0.1 - 0.9 + 0.5 - 0.3) / 2 + (0.5 - 0.9 + 0.1 - 0.3) / 2) / 2)
    assert MeanGap("sum")(scores).item() == pytest.approx(4 * value.item())


def test_a_loss_without_its_method_says_what_is_missing():
    with pytest.raises(TypeError, match=r"Empty defines no per_query\(scores, relevance, positives\)"):
        type("Empty", (RetrievalLoss,), {})()(torch.zeros(2, 2))
