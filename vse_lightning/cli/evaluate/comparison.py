"""Models side by side: intervals, tests against the first model, a table and a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vse_lightning.checks import require, require_whole
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.label_sources import Labels
from vse_lightning.cli.evaluate.measuring import Measurement, gallery_state
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.functional.significance import bootstrap_interval, paired_randomization_test
from vse_lightning.pages.evaluation_page import Result, evaluation_page
from vse_lightning.pages.items import Items
from vse_lightning.pages.ranked_queries import rank_queries
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.report import DIRECTIONS, Baselines, print_line, printable, table_rows

_LISTED, _DEPTH = 5, 100  # of the queries of a page: candidates, and ranks of curves


@dataclass(frozen=True)
class Resampling:
    """How intervals and tests are made."""

    confidence: float | None = None  # of the intervals; None: no intervals
    level: float = 0.05  # p-values below it get a star
    resamples: int = 10_000  # for each interval and each test
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("confidence", self.confidence), ("level", self.level)):
            require(share is None or 0 < share < 1, "{} must lie between 0 and 1, got {}", name, share)
        require_whole("resamples", self.resamples)
        require_whole("seed", self.seed, least=0)


def compare(models: Mapping[str, Mapping[str, Measurement]], resampling: Resampling) -> dict[str, dict[str, Result]]:
    """Add intervals and tests to the measurements of each model, by model and metric."""
    first = next(iter(models.values()))
    return {
        model: {name: _result(found, None if of is first else first[name], resampling) for name, found in of.items()}
        for model, of in models.items()
    }


def _result(found: Measurement, reference: Measurement | None, resampling: Resampling) -> Result:
    if not found.is_mean:
        return Result(found.value, found.display)
    draws: dict[str, Any] = {"resamples": resampling.resamples, "seed": resampling.seed}
    interval = p_value = None
    if resampling.confidence is not None:
        interval = bootstrap_interval(found.per_query, found.images or None, confidence=resampling.confidence, **draws)
    if reference is not None:
        p_value = paired_randomization_test(reference.per_query, found.per_query, found.images or None, **draws)
    return Result(found.value, found.display, interval, p_value)


def notes_on_reading(models: Sequence[str], baselines: Baselines, resampling: Resampling) -> list[str]:
    """What intervals, stars and columns mean."""
    draws = f"{resampling.resamples:,} resamples, seed {resampling.seed}"
    notes = []
    if resampling.confidence is not None:
        notes.append(f"[low, high]: {100 * resampling.confidence:g} % bootstrap interval, {draws}")
    if len(models) > 1:
        star = f"p < {resampling.level:g} in a paired randomisation test"
        notes.append(f"*: differs from {models[0]}, {star}, {draws}")
    if baselines:
        notes.append("random, ideal: what random scores, and the labels themselves as scores, get on the same gallery")
    return notes


def print_comparison(
    results: Mapping[str, Mapping[str, Result]], baselines: Baselines, level: float, notes: Sequence[str]
) -> None:
    """Print a column for each model and, where there are labels, for random and ideal scores; notes below."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("metric")
    for model in (*results, *baselines):
        table.add_column(escape(printable(model)), justify="right")
    first = next(iter(results.values()))
    rows = table_rows(first, {name: result.display for name, result in first.items()})
    for direction, title in {**DIRECTIONS, "": ""}.items():
        table.add_section()
        of_section = [row for row in rows if direction in row.names]
        if title and of_section:
            table.add_row(title, style="bold")
        for row in of_section:
            name, show = row.names[direction], row.display.shown
            cells = [_cell(of_model[name], level) for of_model in results.values()]
            bounds = [show(of_kind[name]) if name in of_kind else "" for of_kind in baselines.values()]
            table.add_row(escape(printable(row.label)), *cells, *bounds)
    Console(soft_wrap=True).print(table)
    for note in notes:
        print_line(note)


def _cell(result: Result, level: float) -> str:
    shown = result.display.shown(result.value)
    if result.interval is not None:
        low, high = (result.display.shown(end).removesuffix(" %") for end in result.interval)
        shown += f" [{low}, {high}]"
    if result.p_value is not None:
        shown += " *" if result.p_value < level else "  "
    return shown


def result_page(
    results: Mapping[str, Mapping[str, Result]],
    baselines: Baselines,
    outputs: Sequence[ModelOutput],
    captions: Captions,
    labels: Mapping[str, Labels],
    protocol: EvaluationProtocol,
    *,
    level: float,
    notes: Sequence[str],
) -> str:
    """The page, for whose curves and lists the models are ranked once more.

    These are under the first labels or, without any, show matches.
    """
    table = next((source.table for source in labels.values()), None)
    runs = []
    for model in outputs:
        directions, label = rank_queries(
            Gallery.from_state(gallery_state(model, captions)),
            table,
            similarity=model.similarity,
            protocol=protocol,
            top_k=_LISTED,
            depth=_DEPTH,
        )
        runs.append(RankedRun(model.name, "test", label, {}, {}, _LISTED, _DEPTH, directions))
    if protocol.folds > 1:
        notes = [*notes, "curves and lists rank all images and captions"]
    items = Items(captions.texts, captions.text_image_ids)
    return evaluation_page(results, notes=notes, level=level, baselines=baselines, runs=runs, items=items)
