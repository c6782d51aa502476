import numpy as np
import pytest

from vse_lightning import LadderLoss, RankedContrastiveLoss, RetrievalMetrics, RSum, WeightedSumLoss
from vse_lightning.checks import require_name, require_not_negative, require_positive, require_share, require_text


@pytest.mark.parametrize("name", ["sbert", "LSA_400", "soft-0", "i"])
def test_names_that_every_logger_takes(name):
    require_name("losses", name)


@pytest.mark.parametrize("name", ["", "ladder_0.63", "shapes (v2)", "a@b", "a/b", "_a", "3", "größe", "a\n", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="losses must have names of letters, digits, '_' and '-' that begin with a"):
        require_name("losses", name)


@pytest.mark.parametrize(
    "captions",
    [
        [],
        ["a dog", "一只狗", "कुत्ता", "🐶\U0001f3fd", "\x00", "\ufffe"],
        np.array(["a dog", "a cat"]),
        ("a dog",),
    ],
)
def test_text_is_any_string_that_utf_8_can_hold(captions):
    require_text("captions", captions)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (["a dog", "cut \ud83d"], r"captions must be text .* half of a character, '\\ud83d', in row 1: 'cut \\ud83d'"),
        (["\udc36", "\ud83d"], "in row 0"),
        (["a dog", None], r"captions must be texts, got None \(NoneType\) in row 1"),
        (["a dog", float("nan")], r"got nan \(float\) in row 1"),
        ([b"a dog"], r"got b'a dog' \(bytes\) in row 0"),
        ("a dog", "captions must be a list of texts, got the single str 'a dog'"),
    ],
)
def test_what_is_no_text_is_named_by_row(captions, message):
    with pytest.raises(ValueError, match=message):
        require_text("captions", captions)


@pytest.mark.parametrize("value", [None, "1", float("nan"), -1, [1]])
@pytest.mark.parametrize("rule", [require_positive, require_not_negative, require_share])
def test_what_is_no_number_in_range_is_shown(rule, value):
    with pytest.raises(ValueError, match=r"margin must .*got"):
        rule("margin", value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LadderLoss(thresholds=0.63),
            r"thresholds must be several in a tuple or list, got 0.63: write \(0.63,\)",
        ),
        (lambda: RankedContrastiveLoss(temperatures=0.1), "temperatures must be several"),
        (lambda: RSum(5), "ks must be several"),
        (lambda: RetrievalMetrics(recall_ks=1), "recall_ks must be several"),
        (lambda: RetrievalMetrics(extra=RSum()), "extra must be several"),
        (lambda: WeightedSumLoss([LadderLoss()], [1.0]), "losses must be a dict, got a list"),
    ],
)
def test_one_value_in_place_of_several_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
