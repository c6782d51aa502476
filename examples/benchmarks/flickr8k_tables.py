"""Tables and pictures of the results of ``flickr8k.py``, for the README: no number is typed by hand."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import ttest_ind

Result = dict[str, Any]
BASELINES = {"triplet": "▵", "infonce": "°"}
"""Losses without labels, and the sign of what differs from them beyond the spread of the seeds."""
GRADED = {
    "NDCG@10": "ndcg_at_10",
    "CS@100": "coherent_score_at_100",
    "CS@1000": "coherent_score_at_1000",
    "H-AP": "hierarchical_ap",
}


def read(folder: Path) -> list[Result]:
    """All results of a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation, the latter where there are several values."""
    beside = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{beside}".replace("0.", ".")


def signs(values: Sequence[float], of_baselines: dict[str, Sequence[float]]) -> str:
    """The signs of the baselines that differ (Welch's t-test over seeds, p < 0.05)."""
    return "".join(
        sign
        for loss, sign in BASELINES.items()
        if min(len(values), len(of_baselines.get(loss, ()))) > 1
        and ttest_ind(values, of_baselines[loss], equal_var=False).pvalue < 0.05
    )


def table(rows: Iterable[Sequence[str]]) -> str:
    """Markdown of rows, the first of which is the head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *body])


def by_loss(results: Iterable[Result], labels: str) -> dict[str, list[Result]]:
    """Results trained on one label source, by loss, the best rsum first."""
    grouped: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result["labels"] == labels:
            grouped[result["loss"]].append(result)
    return dict(sorted(grouped.items(), key=lambda pair: -mean(each["test"]["rsum"] for each in pair[1])))


def losses_table(results: Sequence[Result], labels: str, scored: str, split: str = "test") -> str:
    """One row per loss trained on ``labels``, with graded values under the labels ``scored``."""
    grouped, suffix = by_loss(results, labels), "" if scored == "sbert" else f"_{scored}"
    with_recall = suffix == ""
    names = {"rsum": "rsum"} if with_recall else {}
    for title, metric in GRADED.items():
        for direction in ("i2t", "t2i"):
            name = f"{direction}_{metric}{suffix}"
            if any(name in result[split] for result in results):
                names[f"{title} {direction}"] = name
    rows = [["loss", *(["R@1 % i2t / t2i"] if with_recall else []), *(f"{title}" for title in names)]]
    reference = {
        name: {loss: [each[split][name] for each in grouped[loss]] for loss in BASELINES if loss in grouped}
        for name in names.values()
    }
    for loss, runs in grouped.items():
        cells = []
        if with_recall:
            recalls = [mean(each[split][f"{d}_recall_at_1"] for each in runs) * 100 for d in ("i2t", "t2i")]
            cells.append(" / ".join(f"{value:.1f}" for value in recalls))
        for name in names.values():
            values = [each[split][name] for each in runs]
            cells.append(spread(values, 1 if name == "rsum" else 3) + signs(values, reference[name]))
        rows.append([f"{loss}{'' if len(runs) > 1 else ' (one seed)'}", *cells])
    return table(rows)


SHIPPED = {"infonce": "t07", "siglip": "t05", "sms": "m02_s005", "ranp": "th08", "recommended": "soft_b1_similar"}
"""The trials that became configs; of the other losses it is the one called ``shipped``."""


def shipped(trials: Sequence[Result]) -> list[Result]:
    """The trials that became configs."""
    return [each for each in trials if each["trial"] == SHIPPED.get(each["loss"], "shipped")]


def shipped_table(trials: Sequence[Result]) -> str:
    """The losses as shipped, from their trials (one seed), on the test split."""
    columns = {"NDCG@10": "ndcg_at_10", "CS@100": "coherent_score_at_100", "CS@1000": "coherent_score_at_1000"}
    rows = [["loss", "R@1 %", "rsum", *(f"{title} SBERT" for title in columns), "NDCG@10 CIDEr", "CS@1000 CIDEr"]]
    alone = [each for each in trials if each["loss"].endswith("_alone")]
    for result in [*sorted(shipped(trials), key=lambda each: each["test"]["rsum"]), *alone]:
        values = result["test"]
        name = result["loss"].replace("_alone", " alone") + (f", {result['trial']}" if result in alone else "")
        pairs = [*columns.values(), "ndcg_at_10_cider", "coherent_score_at_1000_cider"]
        graded = [" / ".join(f"{values[f'{d}_{metric}']:.3f}" for d in ("i2t", "t2i")) for metric in pairs]
        recall = " / ".join(f"{100 * values[f'{d}_recall_at_1']:.1f}" for d in ("i2t", "t2i"))
        rows.append([name, recall, f"{values['rsum']:.1f}", *graded])
    return table(rows)


def trials_table(trials: Sequence[Result]) -> str:
    """Every setting tried, on the validation split."""
    names = ["rsum", *(f"{d}_{m}" for m in list(GRADED.values())[:3] for d in ("i2t", "t2i"))]
    rows = [["loss", "trial", *names]]
    for result in sorted(trials, key=lambda each: (each["loss"], -each["val"]["rsum"])):
        values = (f"{result['val'][name]:.{1 if name == 'rsum' else 3}f}" for name in names)
        rows.append([result["loss"], result["trial"], *values])
    return table(rows)


def render(folder: Path) -> str:
    """All tables of a folder of results."""
    results, trials = read(folder), read(folder / "trials")
    parts = []
    for labels in sorted({result["labels"] for result in results}, key=lambda name: name != "sbert"):
        for scored in ("sbert", "cider"):
            parts.append(f"Trained on {labels} labels, test split, graded values under {scored} labels\n")
            parts.append(losses_table(results, labels, scored) + "\n")
    if trials:
        parts.append("As shipped, one seed, test split\n\n" + shipped_table(trials) + "\n")
        parts.append("Settings tried, validation split\n\n" + trials_table(trials))
    return "\n".join(parts)
