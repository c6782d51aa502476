"""The page of what was measured."""

from collections.abc import Mapping, Sequence

from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.label_sources import Labels
from vse_lightning.cli.evaluate.measuring import gallery_state
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.pages.evaluation_page import Result, evaluation_page
from vse_lightning.pages.items import Items
from vse_lightning.pages.ranked_queries import rank_queries
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.report import Baselines

_LISTED, _DEPTH = 5, 100


def result_page(
    results: Mapping[str, Mapping[str, Result]],
    baselines: Baselines,
    outputs: Sequence[ModelOutput],
    captions: Captions,
    labels: Mapping[str, Labels],
    protocol: EvaluationProtocol,
    *,
    level: float,
    notes: Sequence[str],
) -> str:
    """The page, for whose curves and lists the models are ranked once more.

    These are under the first labels or, without any, show matches.
    """
    table = next((source.table for source in labels.values()), None)
    runs = []
    for model in outputs:
        directions, label = rank_queries(
            Gallery.from_state(gallery_state(model, captions)),
            table,
            similarity=model.similarity,
            protocol=protocol,
            top_k=_LISTED,
            depth=_DEPTH,
        )
        runs.append(RankedRun(model.name, "test", label, {}, {}, _LISTED, _DEPTH, directions))
    if protocol.folds > 1:
        notes = [*notes, "curves and lists rank all images and captions"]
    items = Items(captions.texts, captions.text_image_ids)
    return evaluation_page(results, notes=notes, level=level, baselines=baselines, runs=runs, items=items)
