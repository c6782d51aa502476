"""Pictures for loggers that take pictures: what captions retrieve, and relevance by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vse_lightning.pages.items import Items
from vse_lightning.pages.ranked_queries import RankedQueries
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS

if TYPE_CHECKING:
    from PIL.Image import Image

_TILE, _LINE, _GAP = 112, 22, 8
_CHART = (360, 240)
_RELEVANT, _INK, _FAINT, _PAPER = (13, 128, 118), (25, 30, 41), (150, 158, 170), (255, 255, 255)


def log_pictures(loggers: Sequence[Any], pictures: Mapping[str, Image], step: int) -> None:
    """Hand the pictures to TensorBoard and W&B (or what has their methods); other loggers are passed over."""
    for logger in loggers:
        for name, picture in pictures.items():
            if hasattr(logger, "log_image"):
                logger.log_image(key=name, images=[picture], step=step)
            elif hasattr(logger.experiment, "add_image"):
                logger.experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")


def pictures_of(run: RankedRun, rows: Sequence[int], items: Items) -> dict[str, Image]:
    """The curves and, where the source has pictures, what the captions in ``rows`` retrieved, by name to log."""
    pictures = {f"{run.stage}/relevance_by_rank": _curves(run)}
    sheet = _sheet(run.directions["t2i"], rows, items)
    return pictures if sheet is None else {**pictures, f"{run.stage}/retrieved_images": sheet}


def _sheet(ranked: RankedQueries, rows: Sequence[int], items: Items) -> Image | None:
    """A row for each caption: its candidates from the best, framed by relevance, ``match`` below those that match."""
    from PIL import Image, ImageDraw

    height = _TILE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (ranked.candidate_ids.shape[1] * (_TILE + _GAP) + _GAP, len(rows) * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        top = place * height + _GAP
        draw.text((_GAP, top), items.caption(int(ranked.query_ids[row])), fill=_INK, font_size=14)
        for rank, image_id in enumerate(ranked.candidate_ids[row].tolist()):
            thumbnail = items.thumbnail(image_id)
            if thumbnail is None:
                return None
            relevance, left = float(ranked.relevance[row, rank]), _GAP + rank * (_TILE + _GAP)
            box = (left, top + _LINE, left + _TILE, top + _LINE + _TILE)
            draw.rectangle(box, fill=_tint(relevance))
            thumbnail.thumbnail((_TILE - 10, _TILE - 10))
            sheet.paste(thumbnail, (left + (_TILE - thumbnail.width) // 2, box[1] + (_TILE - thumbnail.height) // 2))
            said = f"{relevance:.2f}" + (" match" if ranked.positives[row, rank] else "")
            draw.text((left, box[3] + 2), said, fill=_INK, font_size=13)
    return sheet


def _tint(relevance: float) -> tuple[int, ...]:
    return tuple(round(paper + (full - paper) * relevance) for paper, full in zip(_PAPER, _RELEVANT, strict=True))


def _curves(run: RankedRun) -> Image:
    """Mean relevance by rank, the ideal in grey; the directions side by side."""
    from PIL import Image, ImageDraw

    width, height = _CHART
    picture = Image.new("RGB", (2 * width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    for left, (direction, ranked) in zip((0, width), run.directions.items(), strict=True):
        name = DIRECTIONS[direction]
        draw.text((left + 40, 8), f"{name.replace('→', 'to')}: relevance by rank", fill=_INK, font_size=14)
        for value in (0.0, 0.5, 1.0):
            y = _y(value)
            draw.line((left + 40, y, left + width - 20, y), fill=_FAINT)
            draw.text((left + 10, y - 8), f"{value:g}", fill=_INK, font_size=13)
        draw.line(_line(ranked.ideal, left), fill=_FAINT, width=2)
        draw.line(_line(ranked.curve, left), fill=_RELEVANT, width=3)
        draw.text((left + 40, height - 24), f"1 to {len(ranked.curve)}, logarithmic", fill=_INK, font_size=13)
    return picture


def _y(value: float) -> float:
    return _CHART[1] - 34 - value * (_CHART[1] - 74)


def _line(values: Tensor, left: int) -> list[tuple[float, float]]:
    scale = (_CHART[0] - 60) / max(log(len(values)), 1e-9)
    return [(left + 40 + scale * log(rank), _y(value)) for rank, value in enumerate(values.tolist(), start=1)]
