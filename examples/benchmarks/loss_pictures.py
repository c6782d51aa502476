"""Table and picture of what ``losses.py`` measured."""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from loss_formulations import CASES

mpl.use("svg")
from matplotlib import pyplot

# readable on white and on black
INK, COLOURS = (
    "#7d7d7d",
    ("#3b82c4", "#d9822b", "#2e9e6b", "#c94f4f", "#8e6bbf", "#9a6a4f", "#c9639f", "#8a8f2a", "#2ba3b8"),
)

Row = dict[str, Any]


def look(salt: str, font_size: float = 9) -> AbstractContextManager[None]:
    """How all pictures of results look; the salt makes the ids in a file the same every time."""
    grey = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    bare = dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False)
    return pyplot.rc_context({**grey, **bare, "svg.fonttype": "none", "svg.hashsalt": salt, "font.size": font_size})


def show(file: Path) -> None:
    """Write FILE.md and FILE.svg beside FILE.json."""
    results = json.loads(file.read_text())
    file.with_suffix(".md").write_text(f"{tables(results)}\n")
    picture(results, file.with_suffix(".svg"))
    print(f"{file.with_suffix('.md')}\n{file.with_suffix('.svg')}")


def tables(results: dict[str, Any]) -> str:
    """All sections, as Markdown."""
    machine, versions = (
        ", ".join(f"{name} {value}" for name, value in results[key].items()) for key in ("machine", "versions")
    )
    parts = [f"Measured by `examples/benchmarks/losses.py` on {results['date']}: {machine}; {versions}."]
    rows = results.get("losses", [])
    for formulation in dict.fromkeys(row["formulation"] for row in rows if row["loss"] in CASES):
        chosen = [row for row in rows if row["formulation"] == formulation and row["loss"] in CASES]
        parts.append(f"### {formulation.capitalize()}: ms (MiB)\n\n{by_batch(chosen, 'loss')}")
    peers = [{**row, "loss": f"{row['loss']}: {row['formulation']}"} for row in rows if row["loss"] not in CASES]
    if peers:
        parts.append(f"### From embeddings, beside other libraries: ms (MiB)\n\n{by_batch(peers, 'loss')}")
    if "slope" in results:
        slope = [
            {**row, "batch": row["candidates"], "seconds": row["seconds_per_query"] * 1e3} for row in results["slope"]
        ]
        parts.append(f"### A query's list of so many candidates: microseconds\n\n{by_batch(slope, 'loss')}")
    if "step" in results:
        lines = [
            f"| {row['loss']}{', compiled' * row['compiled']} | {row['batch']} | {1e3 * row['step_seconds']:.1f} "
            f"| {1e3 * row['loss_seconds']:.2f} | {row['loss_seconds'] / row['step_seconds']:.1%} |"
            for row in results["step"]
        ]
        head = "| loss | batch | step ms | loss ms | share |\n| --- | --: | --: | --: | --: |\n"
        parts.append("### A training step of CLIP ViT-B/32, bfloat16\n\n" + head + "\n".join(lines))
    return "\n\n".join(parts)


def by_batch(rows: list[Row], name: str) -> str:
    """A line per loss, a column per batch."""
    batches = sorted({row["batch"] for row in rows})
    lines = [
        f"| {name} | " + " | ".join(f"{batch:,}" for batch in batches) + " |",
        "| --- " + "| --: " * len(batches) + "|",
    ]
    for loss in dict.fromkeys(row[name] for row in rows):
        of_loss = {row["batch"]: row for row in rows if row[name] == loss}
        lines.append(f"| {loss} | " + " | ".join(cell(of_loss.get(batch)) for batch in batches) + " |")
    return "\n".join(lines)


def cell(row: Row | None) -> str:
    if row is None:
        return "-"
    milliseconds, extra = 1e3 * row["seconds"], row.get("extra_bytes")
    time = f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.2g}"
    return time if extra is None else f"{time} ({extra / 2**20:,.0f})"


def picture(results: dict[str, Any], file: Path) -> None:
    """Time against batch, a panel per kind of loss; broken lines are the plain formulations."""
    with look("losses"):
        panels = list(dict.fromkeys(case.panel for case in CASES.values()))
        figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 4.6), sharey=True, layout="constrained")
        for axis, panel in zip(axes, panels, strict=True):
            names = [name for name, case in CASES.items() if case.panel == panel]
            for name, colour in zip(names, COLOURS, strict=False):
                for formulation, line in (("ours", "-"), ("plain", ":")):
                    draw(axis, of(results["losses"], name, formulation), colour, line, name if line == "-" else None)
            axis.set(title=panel, xlabel="batch", xscale="log", yscale="log")
            batches = sorted({row["batch"] for row in results["losses"]})
            axis.set_xticks(batches, [str(batch) for batch in batches], rotation=45, minor=False)
            axis.minorticks_off()
            axis.grid(color=INK, alpha=0.25, linewidth=0.5)
            axis.legend(fontsize=8, loc="upper left")
        axes[0].set_ylabel("ms, forward and backward")
        figure.suptitle(
            f"{results['machine'].get('gpu', 'one CPU thread')}; dotted: the plain formulation", fontsize=10
        )
        figure.savefig(file, transparent=True, metadata={"Date": None})
        pyplot.close(figure)


def of(rows: Iterable[Row], loss: str, formulation: str) -> list[Row]:
    return [row for row in rows if row["loss"] == loss and row["formulation"] == formulation]


def draw(axis: Any, rows: list[Row], colour: str, line: str, label: str | None) -> None:
    points = [row["batch"] for row in rows], [1e3 * row["seconds"] for row in rows]
    axis.plot(*points, line, color=colour, label=label, marker="o", markersize=2.5, linewidth=1.4)
