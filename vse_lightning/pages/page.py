"""The page: metrics, relevance by rank, and queries with what they retrieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vse_lightning.functional.directions import Direction
from vse_lightning.pages.curve import curve_chart, curve_table
from vse_lightning.pages.document import facts_list, html_document
from vse_lightning.pages.items import Items
from vse_lightning.pages.markup import Markup, element, join
from vse_lightning.pages.metrics_table import metrics_table
from vse_lightning.pages.query_card import MATCH, query_card, run_name
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS

_STAGES = {"val": "validation", "test": "test"}
_GROUPS = {
    "sampled": ("Sampled", "drawn at random"),
    "best": ("Best", "a match comes first, and the list is the most relevant"),
    "worst": ("Worst", "the best match comes last"),
}


def gallery_page(
    run: RankedRun,
    selected: Mapping[Direction, Mapping[str, Sequence[int]]],
    items: Items,
    facts: Mapping[str, str],
    other: RankedRun | None = None,
) -> str:
    """The whole page as one HTML document without references.

    Args:
        run: what to show.
        selected: rows of the queries to show, by group, for each direction.
        items: pictures and captions.
        facts: what else the head of the page says, by name.
        other: a run that ranked the same queries, to show beside.
    """
    runs = {"A": run} if other is None else {"A": run, "B": other}
    sections = [_metrics(runs), _curves(runs), _legend(run)]
    sections += [_queries(direction, rows, runs, items) for direction, rows in selected.items()]
    title = f"Retrieval gallery: {run.name}, {_STAGES[run.stage]}"
    return html_document(title, _top(runs, facts), element("main", *sections))


def _top(runs: Mapping[str, RankedRun], facts: Mapping[str, str]) -> Markup:
    run = runs["A"]
    shown: dict[str, object] = {"run": run_name("A", run) if "B" in runs else run.name}
    if "B" in runs:
        shown["beside"] = run_name("B", runs["B"])
    shown |= {"stage": _STAGES[run.stage], **facts, "relevance": run.label}
    links = [("metrics", "Metrics"), ("curves", "Relevance by rank")]
    links += [(direction, DIRECTIONS[direction].capitalize()) for direction in run.directions]
    return element(
        "header",
        element("h1", "Retrieval gallery"),
        facts_list(shown),
        element("nav", *(element("a", text, href=f"#{place}") for place, text in links), aria_label="Sections"),
        class_="top",
    )


def _metrics(runs: dict[str, RankedRun]) -> Markup:
    return element("section", element("h2", "Metrics"), _labels_note(runs), metrics_table(runs), id="metrics")


def _labels_note(runs: Mapping[str, RankedRun]) -> Markup:
    labels = {letter: run.label for letter, run in runs.items()}
    if len(set(labels.values())) == 1:
        return Markup()
    named = "; ".join(f"{letter}: {label}" for letter, label in labels.items())
    warning = f"The runs are graded under different labels ({named}): compare recall and ranks, not graded values."
    return element("p", warning, class_="note")


def _curves(runs: Mapping[str, RankedRun]) -> Markup:
    names: dict[str, object] = {letter: run_name(letter, run) for letter, run in runs.items()}
    letters: dict[str, object] = {letter: element("b", letter, class_=f"run {letter}") for letter in runs}
    if "B" not in runs:
        names = letters = {"A": "this run"}
    figures = []
    for direction in runs["A"].directions:
        name = DIRECTIONS[direction]
        curves = {letter: run.directions[direction].curve for letter, run in runs.items()}
        curves["ideal"] = runs["A"].directions[direction].ideal
        key = [
            element("li", element("span", class_=f"swatch {line}"), text)
            for line, text in {**names, "ideal": "ideal order"}.items()
        ]
        figures.append(
            element(
                "figure",
                element("figcaption", name.capitalize()),
                curve_chart(f"Mean relevance by rank, {name}", curves),
                element("ul", *key, class_="key"),
                curve_table(curves, {**letters, "ideal": "ideal"}),
            )
        )
    note = "Mean relevance of the candidate at each rank, over all queries, and that of a perfect ranking."
    return element(
        "section",
        element("h2", "Relevance by rank"),
        element("p", note, class_="note"),
        element("div", *figures, class_="charts"),
        id="curves",
    )


def _legend(run: RankedRun) -> Markup:
    scale = element("span", *(element("i", f"{r / 4:g}", style=f"--r:{r / 4}") for r in range(5)), class_="scale")
    meanings = {
        join("relevance (rel) ", scale): f"how close a candidate is to the query in meaning ({run.label})",
        MATCH: "the picture and the caption belong together in the data",
        Markup("score"): "how close the model puts them",
        Markup("match rank"): "where the first match stands in the whole list; 1 is perfect",
        Markup(f"NDCG@{run.top_k}"): f"whether the most relevant stand first among the {run.top_k} shown, 0 to 1",
        Markup(f"τ@{run.depth}"): f"whether scores and relevance agree in order over {run.depth} candidates, -1 to 1",
    }
    rows = [element("div", element("dt", name), element("dd", meaning)) for name, meaning in meanings.items()]
    return element(
        "details", element("summary", "How to read the lists"), element("dl", *rows), class_="legend", open=""
    )


def _queries(
    direction: Direction, groups: Mapping[str, Sequence[int]], runs: dict[str, RankedRun], items: Items
) -> Markup:
    ranked = {key: len(queries.query_ids) for key, queries in runs["A"].directions.items()}
    note = f"{ranked['i2t']:,} pictures; each ranks {ranked['t2i']:,} captions."
    if direction == "t2i":
        note = f"{ranked['t2i']:,} captions; each ranks {ranked['i2t']:,} pictures."
    parts = [element("h2", DIRECTIONS[direction].capitalize()), element("p", note, class_="note")]
    for group, rows in groups.items():
        title, meaning = _GROUPS[group]
        parts.append(element("h3", title, " ", element("small", meaning)))
        parts += [query_card(row, direction, runs, items) for row in rows]
    return element("section", *parts, id=direction)
