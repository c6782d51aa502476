"""ECCV Caption and CxC: retrieval on COCO where people looked for the matches that the data set does not know."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from vse_lightning.checks import require
from vse_lightning.functional.average_precision import average_precision_of_ranks, r_precision_of_ranks
from vse_lightning.functional.query_lists import check_cutoff
from vse_lightning.functional.recall import recall_of_ranks
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.by_reference import ByReference
from vse_lightning.metrics.exact_arithmetic import exact_arithmetic
from vse_lightning.metrics.extended_matches import MatchRanks, Side, rank_matches, read_matches
from vse_lightning.metrics.pair_scores import Similarity
from vse_lightning.metrics.protocol import EvaluationProtocol
from vse_lightning.metrics.state import STATES, checked_batch, gather_states


class QueryValues(NamedTuple):
    """The values of single queries."""

    ids: Tensor  # (Q,) of the queries, ascending
    values: Tensor  # (Q,)


class ECCVCaption(Metric):
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

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(
        self,
        recall_ks: Sequence[int] = (1, 5, 10),
        ground_truth: str | Path | None = None,
        similarity: Similarity | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for k in recall_ks:
            check_cutoff(k)
        self.recall_ks = tuple(recall_ks)
        self.protocol = EvaluationProtocol(chunk_size)
        self._similarity = ByReference(similarity or cosine_similarity)
        folder = _packaged_data() if ground_truth is None else Path(ground_truth).expanduser()
        self._matches = {
            (direction, benchmark): read_matches(folder / f"{benchmark}_{file}.json")
            for direction, file in (("i2t", "image_to_caption"), ("t2i", "caption_to_image"))
            for benchmark in ("eccv", "cxc")
        }
        self._image_ids = torch.tensor(sorted(self._matches["i2t", "cxc"]))
        self._text_ids = torch.from_numpy(np.load(folder / "coco_test_ids.npy", allow_pickle=False)).sort().values
        for state in STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(
        self, image_embeds: Tensor, text_embeds: Tensor, image_ids: Tensor, text_image_ids: Tensor, text_ids: Tensor
    ) -> None:
        """Add a batch, as to :class:`~vse_lightning.metrics.RetrievalMetric`, under the ids of COCO.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            image_ids: ``(N,)`` integers, the ``cocoid`` of a Karpathy split file.
            text_image_ids: ``(M,)`` likewise, of the image that each text describes.
            text_ids: ``(M,)`` integers, the ``sentid`` of a Karpathy split file.

        Raises:
            ValueError: if shapes, lengths or types are wrong or change, or an embedding is not finite.
        """
        batch = {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "image_ids": image_ids,
            "text_image_ids": text_image_ids,
            "text_ids": text_ids,
            "text_features": None,
        }
        for name, rows in checked_batch(batch, self._lists()).items():
            getattr(self, name).append(rows)

    def compute(self) -> dict[str, Tensor]:
        """The values over all that was seen, on all processes.

        Raises:
            ValueError: if an image or caption of the benchmark was not seen.
        """
        return {name: queries.values.double().mean().float() for name, queries in self._query_values().items()}

    def per_query(self) -> dict[str, QueryValues]:
        """What :meth:`compute` takes the means of, with the ids of the queries."""
        with self.sync_context(should_sync=self._to_sync):
            return self._query_values()

    def _query_values(self) -> dict[str, QueryValues]:
        images = self._side("image", self._image_ids)
        texts = self._side("text", self._text_ids)
        similarity = self._similarity.value
        values: dict[str, QueryValues] = {}
        with exact_arithmetic(images.embeds.device):
            for (direction, benchmark), matches in self._matches.items():
                queries, candidates = (images, texts) if direction == "i2t" else (texts, images)
                scored = similarity if direction == "i2t" else lambda texts, images: similarity(images, texts).T
                block = self.protocol.rows_per_block(len(candidates.ids))
                ranked = rank_matches(queries, candidates, scored, matches, max(1, *self.recall_ks), block)
                of_benchmark = _eccv(ranked) if benchmark == "eccv" else _recalls(ranked, self.recall_ks)
                for name, of_metric in of_benchmark.items():
                    values[f"{direction}_{benchmark}_{name}"] = QueryValues(ranked.query_ids, of_metric)
        return values

    def _side(self, name: str, wanted: Tensor) -> Side:
        """The images or texts of the benchmark, each once, among those seen."""
        seen, embeds = getattr(self, f"{name}_ids"), getattr(self, f"{name}_embeds")
        require(len(seen) > 0, "there is nothing to evaluate: update saw no {}", name)
        ordered, rows = dim_zero_cat(seen).sort(stable=True)
        wanted = wanted.to(ordered.device)
        places = torch.searchsorted(ordered, wanted).clamp(max=len(ordered) - 1)
        missing = wanted[ordered[places] != wanted].tolist()
        message = "{}_ids must be COCO ids, of all the {} {}s of the benchmark: update never saw {} of them, such as {}"
        require(not missing, message, name, len(wanted), name, len(missing), missing[:3])
        return Side(wanted, dim_zero_cat(embeds)[rows[places]])

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        def all_gather(tensor: Tensor) -> list[Tensor]:
            gathered: list[Tensor] = dist_sync_fn(tensor, group=process_group or self.process_group)
            return gathered

        for name, tensors in gather_states(self._lists(), all_gather, self.device).items():
            setattr(self, name, tensors)

    def _lists(self) -> dict[str, list[Tensor]]:
        return {state: getattr(self, state) for state in STATES}


def _eccv(ranked: MatchRanks) -> dict[str, Tensor]:
    return {
        "map_at_r": average_precision_of_ranks(ranked.ranks, ranked.counts),
        "r_precision": r_precision_of_ranks(ranked.ranks, ranked.counts),
        **_recalls(ranked, (1,)),
    }


def _recalls(ranked: MatchRanks, ks: Sequence[int]) -> dict[str, Tensor]:
    return {f"recall_at_{k}": recall_of_ranks(ranked.ranks, ranked.counts, ranked.num_candidates, k) for k in ks}


def _packaged_data() -> Path:
    found = importlib.util.find_spec("eccv_caption")  # importing it would warn of what it lacks
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "ECCVCaption needs the ground truth of the package eccv-caption: "
            'pip install "vse-lightning[eccv]", or give the folder of its data as ground_truth'
        )
    return Path(found.origin).parent / "data"
