"""The metrics of a model's output, with the values of single queries that intervals and tests need."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.label_sources import Labels
from vse_lightning.cli.evaluate.many_matches import NEEDED, baselines_of_matches, values_of_matches
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.functional.directions import Direction
from vse_lightning.metrics import RetrievalMetric, RetrievalMetrics
from vse_lightning.metrics._ground_truth import GroundTruthMetric
from vse_lightning.metrics._values import summary
from vse_lightning.ranking.gallery import Gallery, first_of_each
from vse_lightning.ranking.query_values import query_values
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.report import Display
from vse_lightning.targets import label_of


@dataclass(frozen=True)
class Measurement:
    """The value of a metric over all queries."""

    value: float
    display: Display
    per_query: Mapping[str, Tensor]  # (Q,) by direction
    images: Mapping[str, Tensor]  # (Q,) what each query is about, by direction; empty where nobody knows
    is_mean: bool = True  # of per_query, added over the directions: it can be resampled


def measure(
    model: ModelOutput,
    captions: Captions,
    labels: Mapping[str, Labels],
    metrics: RetrievalMetrics,
    matches: Tensor | None = None,
) -> dict[str, Measurement]:
    """Compute the metrics of a model, in one pass for each label source, by their names with its suffix.

    Its rows are those of the captions, as :func:`gallery_state` describes. What matches under any labels, ``(N, M)``
    bool, is by default the captions of an image.
    """
    gallery = Gallery.from_state(gallery_state(model, captions))
    ranked = {str(name): cast("RetrievalMetric", metric) for name, metric in metrics.items()}
    summarised = summary if matches is None else partial(summary, needed=NEEDED)
    measured = {}
    for place, (suffix, source) in enumerate(labels.items() or [("", None)]):
        asked = {name: metric for name, metric in ranked.items() if not place or metric.graded}
        table = None if source is None else source.table
        if table is None or matches is None:
            values = query_values(gallery, asked, relevance=table, similarity=model.similarity)
        else:
            values = values_of_matches(gallery, asked, table, model.similarity, matches)
        for name, folds in values.items():
            metric = asked[name]
            value = float(summarised(metric, folds).to(gallery.image_embeds.dtype))
            display = metric.displays[""].under(None if table is None else label_of(table))
            per_query = {each: torch.cat([fold[each] for fold in folds]) for each in metric.directions}
            images = {each: _images_of_queries(gallery, metric.protocol, each) for each in metric.directions}
            counts = {each: ~values.isnan() for each, values in per_query.items()}
            measured[name + suffix] = Measurement(
                value,
                display,
                {each: values[counts[each]] for each, values in per_query.items()},
                {each: of_queries[counts[each]] for each, of_queries in images.items()} if captions.paired else {},
                is_mean=type(metric).summarise is RetrievalMetric.summarise
                and (captions.paired or len(metric.directions) == 1),
            )
    return measured


def measure_baselines(
    model: ModelOutput,
    captions: Captions,
    labels: Mapping[str, Labels],
    metrics: RetrievalMetrics,
    matches: Tensor | None = None,
) -> dict[str, dict[str, float]]:
    """What random scores and the labels themselves get in the place of any model, for the graded metrics.

    Values are by the name of the metric with its suffix, under ``"random"`` and ``"ideal"``.
    """
    ranked = {str(name): cast("RetrievalMetric", metric) for name, metric in metrics.items()}
    graded = {name: metric for name, metric in ranked.items() if metric.graded}
    found: dict[str, dict[str, float]] = {}
    state = gallery_state(model, captions)
    metrics.update(**state)
    for suffix, source in labels.items():
        if matches is None:
            baselines = metrics.baselines(source.table)
        else:
            baselines = baselines_of_matches(Gallery.from_state(state), graded, source.table, matches)
        for kind, values in baselines.items():
            named = {name + suffix: value for name, value in values.items() if name in graded}
            found[kind] = found.get(kind, {}) | named
    metrics.reset()
    return found


def measure_extended(
    model: ModelOutput, captions: Captions, option: str, make_metric: Callable[..., GroundTruthMetric]
) -> dict[str, Measurement]:
    """Compute :class:`~vse_lightning.metrics.ECCVCaption` or :class:`~vse_lightning.metrics.PMRP` of a model.

    The option of the command line is for errors; ``make_metric`` is given the ``similarity``.
    """
    coco_images, coco_texts = _coco_ids(option, captions)
    metric = make_metric(similarity=model.similarity)
    state = gallery_state(model, captions)
    text_ids, text_image_ids = coco_texts[state["text_ids"]], coco_images[state["text_image_ids"]]
    metric.update(
        state["image_embeds"],
        state["text_embeds"],
        image_ids=coco_images[state["image_ids"]],
        text_image_ids=text_image_ids,
        text_ids=text_ids,
    )
    ordered, rows = text_ids.sort()
    measured = {}
    for name, (query_ids, values) in metric.per_query().items():
        is_image = name.startswith("i2t")
        images = query_ids if is_image else text_image_ids[rows[torch.searchsorted(ordered, query_ids)]]
        measured[name] = Measurement(float(values.double().mean()), metric.displays[name], {"": values}, {"": images})
    return measured


def _coco_ids(option: str, captions: Captions) -> tuple[Tensor, Tensor]:
    coco_images, coco_texts = captions.coco_image_ids, captions.coco_text_ids
    if coco_images is None or coco_texts is None:
        raise ValueError(
            f"{option} needs a Karpathy JSON whose images have 'cocoid' and sentences 'sentid', got {captions.origin}"
        )
    return coco_images, coco_texts


def require_fitting(models: Iterable[ModelOutput], captions: Captions, folds: int, extended: Iterable[str]) -> None:
    """Refuse models that do not fit the captions, folds that do not divide them, and options that need other ids."""
    for model in models:
        next(Gallery.from_state(gallery_state(model, captions)).folds(folds))
    for option in extended:
        _coco_ids(option, captions)


def gallery_state(model: ModelOutput, captions: Captions) -> dict[str, Tensor]:
    """The evaluated rows of a model with their ids, as :class:`~vse_lightning.ranking.gallery.Gallery` takes them.

    The model has a row for each image and each caption that is evaluated, or for all of the file, in its order. There
    may be a row of images for each caption, as VSE++ writes them.
    """
    image_ids, text_ids = captions.image_ids, captions.text_ids
    image_of_text = captions.text_image_ids
    evaluated, of_file, given = len(text_ids), len(image_of_text), len(model.text_embeds)
    if not captions.paired:  # whose numbers are those of the models
        ids = {"image_ids": image_ids, "text_image_ids": image_of_text, "text_ids": text_ids}
        return {"image_embeds": model.image_embeds, "text_embeds": model.text_embeds, **ids}
    whole_file = given == of_file
    transposed = ": are images and texts swapped?" if len(model.image_embeds) in (evaluated, of_file) else ""
    message = "{}: there must be a row for each of the {} captions of {} (or of the {} of the whole file), got {}{}"
    fitting = given in (evaluated, of_file)
    require(fitting, message, model.name, evaluated, captions.origin, of_file, given, transposed)
    image_of_row = image_of_text if whole_file else image_of_text[text_ids]
    _check_images_of_texts(model, image_of_row, captions.origin)
    image_embeds = _one_row_per_image(model, image_of_row, captions.origin)
    return {
        "image_embeds": image_embeds[image_ids] if whole_file else image_embeds,
        "text_embeds": model.text_embeds[text_ids] if whole_file else model.text_embeds,
        "image_ids": image_ids,
        "text_image_ids": image_of_text[text_ids],
        "text_ids": text_ids,
    }


def _check_images_of_texts(model: ModelOutput, image_of_text: Tensor, origin: str) -> None:
    if model.text_image_ids is not None:
        told, known = (torch.unique(ids, return_inverse=True)[1] for ids in (image_of_text, model.text_image_ids))
        different = (told != known).nonzero().flatten()
        message = "{}: its ids must give the captions to the images as {} does, but they differ from caption {} on"
        require(len(different) == 0, message, model.name, origin, *different[:1].tolist())


def _one_row_per_image(model: ModelOutput, image_of_text: Tensor, origin: str) -> Tensor:
    embeds = model.image_embeds
    images, image_row = torch.unique(image_of_text, return_inverse=True)
    if len(embeds) == len(images):
        return embeds
    message = "{}: there must be a row for each of the {} images of {}, or for each of their {} captions, got {}"
    fitting = len(embeds) == len(image_of_text)
    require(fitting, message, model.name, len(images), origin, len(image_of_text), len(embeds))
    first = first_of_each(image_of_text)
    different = (embeds != embeds[first[image_row]]).any(dim=1).nonzero().flatten()
    message = "{}: where images have a row for each caption, those of one image must be equal, but row {} differs"
    require(len(different) == 0, message, model.name, *different[:1].tolist())
    return embeds[first]


def _images_of_queries(gallery: Gallery, protocol: EvaluationProtocol, direction: Direction) -> Tensor:
    """Image id of each query in the order of ``per_query``."""
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    folds = gallery.folds(protocol.folds)
    of_images = direction in ("i2t", "i2i")
    return torch.cat(
        [(fold.image_ids if of_images else fold.text_image_ids)[fold.query_rows(direction)] for fold in folds]
    )
