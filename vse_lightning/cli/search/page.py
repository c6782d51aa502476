"""What was found, as a page with the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vse_lightning.cli.search.answers import Answer, Query
from vse_lightning.cli.search.index import SearchIndex
from vse_lightning.cli.search.ranking import Hit
from vse_lightning.pages.document import facts_list, html_document
from vse_lightning.pages.markup import Markup, element, join
from vse_lightning.pages.thumbnails import jpeg_of, picture_element, thumbnail

_TILES = "grid-template-columns: repeat(auto-fill, minmax(min(150px, 44%), 1fr))"


def search_page(answers: list[Answer], index: SearchIndex) -> str:
    """One HTML document without references, a card for each query."""
    facts: dict[str, object] = {
        "model": index.model,
        "checkpoint": Path(index.checkpoint).name,
        "searched": index.origin,
    }
    facts["pictures"] = f"{len(index.names):,}"
    if index.captions:
        facts["captions"] = f"{len(index.captions):,}"
    header = element("header", element("h1", "Search"), facts_list(facts), class_="top")
    cards = element("section", *(_card(answer, index) for answer in answers), id="queries")
    return html_document(
        "Search: " + ", ".join(answer.query.text for answer in answers), header, element("main", cards)
    )


def _card(answer: Answer, index: SearchIndex) -> Markup:
    if answer.find == "captions":
        found = _list("caption", _captions(answer.hits, index))
    elif index.thumbnail(answer.hits[0].row):
        found = element("ol", *_tiles(answer.hits, index), class_="tiles", style=_TILES)
    else:
        found = _list("image", ((_description(hit.row, index), hit.score) for hit in answer.hits))
    results = element("div", element("section", found, class_="result"), class_="results")
    return element("article", _asked(answer.query), results, class_=f"query {'i2t' if answer.query.picture else 't2i'}")


def _asked(query: Query) -> Markup:
    if query.picture is None:
        return element("div", element("blockquote", query.text), class_="ask")
    picture = picture_element(jpeg_of(thumbnail(query.picture)), query.text)
    return element("div", picture, element("p", query.text, class_="name"), class_="ask")


def _tiles(hits: Iterable[Hit], index: SearchIndex) -> Iterator[Markup]:
    for rank, (row, score) in enumerate(hits, start=1):
        hint = ": ".join([index.names[row], *index.captions_of(row)[:1]])
        picture = picture_element(index.thumbnail(row), hint)
        frame = element("div", picture, element("span", rank, class_="rank"), class_="frame")
        values = element("p", element("span", f"{score:z.3f}"), class_="values")
        yield element("li", frame, values, element("p", index.names[row], class_="name"))


def _captions(hits: Iterable[Hit], index: SearchIndex) -> Iterator[tuple[Markup, float]]:
    for row, score in hits:
        name = element("small", index.names[int(index.text_image_rows[row])])
        yield join(index.captions[row], " ", name), score


def _description(row: int, index: SearchIndex) -> Markup:
    return join(*index.captions_of(row)[:1], " ", element("small", index.names[row]))


def _list(what: str, shown: Iterable[tuple[Markup, float]]) -> Markup:
    heads = (("#", "rank"), (what, None), ("score", "number"))
    head = element("tr", *(element("th", text, scope="col", class_=kind) for text, kind in heads))
    rows = [
        element(
            "tr",
            element("td", rank, class_="rank"),
            element("td", content),
            element("td", f"{score:z.3f}", class_="number", data_label="score"),
        )
        for rank, (content, score) in enumerate(shown, start=1)
    ]
    return element("table", element("thead", head), element("tbody", *rows), class_="listed")
