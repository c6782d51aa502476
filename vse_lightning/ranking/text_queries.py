"""Texts that rank images while blocks of images arrive, so that one product of the pairs serves both directions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional._ranks import count_at_least
from vse_lightning.functional.ranking import Ranking
from vse_lightning.ranking.candidate_lists import CandidateLists, pairs, without
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores
from vse_lightning.ranking.reading import Reading
from vse_lightning.ranking.running_lists import RunningLists


class TextQueries:
    """Each block holds some candidates of every text, and the positive of a few.

    Args:
        gallery: what to rank.
        reading: what to read; not the whole list.
        pair_scores: of images and texts.
        processes: that share the blocks.
    """

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

    def add(self, images: CandidateLists) -> None:
        """Add images as candidates."""
        scores, relevance = images.scores, images.relevance if self._reading.graded else None
        own = pairs(images.positives)
        if self._reading.positives:
            self._own[own[1]] = scores[own]
            self._at_least += count_at_least(scores.T, self._expected[:, None])[:, 0]
        if self._reading.exclude_positives:
            scores, relevance = without(scores, relevance, [own])
        self._lists.add(images.queries, scores, relevance)

    def ranking(self) -> Ranking:
        """Of all texts, once all processes have added their images."""
        parts = zip(*map(self._processes.gather, vars(self._lists.ranking()).values()), strict=True)
        ranking = self._lists.merge([Ranking(*columns) for columns in parts])
        matched = (self._gallery.image_of_text >= 0).long()
        left_out = matched * self._reading.exclude_positives
        ranking = replace(ranking, num_positives=matched, num_candidates=ranking.num_candidates - left_out)
        if not self._reading.positives:
            return ranking
        at_least = self._processes.sum(self._at_least)
        own = self._processes.largest(self._own)
        unexpected = (own != self._expected).nonzero()[:, 0]
        if len(unexpected):
            at_least[unexpected] = self._count_again(unexpected, own[unexpected])
        return replace(ranking, ahead=(at_least - 1)[:, None], alongside=torch.ones_like(at_least)[:, None])

    def _positive_scores_beforehand(self) -> Tensor:
        scores = self._gallery.text_embeds.new_full((len(self._gallery.text_embeds),), -torch.inf)
        images = torch.arange(len(self._gallery.image_embeds), device=scores.device)
        for rows in self._processes.share(torch.tensor_split(images, max(1, len(images) // 64))):
            row, text = pairs(self._gallery.captions_of_image[rows])
            if len(text):
                scores[text] = self._pair_scores.score_pairs(rows[row], text).to(scores.dtype)
        return self._processes.largest(scores)

    def _count_again(self, texts: Tensor, own: Tensor) -> Tensor:
        """Count in a second pass for ``texts`` whose positive scored differently than expected."""
        at_least = torch.zeros_like(texts)
        for block in self._processes.share(self._pair_scores.blocks):
            for _, scores in self._pair_scores.score(block):
                at_least += count_at_least(scores[:, texts].T, own[:, None])[:, 0]
        return self._processes.sum(at_least)
