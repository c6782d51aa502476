import pytest
import torch

from vse_lightning.losses import ContrastiveLoss, KendallLoss, TripletLoss, WeightedSumLoss


def test_directions_are_chosen_singly(make_loss, batch):
    i2t, t2i = (make_loss(directions=(direction,)) for direction in ("i2t", "t2i"))
    torch.testing.assert_close((i2t(*batch) + t2i(*batch)) / 2, make_loss()(*batch))
    rows = sum(total.sum() / count.sum() for total, count in i2t.query_terms(*batch).values())
    torch.testing.assert_close(i2t(*batch), rows)
    transposed = [matrix.T for matrix in batch]
    torch.testing.assert_close(t2i(*batch), i2t(*transposed))


def test_sums_of_one_direction(batch):
    i2t, both = (TripletLoss(reduction="sum", directions=chosen) for chosen in (("i2t",), ("i2t", "t2i")))
    t2i = TripletLoss(reduction="sum", directions=["t2i"])
    torch.testing.assert_close(i2t(*batch) + t2i(*batch), both(*batch))


def test_losses_of_a_sum_keep_their_directions(batch):
    loss = WeightedSumLoss(
        {"rows": TripletLoss(directions=("i2t",)), "both": KendallLoss()}, {"rows": 2.0, "both": 1.0}
    )
    torch.testing.assert_close(loss(*batch), 2 * TripletLoss(directions=("i2t",))(*batch) + KendallLoss()(*batch))
    assert loss.ranked_directions() == ("i2t", "t2i")
    assert loss.needs_relevance_in("t2i")
    assert not WeightedSumLoss({"a": TripletLoss()}, {"a": 1.0}).needs_relevance_in("i2t")


@pytest.mark.parametrize("wrong", [(), "i2t", ("i2t", "i2t"), ("t2v",), ("i2t", 1)])
def test_other_directions_are_refused(wrong):
    with pytest.raises(ValueError, match=r"directions must be (a tuple of different ones|several|one of)"):
        TripletLoss(directions=wrong)


def test_scores_say_nothing_of_the_others_of_a_kind(batch):
    sum_of_both = WeightedSumLoss(
        {"across": ContrastiveLoss(), "texts": ContrastiveLoss(directions=("t2t",))}, {"across": 1.0, "texts": 0.5}
    )
    for loss in (TripletLoss(directions=("i2i",)), sum_of_both):
        with pytest.raises(ValueError, match="rank within a modality, which takes embeddings: call from_embeddings"):
            loss(*batch)
