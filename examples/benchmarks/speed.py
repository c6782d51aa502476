"""The README's table of speed, from the results of ``losses.py`` and ``metrics.py``.

python examples/benchmarks/speed.py
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LOSSES = {"Smooth-NDCG": 256, "Kendall": 256, "Hierarchical AP": 256}
AGAINST = "TripletMarginLoss + BatchHardMiner", "NTXentLoss", "MultipleNegativesRankingLoss"


def table() -> str:
    """Markdown: what, beside what, ratio."""
    losses = read("losses/cpu")["losses"]
    gallery, large = read("metrics/1000x5000"), read("metrics/20000x100000")
    rows = [["what", "beside", "ours", "the other", "times ours"], ["---", "---", "--:", "--:", "--:"]]
    for loss, batch in LOSSES.items():
        ours, plain = (one(losses, loss, batch, formulation) for formulation in ("ours", "plain"))
        rows.append(row(f"{loss}, forward and backward, batch {batch}", "the plain formula", ours, plain))
    for name in AGAINST:
        batch = max(each["batch"] for each in losses if each["loss"] == name and each["formulation"] != "ours")
        kinds = dict.fromkeys(each["formulation"] for each in losses if each["loss"] == name)
        (library,) = [kind for kind in kinds if kind != "ours"]
        times = (one(losses, name, batch, kind) for kind in ("ours", library))
        rows.append(row(f"{name}, batch {batch:,}", library, *times))
    seconds = {each["name"]: each["seconds"] for each in gallery["rows"]}
    for kind in ("embeddings", "matrices"):
        what = f"R@{{1,5,10}}, NDCG@10, CS@100, 1,000 x 5,000, from {kind}"
        times = seconds[f"vse_lightning, {kind}"], seconds[f"torchmetrics + scipy, {kind}"]
        rows.append(row(what, "torchmetrics and a scipy loop", *times))
    ours, products = (each["seconds"] for each in large["rows"][:2])
    rows.append(row("the same, 20,000 x 100,000 of width 64", "its two matrix products alone", ours, products))
    rows[-1][2] += f", {large['memory_mib'] / 1024:.1f} GB beside the embeddings"
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def one(rows: list[dict[str, Any]], loss: str, batch: int, formulation: str) -> float:
    """Seconds of one measurement."""
    (found,) = [
        each["seconds"]
        for each in rows
        if (each["loss"], each["batch"], each["formulation"]) == (loss, batch, formulation)
    ]
    return float(found)


def row(what: str, beside: str, ours: float, other: float) -> list[str]:
    ratio = other / ours
    return [what, beside, shown(ours), shown(other), f"{ratio:.0f}" if ratio > 10 else f"{ratio:.2g}"]


def shown(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


if __name__ == "__main__":
    print(table())
