"""Tables say what a metric says of itself."""

import re

from vse_lightning.metrics import Reading, RecallAtK, RetrievalMetric, RetrievalMetrics
from vse_lightning.report import Display, print_results, table_rows


class BestGain(RetrievalMetric):
    """Somebody's metric, whose name tells nothing about a direction."""

    name, display_name, directions, reading = "gain_of_first", "Gain", ("t2i",), Reading(listed=1)

    def query_values(self, ranking):
        return ranking.relevance[:, 0]


def rows_of(printed):
    lines = [re.split(" *[│┃] *", line)[1:-1] for line in printed.splitlines() if line[:1] in "│┃"]
    return {name: cells for name, *cells in lines}


def test_table_of_an_evaluation_under_two_label_sources(capsys):
    metrics = RetrievalMetrics((1,), (), (20,), extra=[BestGain()], prefix="my_")
    logged = {
        "val/my_i2t_recall_at_1": 0.5,
        "val/my_t2i_recall_at_1": 0.25,
        "val/my_rsum": 75.0,
        "val/my_i2t_coherent_score_at_20": 0.125,
        "val/my_t2i_coherent_score_at_20": 0.375,
        "val/my_gain_of_first": 0.75,
        "val/my_gain_of_first_cider": 0.0625,
        "val/i2t_loss": 3.0,
        "val_acc": 1.0,
    }
    print_results(logged, "val", metrics.displays, {"": "SBERT", "_cider": "CIDEr-D"})
    assert rows_of(capsys.readouterr().out) == {
        "metric": ["image → text", "text → image"],
        "R@1": ["50.0 %", "25.0 %"],
        "rsum": ["75.00", ""],
        "CS@20 (SBERT)": ["0.1250", "0.3750"],
        "Gain (SBERT)": ["", "0.7500"],
        "Gain (CIDEr-D)": ["", "0.06250"],
        "i2t_loss": ["3.000", ""],
        "val_acc": ["1.000", ""],
    }


def test_dataloaders_have_rows_of_their_own():
    values = {"i2t_recall_at_1/dataloader_idx_0": 0.5, "i2t_recall_at_1/dataloader_idx_1": 0.4}
    rows = table_rows(values, RetrievalMetrics((1,), (), ()).displays, {"": "SBERT"})
    assert [row.label for row in rows] == ["R@1/dataloader_idx_0", "R@1/dataloader_idx_1"]


def test_a_suffix_is_for_graded_metrics_only():
    displays = {"i2t_recall_at_1": Display("R@1", "i2t")}
    assert not table_rows({"i2t_recall_at_1_cider": 0.5}, displays, {"": "SBERT", "_cider": "CIDEr-D"})


def test_a_metric_may_be_named_when_it_is_made():
    metric = RecallAtK(1)
    assert metric.displays == {"": Display("R@1", "i2t", percent=True)}
    metric.display_name = "top-1"
    metric.graded = True
    assert RetrievalMetrics((), (), (), extra=[metric]).displays == {
        "i2t_recall_at_1": Display("top-1", "i2t", graded=True, percent=True)
    }


def test_baselines_stand_beside_graded_values(capsys):
    metrics = RetrievalMetrics((1,), (10,), ())
    logged = {"test/i2t_recall_at_1": 0.5, "test/i2t_ndcg_at_10": 0.75, "test/t2i_ndcg_at_10": 0.5}
    baselines = {"random": {"i2t_recall_at_1": 0.1, "i2t_ndcg_at_10": 0.25}, "ideal": {"i2t_ndcg_at_10": 1.0}}
    print_results(logged, "test", metrics.displays, {"": "SBERT"}, baselines)
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert rows["R@1"] == ["50.0 %", ""]
    assert rows["NDCG@10 (SBERT)"] == ["0.7500 (0.250 to 1)", "0.5000"]
    assert "(random to ideal)" in printed
