"""ECCV Caption, CxC and PMRP for outputs whose captions have COCO ids."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.measuring import Measurement, gallery_state
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.metrics._ground_truth import GroundTruthMetric


def measure_extended(
    model: ModelOutput, captions: Captions, option: str, make_metric: Callable[..., GroundTruthMetric]
) -> dict[str, Measurement]:
    """Compute :class:`~vse_lightning.metrics.ECCVCaption` or :class:`~vse_lightning.metrics.PMRP` of a model.

    Args:
        model: what to measure.
        captions: what its rows are.
        option: of the command line, for errors.
        make_metric: makes the metric, given the ``similarity``.

    Raises:
        FileNotFoundError: if there is no ground truth at the place given.
        ModuleNotFoundError: if the package with the ground truth is missing, and no place was given.
        ValueError: if the captions have no COCO ids, or lack some of the benchmark.
    """
    coco_images, coco_texts = captions.coco_image_ids, captions.coco_text_ids
    if coco_images is None or coco_texts is None:
        raise ValueError(
            f"{option} needs a Karpathy JSON whose images have 'cocoid' and sentences 'sentid', got {captions.origin}"
        )
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
