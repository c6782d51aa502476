"""Numbers of every kind, lists for tuples, and classes of a user pass; their own annotations are their own."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from vse_lightning.argument_types import require_types, typed
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import LadderLoss, SigmoidLoss, TripletLoss
from vse_lightning.metrics import RecallAtK, RetrievalMetrics, RSum


@typed
def train(
    rate: float,
    steps: int = 1,
    *names: str,
    folder: str | Path | None = None,
    mode: Literal["min", "max"] = "min",
    size: tuple[int, int] = (1, 1),
    weights: dict[str, float] | None = None,
    **options: Any,
) -> dict[str, Any]:
    return dict(locals())


def test_what_fits_passes_as_it_is():
    draws = np.array([0.5, 0.25])
    assert train(np.float32(0.5), np.int64(3), "a", "b", folder=Path("x"), other=3)["steps"] == 3
    assert train(1, size=[2, 3], weights={"a": draws[0]}, mode="max")["size"] == [2, 3]
    assert LadderLoss(thresholds=[0.63], margins=[0.2, np.float64(0.01)], weights=np.array([0.25])).thresholds == (
        0.63,
    )
    assert RecallAtK(np.int64(5)).k == 5
    assert RSum(np.array([1, 5])).ks == (1, 5)
    assert len(RetrievalMetrics(np.array([1, 5]), (), [])) == 5
    assert TripletLoss(margin=np.float32(0.5), reduction="sum").margin == 0.5
    assert SigmoidLoss(temperature=np.float32(0.5), bias=np.float32(-3)).bias == -3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": "0.5"}, "rate must be a number, got '0.5'"),
        ({"rate": True}, "rate must be a number, got True"),
        ({"rate": 1, "steps": 1.0}, "steps must be a whole number, got 1.0"),
        ({"rate": 1, "folder": 3}, "folder must be a text or a path or None, got 3"),
        ({"rate": 1, "mode": "most"}, "mode must be one of 'min', 'max', got 'most'"),
        ({"rate": 1, "size": 3}, "size must be 2 in a tuple or list, got 3"),
        ({"rate": 1, "size": (3, 4, 5)}, "size must be 2 in a tuple or list, got (3, 4, 5)"),
        ({"rate": 1, "size": (3, "4")}, "every entry of size must be a whole number, got '4'"),
        ({"rate": 1, "weights": {"a": "1"}}, "every entry of weights must be a number, got '1'"),
        ({"rate": 1, "weights": {7: 1.0}}, "every key of weights must be a text, got 7"),
        ({"rate": 1, "weights": [1]}, "weights must be a dict or None, got [1]"),
        ({"rate": np.zeros((99, 9))}, "rate must be a number, got a ndarray"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        train(**arguments)
    assert str(caught.value) == message


def test_numbers_of_arguments_are_pythons_business():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'rate'"):
        train()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        TripletLoss(nonsense=3)
    require_types(train, 1, 2, nonsense=3)


def test_what_a_subclass_of_a_user_takes_is_not_checked():
    class Loose(TripletLoss):
        def __init__(self, margin: int = None, mining: bool = "soft"):  # noqa: RUF013
            super().__init__(0.3 if margin is None else margin, mining)

    assert Loose().mining == "soft"
    with pytest.raises(ValueError, match="margin must be a number, got 'wide'"):
        Loose("wide")


def test_signatures_and_names_stay():
    assert TripletLoss.__init__.__qualname__ == "TripletLoss.__init__"
    assert repr(TripletLoss(0.3)).startswith("TripletLoss(margin=0.3, mining=hardest")


@pytest.mark.parametrize("wrong", ["source", 3, ShapesSource])
def test_an_object_of_another_class(wrong):
    with pytest.raises(ValueError, match="source must be an ImageTextSource, got"):
        ImageTextDataModule(wrong)
