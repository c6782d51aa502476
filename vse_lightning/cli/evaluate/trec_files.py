"""Runs and relevance judgements written for trec_eval, ranx, ir_measures and the like."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.measuring import gallery_state
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.functional.similarity import Similarity
from vse_lightning.functional.top_k import top_k
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.whole_files import whole_file


def write_run(
    folder: Path, model: ModelOutput, captions: Captions, first_captions: int | None, depth: int
) -> list[Path]:
    """Write what a model retrieves, and what is relevant, for both directions.

    Queries and candidates are row numbers in the captions file: images ``i0``, captions ``t0``. A query has ``depth``
    candidates. The folder, of :func:`run_files`, is made if need be.
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
        with whole_file(path) as written, written.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    return paths


def run_files(folder: Path, model: ModelOutput) -> list[Path]:
    """``{model}.i2t.run`` and ``{model}.t2i.run``, and for all models ``i2t.qrels`` and ``t2i.qrels``."""
    tag = _tag(model)
    return [folder / name for name in (f"{tag}.i2t.run", f"{tag}.t2i.run", "i2t.qrels", "t2i.qrels")]


def _tag(model: ModelOutput) -> str:
    return "_".join(model.name.split())


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
