"""One streaming pass over a gallery that ranks both directions for all metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead, count_at_least
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import Block, PairScores
from vse_lightning.ranking.reading import Reading
from vse_lightning.ranking.relevance_rows import RelevanceRows
from vse_lightning.ranking.running_lists import RunningLists


def rank_across(
    gallery: Gallery,
    pair_scores: PairScores,
    relevance_rows: RelevanceRows | None,
    readings: Mapping[Direction, Reading],
    processes: Processes,
) -> dict[Direction, Ranking]:
    """Rank all texts for each image, all images for each text, or both, in one pass over blocks of images.

    Args:
        gallery: what to rank.
        pair_scores: of the gallery.
        relevance_rows: of the gallery; needed where a reading is graded.
        readings: what to read in which direction.
        processes: that call this with the same arguments and share the blocks.

    Returns:
        A ranking for the queries of each direction of ``readings``: images with a text, or texts with an image.
    """
    images = _ImageQueries(gallery, readings["i2t"]) if "i2t" in readings else None
    texts = _TextQueries(gallery, readings["t2i"], pair_scores, processes) if "t2i" in readings else None
    graded = any(reading.graded for reading in readings.values())
    for block in progress(processes.share(pair_scores.blocks), processes):
        for rows, scores in pair_scores.score(block):
            relevance = None
            if graded and relevance_rows is not None:
                relevance = relevance_rows(rows).to(scores.dtype)
                own_rows, own_texts = own_pairs(gallery, rows)
                relevance[own_rows, own_texts] = 1
            if images is not None:
                images.add(rows, scores, relevance)
            if texts is not None:
                texts.add(rows, scores, relevance)
    rankings: dict[Direction, Ranking] = {}
    if images is not None:
        rankings["i2t"] = images.ranking(processes)
    if texts is not None:
        rankings["t2i"] = texts.ranking()
    return {direction: of_queries(ranking, gallery, direction) for direction, ranking in rankings.items()}


def of_queries(ranking: Ranking, gallery: Gallery, direction: Direction) -> Ranking:
    """The ranking without the candidates that are no queries."""
    queries = gallery.query_rows(direction)
    return ranking if len(queries) == len(ranking.num_positives) else ranking.select(queries)


def own_pairs(gallery: Gallery, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Index into a block of ``rows``, and text, of every pair of an image and one of its texts."""
    captions = gallery.captions_of_image[rows]
    index, slot = (captions >= 0).nonzero(as_tuple=True)
    return index, captions[index, slot]


class _ImageQueries:
    """Each block holds the whole candidate lists of its images."""

    def __init__(self, gallery: Gallery, reading: Reading) -> None:
        self._captions = gallery.captions_of_image
        self._reading = reading
        self._rows: list[Tensor] = []
        self._rankings: list[Ranking] = []

    def add(self, rows: Tensor, scores: Tensor, relevance: Tensor | None) -> None:
        ranking = Ranking.of(scores, relevance, listed=self._reading.listed, ideal=self._reading.ideal)
        if self._reading.positives:
            captions = self._captions[rows]
            present = captions >= 0
            own = scores.gather(1, captions.clamp(min=0)).masked_fill(~present, -torch.inf)
            own = own.sort(dim=1, descending=True).values
            num_positives = present.sum(dim=1)
            present = torch.arange(own.shape[1], device=own.device) < num_positives[:, None]
            ranking = ranking.with_positives(count_ahead(scores, own, present, self._reading.positives), num_positives)
        self._rows.append(rows)
        self._rankings.append(ranking)

    def ranking(self, processes: Processes) -> Ranking:
        return gather_queries(self._rankings, self._rows, processes)


class _TextQueries:
    """Each block holds some candidates of every text, and the positive of a few."""

    def __init__(self, gallery: Gallery, reading: Reading, pair_scores: PairScores, processes: Processes) -> None:
        self._gallery = gallery
        self._reading = reading
        self._pair_scores = pair_scores
        self._processes = processes
        self._lists = RunningLists(reading.listed, reading.ideal)
        if reading.positives:
            # A text's positive is needed before its block arrives. Scored beforehand it may differ in the last bit from
            # the score in the block, which counts.
            self._expected = self._positive_scores_beforehand()
            self._own = torch.full_like(self._expected, -torch.inf)
            self._at_least = torch.zeros_like(self._expected, dtype=torch.int64)

    def add(self, rows: Tensor, scores: Tensor, relevance: Tensor | None) -> None:
        if self._reading.positives:
            own_rows, own_texts = own_pairs(self._gallery, rows)
            self._own[own_texts] = scores[own_rows, own_texts]
            self._at_least += count_at_least(scores.T, self._expected[:, None])[:, 0]
        self._lists.add(rows, scores, relevance if self._reading.graded else None)

    def ranking(self) -> Ranking:
        ranking = self._lists.merge(_gather(self._lists.ranking(), self._processes))
        if not self._reading.positives:
            return ranking
        at_least = self._processes.sum(self._at_least)
        own = self._processes.largest(self._own)
        unexpected = (own != self._expected).nonzero()[:, 0]
        if len(unexpected):
            at_least[unexpected] = self._count_again(unexpected, own[unexpected])
        one = torch.ones_like(at_least)
        return ranking.with_positives((at_least - one)[:, None], one)

    def _positive_scores_beforehand(self) -> Tensor:
        scores = self._gallery.text_embeds.new_full((len(self._gallery.text_embeds),), -torch.inf)
        images = torch.arange(len(self._gallery.image_embeds), device=scores.device)
        for rows in self._processes.share(torch.tensor_split(images, max(1, len(images) // 64))):
            own_rows, own_texts = own_pairs(self._gallery, rows)
            if len(own_texts):
                scores[own_texts] = self._pair_scores.score_pairs(rows[own_rows], own_texts).to(scores.dtype)
        return self._processes.largest(scores)

    def _count_again(self, texts: Tensor, own: Tensor) -> Tensor:
        """Count in a second pass for ``texts`` whose positive scored differently than expected."""
        at_least = torch.zeros_like(texts)
        for block in self._processes.share(self._pair_scores.blocks):
            for _, scores in self._pair_scores.score(block):
                at_least += count_at_least(scores[:, texts].T, own[:, None])[:, 0]
        return self._processes.sum(at_least)


def gather_queries(rankings: Sequence[Ranking], rows: Sequence[Tensor], processes: Processes) -> Ranking:
    """One ranking of the queries that all processes have ranked, in the order of their ``rows``."""
    places = processes.gather(torch.cat(list(rows)))
    everyone = _gather(Ranking.concatenate(rankings), processes)
    return Ranking.concatenate(everyone).select(torch.cat(places).argsort())


def _gather(ranking: Ranking, processes: Processes) -> list[Ranking]:
    """The ranking that each process has, in rank order."""
    columns = zip(*map(processes.gather, ranking.columns().values()), strict=True)
    sizes = processes.gather_alike(torch.tensor(ranking.num_candidates, device=ranking.scores.device))
    return [Ranking(int(size), *parts) for size, parts in zip(sizes, columns, strict=True)]


def progress(blocks: Sequence[Block], processes: Processes) -> Iterable[Block]:
    """Show a bar on the first process if the pass takes longer than a few seconds."""
    bar: Iterable[Block] = tqdm(blocks, desc="Ranking", unit="block", delay=3, leave=False, disable=processes.rank > 0)
    return bar
