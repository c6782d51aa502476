import numpy as np
import pytest
import torch

from vse_lightning.functional import bootstrap_interval, paired_randomization_test


def _values(size, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).beta(2, 1, size))


def test_interval_equals_scipy_draw_for_draw():
    stats = pytest.importorskip("scipy.stats")
    values = _values(60)
    interval = bootstrap_interval(values, resamples=3001, confidence=0.9, seed=7)
    expected = stats.bootstrap(
        (values.numpy(),),
        np.mean,
        n_resamples=3001,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert interval == pytest.approx(tuple(expected), abs=1e-12)


def test_chunks_do_not_change_the_draws(monkeypatch):
    values, other = _values(50), _values(50, seed=1)
    interval, p_value = bootstrap_interval(values, resamples=501), paired_randomization_test(values, other)
    monkeypatch.setattr("vse_lightning.functional.significance._DRAWS_AT_ONCE", 130)
    assert bootstrap_interval(values, resamples=501) == pytest.approx(interval, abs=1e-12)
    assert paired_randomization_test(values, other) == pytest.approx(p_value, abs=0.02)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    covered = 0
    for trial in range(400):
        draw = np.random.default_rng(trial)
        of_image = draw.normal(size=40)  # captions share the luck of their image
        captions = torch.from_numpy((of_image[:, None] + 0.3 * draw.normal(size=(40, 5))).ravel())
        low, high = bootstrap_interval(captions, torch.arange(40).repeat_interleave(5), resamples=200, confidence=0.9)
        covered += low <= 0 <= high
    assert 0.84 <= covered / 400 <= 0.94


def test_captions_taken_for_independent_queries_give_too_narrow_an_interval():
    captions = _values(40).repeat_interleave(5)
    by_image = bootstrap_interval(captions, torch.arange(40).repeat_interleave(5))
    by_caption = bootstrap_interval(captions)
    assert by_image.high - by_image.low > 2 * (by_caption.high - by_caption.low)


def test_uneven_groups_are_a_ratio_of_sums():
    interval = bootstrap_interval(torch.ones(6), torch.tensor([3, 3, 3, 5, 5, 9]))
    assert interval == (1, 1)


def test_directions_are_added_on_the_same_images():
    images, captions = _values(30), _values(150, seed=1)
    of_captions = torch.arange(30).repeat_interleave(5)
    values, groups = {"i2t": images, "t2i": captions}, {"i2t": torch.arange(30), "t2i": of_captions}
    together = bootstrap_interval(values, groups)
    assert together == pytest.approx(bootstrap_interval(images + captions.view(30, 5).mean(dim=1)), abs=1e-12)
    other = {"i2t": _values(30, seed=2), "t2i": _values(150, seed=3)}
    p_value = paired_randomization_test(values, other, groups)
    sums = [run["i2t"] + run["t2i"].view(30, 5).mean(dim=1) for run in (values, other)]
    assert p_value == pytest.approx(paired_randomization_test(*sums), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_p_value_equals_the_exact_one_of_scipy(shift):
    stats = pytest.importorskip("scipy.stats")
    first, second = _values(12), _values(12, seed=1) + shift
    exact = stats.permutation_test(
        (first.numpy(), second.numpy()),
        lambda a, b, axis: (b - a).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    p_value = paired_randomization_test(first, second, resamples=40_000)
    assert p_value == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 40_000) + 1e-4)


def test_p_value_of_binary_values_is_the_sign_test():
    stats = pytest.importorskip("scipy.stats")
    first, second = torch.zeros(200), torch.zeros(200)
    second[:15], first[15:20] = 1, 1
    exact = stats.binomtest(15, 20).pvalue
    assert paired_randomization_test(first, second, resamples=40_000) == pytest.approx(exact, abs=0.005)
    assert paired_randomization_test(second, first) == paired_randomization_test(first, second)


def test_p_values_of_equal_runs_are_uniform():
    stats = pytest.importorskip("scipy.stats")
    p_values = []
    for trial in range(300):
        first, second = _values(30, seed=trial), _values(30, seed=1000 + trial)
        p_values.append(paired_randomization_test(first, second, resamples=300, seed=trial))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_swapping_whole_images_counts_their_captions_once():
    captions, better = torch.zeros(50), torch.zeros(50)
    better[:15] = 1  # all captions of 3 images: 2 * (1 / 2) ** 3 of all swaps are as extreme
    groups = torch.arange(10).repeat_interleave(5)
    assert paired_randomization_test(captions, better, groups) == pytest.approx(0.25, abs=0.02)
    assert paired_randomization_test(captions, better) < 0.001


def test_equal_runs_and_seeds():
    values = _values(20)
    assert paired_randomization_test(values, values) == 1
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1) != bootstrap_interval(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": torch.rand(0)}, r"values must be \(queries,\), at least one, got \(0,\)"),
        ({"values": torch.rand(3, 2)}, r"values must be \(queries,\), at least one, got \(3, 2\)"),
        ({"values": torch.tensor([1.0, float("nan")])}, r"values must be finite, got \[nan\]"),
        ({"values": {}}, "values must name at least one direction"),
        ({"values": torch.rand(3), "groups": torch.arange(4)}, "groups must name one image for each of the values"),
        ({"values": {"i2t": torch.rand(3), "t2i": torch.rand(3)}}, "groups must be given for values of several"),
        (
            {
                "values": {"i2t": torch.rand(2), "t2i": torch.rand(2)},
                "groups": {"i2t": torch.tensor([0, 1]), "t2i": torch.tensor([0, 2])},
            },
            "groups must be the same images in all directions",
        ),
        ({"values": torch.rand(3), "confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
        ({"values": torch.rand(3), "resamples": 0}, "resamples must be a whole number of at least 1, got 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**arguments)


def test_runs_on_different_queries_are_refused():
    with pytest.raises(ValueError, match="a value for each of the same queries, got 3 and 4"):
        paired_randomization_test(torch.rand(3), torch.rand(4))
