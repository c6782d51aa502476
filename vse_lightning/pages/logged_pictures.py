"""Pictures for loggers that take pictures: what captions retrieve, and relevance by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from vse_lightning.metrics.relevance_by_rank import RelevanceByRank, draw
from vse_lightning.pages.items import Items
from vse_lightning.pages.ranked_run import RankedQueries, RankedRun

if TYPE_CHECKING:
    from PIL.Image import Image

_TILE, _LINE, _GAP = 112, 22, 8
_RELEVANT, _INK, _PAPER = (13, 128, 118), (25, 30, 41), (255, 255, 255)


def log_pictures(
    loggers: Sequence[Any], run: RankedRun, selected: Mapping[str, Sequence[int]], items: Items, step: int
) -> None:
    """Hand pictures to TensorBoard and W&B (or what has their methods); other loggers are passed over.

    They are the curves of the run, where matplotlib is installed, and what the ``"sampled"`` of the selected captions
    retrieved, where there are pictures.
    """
    taking = [logger for logger in loggers if hasattr(logger, "log_image") or hasattr(logger.experiment, "add_image")]
    if not taking:
        return
    made = {"relevance_by_rank": _curves(run)}
    made["retrieved_images"] = _sheet(run.directions["t2i"], selected["sampled"], items)
    for name, picture in made.items():
        for logger in taking if picture is not None else ():
            if hasattr(logger, "log_image"):
                logger.log_image(key=f"{run.stage}/{name}", images=[picture], step=step)
            else:
                logger.experiment.add_image(f"{run.stage}/{name}", np.asarray(picture), step, dataformats="HWC")


def _curves(run: RankedRun) -> Image | None:
    """Mean relevance by rank against the ideal, the directions side by side."""
    if find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure
    from PIL import Image

    figure, png = Figure(figsize=(9, 3.4), layout="constrained"), BytesIO()
    curves = {direction: RelevanceByRank(ranked.curve, ranked.ideal) for direction, ranked in run.directions.items()}
    draw(curves, run.label, list(figure.subplots(1, len(curves))))
    figure.savefig(png, format="png")
    return Image.open(png).convert("RGB")


def _sheet(ranked: RankedQueries, rows: Sequence[int], items: Items) -> Image | None:
    """A row for each caption: its candidates from the best, framed by relevance, ``match`` below those that match."""
    from PIL import Image, ImageDraw

    height = _TILE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (ranked.candidate_ids.shape[1] * (_TILE + _GAP) + _GAP, len(rows) * height + _GAP), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        top = place * height + _GAP
        canvas.text((_GAP, top), items.caption(int(ranked.query_ids[row])), fill=_INK, font_size=14)
        for rank, candidate in enumerate(ranked.candidates(row)):
            picture = items.picture(candidate.item_id)
            if picture is None:
                return None
            left = _GAP + rank * (_TILE + _GAP)
            box = (left, top + _LINE, left + _TILE, top + _LINE + _TILE)
            canvas.rectangle(box, fill=_tint(candidate.relevance))
            picture.thumbnail((_TILE - 10, _TILE - 10))
            sheet.paste(picture, (left + (_TILE - picture.width) // 2, box[1] + (_TILE - picture.height) // 2))
            said = f"{candidate.relevance:.2f}" + (" match" if candidate.positive else "")
            canvas.text((left, box[3] + 2), said, fill=_INK, font_size=13)
    return sheet


def _tint(relevance: float) -> tuple[int, ...]:
    return tuple(round(paper + (full - paper) * relevance) for paper, full in zip(_PAPER, _RELEVANT, strict=True))
