"""Plausible-match R-Precision: retrieval on COCO where pictures match that show the same kinds of objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_whole
from vse_lightning.functional._average_precision import r_precision_of_sorted
from vse_lightning.functional.directions import ACROSS
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._ground_truth import GroundTruthMetric, ValuesById, queries_first, sides_of
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.judged_matches import Side
from vse_lightning.ranking.pair_scores import PairScores
from vse_lightning.report import Display


class PMRP(GroundTruthMetric):
    """Plausible-match R-Precision, in both directions: ``i2t_pmrp`` and ``t2i_pmrp``.

    An image and a text match plausibly at distance d if the sets of object categories in the image, and in the image
    that the text describes, differ in at most d categories. R-Precision is the share of plausible matches among the R
    best candidates, R being their number; PMRP is its mean over the queries and over ``distances``. A tie never helps.
    Images without any annotated object, and their texts, are left out of queries and gallery, as in the released code.

    The authors of ECCV Caption report another measure by the same name: distance 0 only, of the first 50 candidates.
    They find it a noisy guide (its order of 25 models agrees with that of mAP@R at Kendall's tau 0.20): categories of
    objects say little of what a caption says. Use :class:`ECCVCaption` where you can.

    Args:
        annotations: ``instances_val2014.json`` of COCO, or a JSON object: image id -> list of category ids.
        distances: how many categories may differ.
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        chunk_size: queries scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        FileNotFoundError: if there are no such annotations.
        ValueError: if an argument is out of its range, or the file has another structure.

    References:
        Chun et al., "Probabilistic Embeddings for Cross-Modal Retrieval", CVPR 2021 (PCME), section 4.1; with the
        released ``evaluate_pmrp_coco.py``.
    """

    @typed
    def __init__(
        self,
        annotations: str | Path,
        distances: Sequence[int] = (0, 1, 2),
        similarity: Similarity | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(similarity, chunk_size, **kwargs)
        require(len(distances) > 0, "distances must name at least one")
        for distance in distances:
            require_whole("distances", distance, least=0)
        self.name, self.display_name = "pmrp", "PMRP"
        self.distances = tuple(distances)
        self._categories = _read_categories(Path(annotations).expanduser())

    @property
    def displays(self) -> dict[str, Display]:
        """How tables show the values, by their names."""
        return {f"{direction}_pmrp": Display("PMRP", direction) for direction in ACROSS}

    def _query_values(self, gallery: Gallery, similarity: Similarity) -> dict[str, ValuesById]:
        images, texts = self._annotated(gallery)
        with exact_arithmetic(images.side.ids.device):
            return {
                "i2t_pmrp": self._r_precision(queries_first(similarity, "i2t"), images, texts),
                "t2i_pmrp": self._r_precision(queries_first(similarity, "t2i"), texts, images),
            }

    def _r_precision(self, similarity: Similarity, queries: _Annotated, candidates: _Annotated) -> ValuesById:
        rows_per_block = self.protocol.rows_per_block(len(candidates.side.ids))
        pair_scores = PairScores(similarity, queries.side.embeds, candidates.side.embeds, rows_per_block)
        values = queries.shows.new_empty(len(queries.shows))
        for block in pair_scores.blocks:
            for rows, scores in pair_scores.score(block):
                shows = queries.shows[rows]
                shared = shows @ candidates.shows.T
                distance = shows.sum(dim=1, keepdim=True) + candidates.shows.sum(dim=1) - 2 * shared
                ordered = scores.sort(dim=1, descending=True).values
                precisions = [r_precision_of_sorted(scores, distance <= most, ordered) for most in self.distances]
                values[rows] = torch.stack(precisions).mean(dim=0).to(values.dtype)
        return ValuesById(queries.side.ids, values)

    def _annotated(self, gallery: Gallery) -> tuple[_Annotated, _Annotated]:
        """The images with an annotated object, and their texts."""
        images, texts = sides_of(gallery, self)
        kept = torch.tensor([image in self._categories for image in images.ids.tolist()], device=images.ids.device)
        message = "image_ids must be ids of the annotations, got none of them, such as {}"
        require(bool(kept.any()), message, images.ids[:3].tolist())
        image_row = gallery.image_of_text
        shows = self._shows(images.ids[kept])
        row_of_kept = kept.cumsum(0) - 1
        kept_texts = kept[image_row] & (image_row >= 0)
        require(bool(kept_texts.any()), "text_image_ids must name an image with annotations, got none")
        return (
            _Annotated(Side(images.ids[kept], images.embeds[kept]), shows),
            _Annotated(
                Side(texts.ids[kept_texts], texts.embeds[kept_texts]), shows[row_of_kept[image_row[kept_texts]]]
            ),
        )

    def _shows(self, image_ids: Tensor) -> Tensor:
        of_images = [self._categories[image] for image in image_ids.tolist()]
        column_of = {category: column for column, category in enumerate(sorted(set().union(*of_images)))}
        shows = torch.zeros(len(of_images), len(column_of), device=image_ids.device)
        for row, categories in enumerate(of_images):
            shows[row, [column_of[category] for category in categories]] = 1
        return shows


class _Annotated(NamedTuple):
    """Queries or candidates with the categories of their images."""

    side: Side
    shows: Tensor  # (C, number of categories) 0 or 1


def _read_categories(path: Path) -> dict[int, set[int]]:
    """The categories of each image that has any."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found: dict[int, set[int]] = {}
        if "annotations" in content:
            for instance in content["annotations"]:
                found.setdefault(int(instance["image_id"]), set()).add(int(instance["category_id"]))
            return found
        return {
            int(image): {int(category) for category in categories}
            for image, categories in content.items()
            if categories
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"annotations must be COCO instances, or a JSON object image id -> category ids, got {path} "
            f"({type(error).__name__}: {error})"
        ) from error
