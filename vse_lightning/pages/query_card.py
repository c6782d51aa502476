"""One query with what each run retrieved for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vse_lightning.functional.directions import Direction
from vse_lightning.pages.items import Items
from vse_lightning.pages.markup import Markup, element
from vse_lightning.pages.ranked_run import RankedRun

MATCH = element("b", "✓ match", class_="badge")
_BAR = element("span", class_="bar")


class _Candidate(NamedTuple):
    item_id: int
    relevance: float
    score: float
    positive: bool


def query_card(row: int, direction: Direction, runs: dict[str, RankedRun], items: Items) -> Markup:
    """A card for one query.

    Args:
        row: of the query in ``directions[direction]`` of every run.
        direction: ``"i2t"`` for a picture that ranks captions, ``"t2i"`` for a caption that ranks pictures.
        runs: by their letter.
        items: pictures and captions.
    """
    query = _picture_query if direction == "i2t" else _caption_query
    results = [_results(row, direction, letter, runs, items) for letter in runs]
    ranked = next(iter(runs.values())).directions[direction]
    shown = query(int(ranked.query_ids[row]), int(ranked.query_image_ids[row]), items)
    return element("article", shown, element("div", *results, class_="results"), class_=f"query {direction}")


def _picture_query(_: int, image_id: int, items: Items) -> Markup:
    picture = items.image(image_id)
    if picture is None:
        return element("div", items.description(image_id), class_="ask")
    own = element("ul", *(element("li", caption) for caption in items.captions_of(image_id)))
    name = element("p", items.name(image_id), class_="name")
    return element("div", picture, name, element("details", element("summary", "its captions"), own), class_="ask")


def _caption_query(text_id: int, image_id: int, items: Items) -> Markup:
    picture, caption = items.image(image_id), element("blockquote", items.caption(text_id))
    if picture is None:
        return element("div", caption, element("p", f"of {items.name(image_id)}", class_="name"))
    target = element("figure", picture, element("figcaption", "its picture"), class_="target")
    return element("div", target, caption, class_="ask")


def _results(row: int, direction: Direction, letter: str, runs: dict[str, RankedRun], items: Items) -> Markup:
    run = runs[letter]
    ranked = run.directions[direction]
    facts = {
        "match rank": f"{int(ranked.best_ranks[row]):,}",
        f"NDCG@{run.top_k}": f"{float(ranked.ndcg[row]):z.2f}",
        f"τ@{run.depth}": f"{float(ranked.tau[row]):z.2f}",
    }
    scores = element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts.items())
    )
    columns = ranked.candidate_ids, ranked.relevance, ranked.scores, ranked.positives
    candidates = [_Candidate(*values) for values in zip(*(column[row].tolist() for column in columns), strict=True)]
    if direction == "i2t":
        listed = _table(candidates, "caption", items.caption)
    elif items.image(candidates[0].item_id) is None:
        listed = _table(candidates, "image", items.description)
    else:
        listed = _tiles(candidates, items)
    heading = [run_name(letter, run)] if len(runs) > 1 else []
    return element("section", element("header", *heading, scores), listed, class_="result")


def run_name(letter: str, run: RankedRun) -> Markup:
    """Letter and name of a run."""
    return element("span", element("b", letter, class_=f"run {letter}"), run.name, class_="run-name")


def _table(candidates: Sequence[_Candidate], what: str, show: Callable[[int], str]) -> Markup:
    heads = (("#", "rank"), (what, None), ("relevance", "number"), ("score", "number"))
    head = element("tr", *(element("th", text, scope="col", class_=kind) for text, kind in heads))
    rows = [
        element(
            "tr",
            element("td", rank, class_="rank"),
            element("td", show(candidate.item_id), *((" ", MATCH) if candidate.positive else ())),
            element("td", _BAR, f"{candidate.relevance:.2f}", class_="number", data_label="relevance"),
            element("td", f"{candidate.score:z.3f}", class_="number", data_label="score"),
            **_look(candidate),
        )
        for rank, candidate in enumerate(candidates, start=1)
    ]
    return element("table", element("thead", head), element("tbody", *rows), class_="listed")


def _tiles(candidates: Sequence[_Candidate], items: Items) -> Markup:
    tiles = []
    for rank, candidate in enumerate(candidates, start=1):
        picture, badge = items.image(candidate.item_id), MATCH if candidate.positive else ""
        values = element("span", f"rel {candidate.relevance:.2f}"), element("span", f"{candidate.score:z.3f}")
        frame = element("div", picture, element("span", rank, class_="rank"), badge, class_="frame")
        tiles.append(element("li", frame, _BAR, element("p", *values, class_="values"), **_look(candidate)))
    return element("ol", *tiles, class_="tiles")


def _look(candidate: _Candidate) -> dict[str, str | None]:
    return {"class_": "match" if candidate.positive else None, "style": f"--r:{candidate.relevance:.2f}"}
