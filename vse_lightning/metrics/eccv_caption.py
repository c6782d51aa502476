"""ECCV Caption and CxC: retrieval on COCO where people looked for the matches that the data set does not know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_whole
from vse_lightning.functional._average_precision import average_precision_of_ranks, r_precision_of_ranks
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.functional.recall import recall_of_ranks
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._ground_truth import GroundTruthMetric, ValuesById, queries_first, sides_of
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.judged_matches import Matches, MatchRanks, Side, rank_matches
from vse_lightning.report import Display


class ECCVCaption(GroundTruthMetric):
    """mAP@R, R-Precision and R@1 on ECCV Caption, and the recalls of CxC, on the 5,000 test images of COCO.

    Both know more matches than a caption's own image. ECCV Caption asks for 1,261 images and 1,332 captions, with 18
    and 8 matches on average that five models proposed and people judged; CxC adds the pairs that people rated as
    similar, for all images and 24,972 captions. The gallery is that of the benchmark, the first five captions of each
    image; whatever else was seen is left out.

    The values are ``{direction}_eccv_map_at_r``, ``{direction}_eccv_r_precision``, ``{direction}_eccv_recall_at_1`` and
    ``{direction}_cxc_recall_at_{k}``, as :func:`~vse_lightning.functional.average_precision_at_r`,
    :func:`~vse_lightning.functional.r_precision` and :func:`~vse_lightning.functional.recall_at_k` define them; R
    counts all matches, also the two captions that are not in the gallery. A tie never helps; where nothing ties, the
    values are those of the ``eccv-caption`` package.

    Models from 2018 to 2021 proposed the matches to be judged: what only a newer model finds counts as wrong.

    Args:
        recall_ks: cut-offs of the recalls on CxC.
        ground_truth: folder with the data files of ``eccv-caption``; default: those of the installed package
            (``pip install "vse-lightning[eccv]"``).
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        chunk_size: queries scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ModuleNotFoundError: if there is neither ``ground_truth`` nor the package.
        FileNotFoundError: if the folder lacks a file.
        ValueError: if an argument is out of its range, or a file has another structure.

    References:
        Chun et al., "ECCV Caption: Correcting False Negatives by Collecting Machine-and-Human-verified Image-Caption
        Associations for MS-COCO", ECCV 2022; Parekh et al., "Crisscrossed Captions: Extended Intramodal and Intermodal
        Semantic Similarity Judgments for MS-COCO", EACL 2021 (CxC).
    """

    @typed
    def __init__(
        self,
        recall_ks: Sequence[int] = (1, 5, 10),
        ground_truth: str | Path | None = None,
        similarity: Similarity | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(similarity, chunk_size, **kwargs)
        for k in recall_ks:
            require_whole("k", k)
        self.name, self.display_name = "eccv_caption", "ECCV Caption"
        self.recall_ks = tuple(recall_ks)
        folder = _packaged_data() if ground_truth is None else Path(ground_truth).expanduser()
        files: dict[Direction, str] = {"i2t": "image_to_caption", "t2i": "caption_to_image"}
        self._matches = {
            (direction, benchmark): _read_matches(folder / f"{benchmark}_{file}.json")
            for direction, file in files.items()
            for benchmark in ("eccv", "cxc")
        }
        self._image_ids = torch.tensor(sorted(self._matches["i2t", "cxc"]))
        self._text_ids = torch.from_numpy(np.load(folder / "coco_test_ids.npy", allow_pickle=False)).sort().values

    @property
    def displays(self) -> dict[str, Display]:
        """How tables show the values, by their names."""
        eccv = {"eccv_map_at_r": "ECCV mAP@R", "eccv_r_precision": "ECCV R-Precision", "eccv_recall_at_1": "ECCV R@1"}
        cxc = {f"cxc_recall_at_{k}": f"CxC R@{k}" for k in self.recall_ks}
        return {
            f"{direction}_{name}": Display(shown, direction, percent="recall" in name)
            for direction in ACROSS
            for name, shown in {**eccv, **cxc}.items()
        }

    def _query_values(self, gallery: Gallery, similarity: Similarity) -> dict[str, ValuesById]:
        images, texts = sides_of(gallery, self)
        images, texts = _wanted("image", images, self._image_ids), _wanted("text", texts, self._text_ids)
        values: dict[str, ValuesById] = {}
        with exact_arithmetic(images.embeds.device):
            for (direction, benchmark), matches in self._matches.items():
                queries, candidates = (images, texts) if direction == "i2t" else (texts, images)
                scored = queries_first(similarity, direction)
                block = self.protocol.rows_per_block(len(candidates.ids))
                ranked = rank_matches(queries, candidates, scored, matches, block)
                of_benchmark = _eccv(ranked) if benchmark == "eccv" else _recalls(ranked, self.recall_ks)
                for name, of_metric in of_benchmark.items():
                    values[f"{direction}_{benchmark}_{name}"] = ValuesById(ranked.query_ids, of_metric)
        return values


def _read_matches(path: Path) -> Matches:
    """Read a JSON object that maps the id of each query to a list of ids.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(query): sorted({int(match) for match in matches}) for query, matches in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must be a JSON object, query id -> list of matching ids ({error})") from error


def _wanted(name: Literal["image", "text"], seen: Side, wanted: Tensor) -> Side:
    """The images or texts of the benchmark among those seen."""
    wanted = wanted.to(seen.ids.device)
    places = torch.searchsorted(seen.ids, wanted).clamp(max=len(seen.ids) - 1)
    missing = wanted[seen.ids[places] != wanted].tolist()
    message = "{}_ids must be COCO ids, of all the {} {}s of the benchmark: update never saw {} of them, such as {}"
    require(not missing, message, name, len(wanted), name, len(missing), missing[:3])
    return Side(wanted, seen.embeds[places])


def _eccv(ranked: MatchRanks) -> dict[str, Tensor]:
    return {
        "map_at_r": average_precision_of_ranks(ranked.ranks, ranked.counts),
        "r_precision": r_precision_of_ranks(ranked.ranks, ranked.counts),
        **_recalls(ranked, (1,)),
    }


def _recalls(ranked: MatchRanks, ks: Sequence[int]) -> dict[str, Tensor]:
    return {f"recall_at_{k}": recall_of_ranks(ranked.ranks, ranked.counts, k) for k in ks}


def _packaged_data() -> Path:
    require_extra("ECCVCaption without the folder ground_truth", "eccv", "eccv_caption")
    package: Any = find_spec("eccv_caption")  # importing it would warn of what it lacks
    return Path(package.origin).parent / "data"
