"""Queries, and what is found for them: all that is indexed is ranked, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.search.encoding import embed_texts, encode, prepare
from vse_lightning.cli.search.index_file import SearchIndex
from vse_lightning.data.files.decoding import decode_rgb
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.functional.top_k import top_k
from vse_lightning.mixins.batch.step import uses_cosine
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages import render
from vse_lightning.paths import existing_path
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic

if TYPE_CHECKING:
    from PIL.Image import Image

Find = Literal["images", "captions"]
_ROWS_AT_A_TIME = 16_384

Score = Callable[[Tensor, Tensor], Tensor]
"""Maps queries ``(Q, D)`` and candidates ``(B, D)`` to scores ``(Q, B)``, higher is closer."""


class Query(NamedTuple):
    """A text, or a picture with the name of its file."""

    text: str
    picture: Image | None = None


class Hit(NamedTuple):
    """A candidate that was found."""

    row: int
    score: float


class Answer(NamedTuple):
    """What was found for a query, the best first."""

    query: Query
    find: Find
    hits: list[Hit]


def read_queries(texts: Sequence[str], pictures: Sequence[str]) -> list[Query]:
    """The queries of a command line.

    Raises:
        FileNotFoundError: there is no such picture.
        ValueError: a text is empty, or a file is no picture that can be read.
    """
    for text in texts:
        require(bool(text.strip()), "--text must not be empty, got {!r}", text)
    return [*(Query(text) for text in texts), *(Query(Path(path).name, _read(path)) for path in pictures)]


def answer(model: Retriever, index: SearchIndex, queries: list[Query], find: Find | None, count: int) -> list[Answer]:
    """Look every query up.

    Args:
        model: the one that made the index.
        index: where to look.
        queries: what to look for, texts before pictures.
        find: what to rank; default: images for a text, captions for a picture if there are any.
        count: how many to list for each query.

    Raises:
        ValueError: no captions are indexed, or the model cannot compare what is asked for.
    """
    require(find != "captions" or bool(index.captions), "--find captions needs captions, got an index without any")
    texts = [query for query in queries if query.picture is None]
    pictures = [query for query in queries if query.picture is not None]
    answers = []
    for some, by_text in ((texts, True), (pictures, False)):
        if some:
            wanted = find or ("images" if by_text or not index.captions else "captions")
            score = scoring(model, by_text=by_text, find_images=wanted == "images")
            embeds = _embed(model, some, by_text=by_text).to(model.device)
            candidates = index.image_embeds if wanted == "images" else index.text_embeds
            ranked = rank(score, embeds, candidates, count)
            answers += [Answer(query, wanted, hits) for query, hits in zip(some, ranked, strict=True)]
    return answers


def search_page(answers: list[Answer], index: SearchIndex) -> str:
    """One HTML document without references, a card for each query."""
    facts = {"model": index.model, "checkpoint": Path(index.checkpoint).name, "searched": index.origin}
    facts["pictures"] = f"{len(index.names):,}"
    if index.captions:
        facts["captions"] = f"{len(index.captions):,}"
    return render("search.html", title="Search", facts=facts, answers=answers, index=index)


def rank(score: Score, queries: Tensor, candidates: Tensor, count: int) -> list[list[Hit]]:
    """The best candidates of each query, the best first, ties in the order of the candidates.

    Every candidate is scored, so many at a time; candidates may be mapped from disk. For a command that reads its
    candidates once this takes less time than to build an index of faiss and search it, however exact.

    Args:
        score: of queries and candidates.
        queries: ``(Q, D)``, on the device that computes.
        candidates: ``(C, D)``.
        count: how many to list; more than C means all.

    Raises:
        ValueError: a score is NaN.
    """
    scores, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    rows = rows.to(queries.device)
    for start in range(0, len(candidates), _ROWS_AT_A_TIME):
        some = candidates[start : start + _ROWS_AT_A_TIME].to(queries.device)
        with exact_arithmetic(queries.device):
            found = score(queries, some).to(scores.dtype)
        require(not bool(found.isnan().any()), "similarity must give numbers, got NaN")
        places = torch.arange(start, start + len(some), device=rows.device).expand(len(queries), -1)
        # What is listed already comes first, so that ties stay in order.
        scores, rows = torch.cat([scores, found], dim=1), torch.cat([rows, places], dim=1)
        best = top_k(scores, count).indices
        scores, rows = scores.gather(1, best), rows.gather(1, best)
    return [
        [Hit(*hit) for hit in zip(*lists, strict=True)] for lists in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def scoring(model: Retriever, *, by_text: bool, find_images: bool) -> Score:
    """How queries are compared with candidates.

    The model's own similarity compares pictures with texts; two pictures, or two texts, are compared by the cosine
    where that is the model's similarity too.

    Raises:
        ValueError: the model's similarity is another, and cannot compare like with like.
    """
    if by_text and find_images:
        return lambda queries, candidates: model.retrieval_similarity(candidates, queries).T
    if not by_text and not find_images:
        return lambda queries, candidates: model.retrieval_similarity(queries, candidates)
    what = "a text with captions" if by_text else "a picture with images"
    other = "images" if by_text else "captions"
    message = "--find must be {}: {} has a similarity of its own, of pictures with texts, so it cannot compare {}"
    require(uses_cosine(model), message, other, type(model).__name__, what)
    return cosine_similarity


def _embed(model: Retriever, queries: list[Query], *, by_text: bool) -> Tensor:
    if by_text:
        return embed_texts(model, [query.text for query in queries], batch_size=len(queries))
    transform = model.image_transform(train=False)
    prepared = torch.stack([prepare(query.picture, transform) for query in queries])
    return encode(model.encode_images, prepared, model.device)


def _read(path: str) -> Image:
    with existing_path("--image", path).open("rb") as file:
        return decode_rgb(file, f"--image {path}")
