"""Runs and relevance judgements as files of trec_eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan
from pathlib import Path

from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.arrays import ModelOutput, split_specification
from vse_lightning.cli.caption_files import Captions
from vse_lightning.cli.measuring import gallery_state
from vse_lightning.data.files.paths import existing_path
from vse_lightning.functional.top_k import top_k
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores, Similarity
from vse_lightning.ranking.reading import EvaluationProtocol

Grades = Mapping[str, Mapping[str, float]]
"""By query and candidate: the score in a run, the grade in judgements."""


def read_run(specification: str) -> tuple[str, Grades]:
    """Read lines ``query Q0 candidate rank score tag``; as in trec_eval, only the score orders the candidates.

    Args:
        specification: ``[NAME=]FILE``.

    Returns:
        The name, by default that of the file without suffix, and the scores.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has another form, or repeats a candidate.
    """
    name, paths = split_specification(specification)
    require(len(paths) == 1, "a run must be one file, got {}", specification)
    return name, _read(paths[0], "query Q0 candidate rank score tag", 4)


def read_judgements(path: str) -> Grades:
    """Read lines ``query 0 candidate grade``, grades above 0 being relevant.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has another form, or repeats a candidate.
    """
    return _read(existing_path("--qrels", path), "query 0 candidate grade", 3)


def write_run(
    folder: Path, model: ModelOutput, captions: Captions, first_captions: int | None, depth: int
) -> list[Path]:
    """Write what a model retrieves, and what is relevant, for both directions.

    Queries and candidates are row numbers in the captions file: images ``i0``, captions ``t0``.

    Args:
        folder: where :func:`run_files` go; made if need be.
        model: what retrieves.
        captions: what its rows are.
        first_captions: how many captions of each image are in the gallery; default all.
        depth: candidates per query.

    Returns:
        The files.
    """
    gallery = Gallery.from_state(gallery_state(model, captions))
    if first_captions is not None:
        gallery = gallery.first_captions(first_captions)
    images = [f"i{number}" for number in gallery.image_ids.tolist()]
    texts = [f"t{number}" for number in ([] if gallery.text_ids is None else gallery.text_ids.tolist())]
    pairs = [(images[image], text) for image, text in zip(gallery.image_of_text.tolist(), texts, strict=True)]
    similarity = model.similarity
    i2t = _ranked(similarity, gallery.image_embeds, gallery.text_embeds, depth)
    t2i = _ranked(lambda of, among: similarity(among, of).T, gallery.text_embeds, gallery.image_embeds, depth)
    tag = _tag(model)
    content = [
        _run_lines(images, texts, i2t, tag),
        _run_lines(texts, images, t2i, tag),
        (f"{image} 0 {text} 1\n" for image, text in pairs),
        (f"{text} 0 {image} 1\n" for image, text in pairs),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    paths = run_files(folder, model)
    for path, lines in zip(paths, content, strict=True):
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    return paths


def run_files(folder: Path, model: ModelOutput) -> list[Path]:
    """``{model}.i2t.run`` and ``{model}.t2i.run``, and for all models ``i2t.qrels`` and ``t2i.qrels``."""
    tag = _tag(model)
    return [folder / name for name in (f"{tag}.i2t.run", f"{tag}.t2i.run", "i2t.qrels", "t2i.qrels")]


def _tag(model: ModelOutput) -> str:
    return "_".join(model.name.split())


def _read(path: Path, form: str, column: int) -> Grades:
    """Lines of ``form``, with the number in a ``column``."""
    grades: dict[str, dict[str, float]] = {}
    width = len(form.split())
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            message = "{} must have lines {!r}, got {!r} in line {}"
            require(len(fields) == width, message, path, form, line.strip(), number)
            query, candidate, grade = fields[0], fields[2], fields[column]
            of_query = grades.setdefault(query, {})
            message = "{} names {} twice for query {}, in line {}"
            require(candidate not in of_query, message, path, candidate, query, number)
            of_query[candidate] = _number(grade)
            finite = isfinite(of_query[candidate])
            require(finite, "{} must have a number in column {}, got {!r} in line {}", path, column + 1, grade, number)
    require(bool(grades), "{} must have lines {!r}, got none", path, form)
    return grades


def _number(text: str) -> float:
    """NaN where the text is no number."""
    try:
        return float(text)
    except ValueError:
        return nan


def _ranked(
    similarity: Similarity, queries: Tensor, candidates: Tensor, depth: int
) -> Iterator[tuple[int, list[int], list[float]]]:
    """Row of each query with its best candidates, in no order of the queries."""
    pair_scores = PairScores(similarity, queries, candidates, EvaluationProtocol().rows_per_block(len(candidates)))
    for block in pair_scores.blocks:
        with exact_arithmetic(queries.device):
            scored = list(pair_scores.score(block))
        for rows, scores in scored:
            best = top_k(scores, depth).indices
            yield from zip(rows.tolist(), best.tolist(), scores.gather(1, best).tolist(), strict=True)


def _run_lines(
    queries: Sequence[str], candidates: Sequence[str], ranked: Iterator[tuple[int, list[int], list[float]]], tag: str
) -> Iterator[str]:
    for query, best, scores in ranked:
        for rank, (candidate, score) in enumerate(zip(best, scores, strict=True), start=1):
            yield f"{queries[query]} Q0 {candidates[candidate]} {rank} {score:.9g} {tag}\n"
