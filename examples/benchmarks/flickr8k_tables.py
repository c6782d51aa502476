"""Tables and pictures of the results of ``flickr8k.py``, for the README: no number is typed by hand."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import ttest_ind

Result = dict[str, Any]
BASELINES = {"triplet": "▵", "infonce": "°"}
"""Losses without labels, and the sign of what differs from them beyond the spread of the seeds."""
SOURCES = ("sbert", "cider", "lsa", "ensemble")
"""Labels to train on and to score under; ``ensemble`` is half SBERT, half CIDEr-D."""
GRADED = {
    "NDCG@10": "ndcg_at_10",
    "CS@100": "coherent_score_at_100",
    "CS@1000": "coherent_score_at_1000",
    "H-AP": "hierarchical_ap",
}


def read(folder: Path) -> list[Result]:
    """All results of a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation, the latter where there are several values."""
    beside = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return re.sub(r"\b0\.", ".", f"{mean(values):.{digits}f}{beside}")


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


def by_loss(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results trained on SBERT labels, by loss, the best rsum first."""
    grouped: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result["labels"] == "sbert":
            grouped[result["loss"]].append(result)
    return dict(sorted(grouped.items(), key=lambda pair: -mean(each["test"]["rsum"] for each in pair[1])))


def known(runs: Iterable[Result], name: str) -> list[float]:
    """A value of each training that measured it: the first ones had no H-AP."""
    return [each["test"][name] for each in runs if name in each["test"]]


def losses_table(results: Sequence[Result], scored: str) -> str:
    """One row per loss trained on SBERT labels, with graded values under the labels ``scored``."""
    grouped, suffix = by_loss(results), "" if scored == "sbert" else f"_{scored}"
    with_recall = suffix == ""
    names = {"rsum": "rsum"} if with_recall else {}
    for title, metric in GRADED.items():
        for direction in ("i2t", "t2i"):
            name = f"{direction}_{metric}{suffix}"
            if any(name in result["test"] for result in results):
                names[f"{title} {direction}"] = name
    rows = [["loss", *(["R@1 % i2t / t2i"] if with_recall else []), *(f"{title}" for title in names)]]
    reference = {
        name: {loss: known(grouped[loss], name) for loss in BASELINES if loss in grouped} for name in names.values()
    }
    for loss, runs in grouped.items():
        cells = []
        if with_recall:
            recalls = [mean(each["test"][f"{d}_recall_at_1"] for each in runs) * 100 for d in ("i2t", "t2i")]
            cells.append(" / ".join(f"{value:.1f}" for value in recalls))
        for name in names.values():
            values = known(runs, name)
            shown = spread(values, 1 if name == "rsum" else 3) + signs(values, reference[name]) if values else "-"
            cells.append(shown)
        rows.append([f"{loss}{'' if len(runs) > 1 else ' (one seed)'}", *cells])
    return table(rows)


SHIPPED = {"infonce": "t07", "siglip": "t05", "sms": "m02_s005", "ranp": "th08", "recommended": "soft_b1_similar"}
"""The trials that became configs; of the other losses it is the one called ``shipped``."""


def shipped(trials: Sequence[Result]) -> list[Result]:
    """The trials that became configs."""
    return [each for each in trials if each["trial"] == SHIPPED.get(each["loss"], "shipped")]


def values_of(runs: Sequence[Result]) -> dict[str, list[float]]:
    """What all trainings measured on the test split, by metric."""
    return {name: known(runs, name) for name in runs[0]["test"]}


def summary_table(results: Sequence[Result]) -> str:
    """One row per loss trained on SBERT labels, on the test split: means over seeds, of both directions."""
    columns = {"NDCG@10": "ndcg_at_10", "CS@100": "coherent_score_at_100", "CS@1000": "coherent_score_at_1000"}
    metrics = {f"{title} SBERT": name for title, name in columns.items()}
    metrics |= {"NDCG@10 CIDEr": "ndcg_at_10_cider", "CS@1000 CIDEr": "coherent_score_at_1000_cider"}
    grouped = by_loss(results)
    rows = [["loss", "seeds", "R@1 %", "rsum", *metrics]]
    baselines = {loss: values_of(runs) for loss, runs in grouped.items() if loss in BASELINES}
    for loss, runs in grouped.items():
        values = values_of(runs)
        marked = {
            name: signs(of_seeds, {loss: of[name] for loss, of in baselines.items() if name in of})
            for name, of_seeds in values.items()
        }
        recall = " / ".join(f"{100 * mean(values[f'{d}_recall_at_1']):.1f}" for d in ("i2t", "t2i"))
        cells = [
            " / ".join(f"{mean(values[f'{d}_{name}']):.3f}{marked[f'{d}_{name}']}"[1:] for d in ("i2t", "t2i"))
            for name in metrics.values()
        ]
        rows.append([loss, str(len(runs)), recall, spread(values["rsum"], 1) + marked["rsum"], *cells])
    return table(rows)


def sources_table(results: Sequence[Result], loss: str, metric: str) -> str:
    """Rows: the labels trained on; columns: a graded metric on the test split under each source, of both directions."""
    names = [metric if scored == "sbert" else f"{metric}_{scored}" for scored in SOURCES]
    rows = [["trained on", "R@1 %", "rsum", *SOURCES]]
    runs = {result["labels"]: result["test"] for result in results if result["loss"] == loss and result["seed"] == 0}
    for labels in SOURCES:
        values = runs.get(labels, {})
        if all(f"i2t_{name}" in values for name in names):
            rows.append([labels, *_measured(values, names)])
    return table(rows)


def pretrained_table(trials: Sequence[Result], random: dict[str, float]) -> str:
    """Fine-tuned towers on the test split, also as their mean with the pretrained weights, above random scores."""
    graded = {"NDCG@10 SBERT": "ndcg_at_10", "CS@100 SBERT": "coherent_score_at_100"}
    graded |= {"CS@1000 SBERT": "coherent_score_at_1000", "NDCG@10 CIDEr": "ndcg_at_10_cider"}
    rows = [["loss", "weights", "R@1 %", "rsum", *graded, "minutes"]]
    for trial in sorted(trials, key=lambda each: -each["val"]["rsum"]):
        minutes = f"{trial['seconds'] / 60:.0f}"
        rows.append([trial["loss"], "fine-tuned", *_measured(trial["test"], graded.values()), minutes])
        if "interpolated" in trial:
            rows.append([trial["loss"], "interpolated", *_measured(trial["interpolated"]["test"], graded.values()), ""])
    return table([*rows, ["random scores", "", *_measured(random, graded.values()), ""]])


def _measured(values: dict[str, float], graded: Iterable[str]) -> list[str]:
    """R@1, rsum and graded values of both directions, as far as they are known."""

    def both(name: str, shown: str, factor: int = 1) -> str:
        known = [factor * values[key] for key in (f"i2t_{name}", f"t2i_{name}") if key in values]
        return re.sub(r"\b0\.", ".", " / ".join(format(value, shown) for value in known)).replace("-.000", ".000")

    rsum = f"{values['rsum']:.1f}" if "rsum" in values else ""
    return [both("recall_at_1", ".1f", 100), rsum, *(both(name, ".3f") for name in graded)]


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
    said = "; ".join(
        f"{sign}: differs from {loss} over seeds (Welch's t-test, p < 0.05)" for loss, sign in BASELINES.items()
    )
    parts = [
        f"# Flickr8k\n\nMade by `examples/benchmarks/flickr8k.py --render`. {said}.\n",
        summary_table(results) + "\n",
    ]
    for scored in ("sbert", "cider"):
        parts.append(f"## Trained on sbert labels, test split, graded values under {scored} labels\n")
        parts.append(losses_table(results, scored) + "\n")
    for title, metric in GRADED.items():
        parts.append(f"## What to train on: recommended, one seed, {title} on the test split under each source\n")
        parts.append(sources_table(results, "recommended", metric) + "\n")
    if trials:
        parts.append("## Settings tried, validation split, seed 0\n\n" + trials_table(trials))
    return "\n".join(parts)
