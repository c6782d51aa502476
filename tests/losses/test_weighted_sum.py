import pytest
import torch

from vse_lightning.losses import ContrastiveLoss, KendallLoss, SmoothNDCGLoss, TripletLoss, WeightedSumLoss


def listwise() -> WeightedSumLoss:
    return WeightedSumLoss({"triplet": TripletLoss(), "ndcg": SmoothNDCGLoss()}, {"triplet": 0.7, "ndcg": 0.3})


def test_it_is_the_weighted_sum(batch):
    expected = 0.7 * TripletLoss()(*batch) + 0.3 * SmoothNDCGLoss()(*batch)
    torch.testing.assert_close(listwise()(*batch), expected)


def test_each_loss_keeps_its_reduction(batch):
    loss = WeightedSumLoss({"a": TripletLoss(reduction="sum"), "b": KendallLoss()}, {"a": 2.0, "b": 1.0})
    assert loss.reductions() == {"a": "sum", "b": "mean"}
    torch.testing.assert_close(loss(*batch), 2 * TripletLoss(reduction="sum")(*batch) + KendallLoss()(*batch))


def test_terms_go_by_the_names_given_and_are_weighted(batch):
    terms = listwise().query_terms(*batch)
    assert list(terms) == ["triplet", "ndcg"]
    torch.testing.assert_close(terms["triplet"][0], 0.7 * TripletLoss().query_terms(*batch)["triplet"][0])


def test_sums_nest(batch):
    outer = WeightedSumLoss({"list": listwise(), "clip": ContrastiveLoss()}, {"list": 0.5, "clip": 2.0})
    assert list(outer.query_terms(*batch)) == ["list_triplet", "list_ndcg", "clip"]
    assert outer.reductions() == dict.fromkeys(["list_triplet", "list_ndcg", "clip"], "mean")
    torch.testing.assert_close(outer(*batch), 0.5 * listwise()(*batch) + 2 * ContrastiveLoss()(*batch))


def test_relevance_is_needed_if_one_loss_needs_it(batch):
    binary = WeightedSumLoss({"a": TripletLoss(), "b": ContrastiveLoss()}, {"a": 1, "b": 1})
    assert not binary.needs_relevance
    assert binary(batch.scores, None, batch.positives).isfinite()
    assert listwise().needs_relevance


def test_parameters_are_those_of_the_losses():
    loss = WeightedSumLoss({"clip": ContrastiveLoss(temperature=0.02)}, {"clip": 1.0})
    assert list(loss.state_dict()) == ["losses.clip.log_scale"]
    with torch.no_grad():
        loss.losses["clip"].log_scale += 10
    loss.clamp_()
    assert loss.losses["clip"].log_scale.exp().item() == pytest.approx(100)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"losses must name at least one loss, got {}"):
        WeightedSumLoss({}, {})
    with pytest.raises(ValueError, match=r"weights must have the names of losses \['a'\], got \['b'\]"):
        WeightedSumLoss({"a": TripletLoss()}, {"b": 1.0})
    with pytest.raises(ValueError, match=r"weights\['a'\] must be a finite number of at least 0, got -1"):
        WeightedSumLoss({"a": TripletLoss()}, {"a": -1})
    with pytest.raises(ValueError, match=r"losses\['a'\] must be a RetrievalLoss, got MSELoss"):
        WeightedSumLoss({"a": torch.nn.MSELoss()}, {"a": 1.0})


def test_terms_of_one_name_are_refused():
    inner = WeightedSumLoss({"b": TripletLoss(), "c": TripletLoss()}, {"b": 1, "c": 1})
    with pytest.raises(ValueError, match=r"losses must have terms of different names, got \['a_b', 'a_b', 'a_c'\]"):
        WeightedSumLoss({"a": inner, "a_b": TripletLoss()}, {"a": 1, "a_b": 1})


@pytest.mark.parametrize("name", ["", "ladder_0.63", "a@b (c)", "a/b", "train", "training", "items", "loss"])
def test_names_that_a_module_or_a_logger_refuses(name):
    with pytest.raises(ValueError, match="losses must have names"):
        WeightedSumLoss({name: TripletLoss()}, {name: 1.0})
