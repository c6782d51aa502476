import pytest
from jsonargparse import ArgumentError, auto_cli

from vse_lightning.losses import RetrievalLoss, WeightedSumLoss

CONFIGS = {
    "TripletLoss": "{margin: 0.1, mining: soft, temperature: 0.02, reduction: sum}",
    "LadderLoss": "{margins: [0.2, 0.1, 0.1], thresholds: [90, 50], weights: [1, 0.5], threshold_mode: percentile}",
    "SmoothNDCGLoss": "{temperature: 0.05, gain: linear, surrogate: bound}",
    "HierarchicalAPLoss": "{temperature: 0.05}",
    "LSEHLoss": "{margin: 0.2, semantic_weight: 0.1, mining: hardest}",
    "KendallLoss": "{min_gap: 0.2, window: 8, stride: 4}",
    "ContrastiveLoss": "{temperature: 0.07, learnable: false, relevance_weight: 0.2, directions: [t2i]}",
    "RelevanceMarginLoss": "{margin: 0.3, mining: all, directions: [i2t, t2i]}",
    "SymmetricMultiSimilarityLoss": "{margin: 0.5, slack: 0.2, min_gap: 0.1}",
    "RankedContrastiveLoss": "{thresholds: [0.8, 0.4], temperatures: [0.05, 0.1, 0.2], variant: out}",
    "SigmoidLoss": "{temperature: 0.2, bias: -5, relevance_weight: 0.5}",
}


def identity(loss: RetrievalLoss) -> RetrievalLoss:
    return loss


def build(config: str) -> RetrievalLoss:
    return auto_cli(identity, args=[f"--loss={config}"], as_positional=False, exit_on_error=False)


def member(name: str) -> str:
    return f"{{class_path: vse_lightning.losses.{name}, init_args: {CONFIGS[name]}}}"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_loss_is_built_from_yaml(name, batch):
    loss = build(member(name))
    assert type(loss).__name__ == name
    assert loss(*batch).isfinite()


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_are_enough(name, batch):
    assert build(f"class_path: vse_lightning.losses.{name}")(*batch).isfinite()


def test_a_combination_is_built_from_yaml(batch):
    loss = build(f"""
        class_path: vse_lightning.losses.WeightedSumLoss
        init_args:
          losses:
            soft: {member("TripletLoss")}
            order: {member("KendallLoss")}
          weights: {{soft: 1.0, order: 0.5}}
    """)
    assert isinstance(loss, WeightedSumLoss)
    assert set(loss.query_terms(*batch)) == {"soft", "order"}
    assert loss.weights == {"soft": 1.0, "order": 0.5}


def test_a_misspelt_option_is_refused():
    with pytest.raises(ArgumentError, match="marjin"):
        build("{class_path: vse_lightning.losses.TripletLoss, init_args: {marjin: 0.1}}")
