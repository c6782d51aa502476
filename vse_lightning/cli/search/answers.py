"""Queries, and what is found for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.search.embedding import embed_texts, encode, prepare
from vse_lightning.cli.search.index import SearchIndex
from vse_lightning.cli.search.ranking import Hit, rank, scoring
from vse_lightning.data.files.decoding import decode_rgb
from vse_lightning.data.files.paths import existing_path
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages import render

if TYPE_CHECKING:
    from PIL.Image import Image

Find = Literal["images", "captions"]


class Query(NamedTuple):
    """A text, or a picture with the name of its file."""

    text: str
    picture: Image | None = None


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


def _embed(model: Retriever, queries: list[Query], *, by_text: bool) -> Tensor:
    if by_text:
        return embed_texts(model, [query.text for query in queries], batch_size=len(queries))
    transform = model.image_transform(train=False)
    prepared = torch.stack([prepare(query.picture, transform) for query in queries])
    return encode(model.encode_images, prepared, model.device)


def _read(path: str) -> Image:
    with existing_path("--image", path).open("rb") as file:
        return decode_rgb(file, f"--image {path}")
