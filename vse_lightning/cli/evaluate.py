"""``vse-lightning evaluate``: numbers for embeddings or score matrices of any model, without the model."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vse_lightning.checks import require
from vse_lightning.cli.arrays import ArrayNames, ModelOutput, read_model
from vse_lightning.cli.caption_files import Captions, read_caption_lines
from vse_lightning.cli.comparison import Measurements, Resampling, Result, compare, print_comparison
from vse_lightning.cli.evaluate_options import parser
from vse_lightning.cli.extended_ground_truth import measure_extended
from vse_lightning.cli.label_sources import make_labels
from vse_lightning.cli.measuring import Measurement, MeasuringOptions, measure
from vse_lightning.cli.own_files import require_new, require_own
from vse_lightning.cli.paired_captions import read_paired
from vse_lightning.cli.trec import run_files, write_run
from vse_lightning.data.files.paths import existing_path
from vse_lightning.metrics import PMRP, ECCVCaption
from vse_lightning.metrics._ground_truth import GroundTruthMetric

_MARK = "vse-lightning evaluate"


class Evaluated(NamedTuple):
    """The measurements of each model, and what they rest on."""

    models: dict[str, Measurements]
    setting: dict[str, Any]  # for the JSON
    notes: list[str]  # for the reader of the table


def run(args: list[str]) -> None:
    """Read, compute, print.

    Args:
        args: as ``vse-lightning evaluate --help`` describes them.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if an option is out of its range, or files do not fit together.
    """
    options = parser().parse_args(args)
    resampling = Resampling(options.intervals, options.level, options.resamples, options.seed)
    output: Path | None = options.output
    require(output is None or output.parent.is_dir(), "--output must be in a folder that exists, got {}", output)
    require(output is None or not output.is_dir(), "--output must be a file, got the folder {}", output)
    require_own("--output", output, _MARK)
    evaluated = _evaluate_outputs(options)
    results = compare(evaluated.models, resampling)
    print_comparison(results, resampling, evaluated.notes)
    if output is not None:
        content = {
            "written_by": _MARK,
            **evaluated.setting,
            "resampling": vars(resampling),
            "models": _as_json(results),
        }
        output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _evaluate_outputs(options: Namespace) -> Evaluated:
    names = ArrayNames(options.image_key, options.text_key, options.scores_key)
    outputs = [read_model(model, names) for model in options.models]
    _require_different([output.name for output in outputs])
    captions = _captions(options, outputs)
    protocol = _protocol(options)
    require(protocol.folds == 1 or options.write_trec is None, "--write-trec writes one gallery: leave out --folds")
    if options.write_trec is not None:
        require_new("--write-trec", [path for output in outputs for path in run_files(options.write_trec, output)])
    labels = make_labels(options.labels, captions)
    models: dict[str, Measurements] = {}
    for output in outputs:
        extended: dict[str, Measurement] = {}
        for option, make_metric in _ground_truths(options).items():
            extended |= measure_extended(output, captions, option, make_metric)
        models[output.name] = {**measure(output, captions, labels, protocol), **extended}
        if options.write_trec is not None:
            write_run(options.write_trec, output, captions, protocol.first_captions, options.trec_depth)
    setting = {
        "captions": captions.origin,
        "images": len(captions.image_ids),
        "texts": len(captions.text_ids),
        "folds": protocol.folds,
        "first_captions": protocol.first_captions,
        "labels": {suffix: source.description for suffix, source in labels.items()},
    }
    notes = [f"{captions.origin}: {setting['images']:,} images, {setting['texts']:,} captions"]
    notes += [f"mean over {protocol.folds} folds of the images"] if protocol.folds > 1 else []
    notes += [f"first captions of each image: {protocol.first_captions}"] if protocol.first_captions else []
    notes += [f"labels: {source.description}" for source in labels.values()]
    notes += [] if labels else ["recalls only: NDCG and Coherent Score need graded labels, such as --labels sbert"]
    return Evaluated(models, setting, notes)


def _ground_truths(options: Namespace) -> dict[str, Callable[..., GroundTruthMetric]]:
    """What else is asked for, by option."""
    asked: dict[str, Callable[..., GroundTruthMetric]] = {}
    if options.eccv:
        asked["--eccv"] = partial(ECCVCaption, options.recall_ks, options.eccv_data)
    if options.pmrp is not None:
        asked["--pmrp"] = partial(PMRP, options.pmrp)
    return asked


def _protocol(options: Namespace) -> MeasuringOptions:
    return MeasuringOptions(
        options.recall_ks, options.ndcg_ks, options.coherent_ks, options.ranks, options.folds, options.first_captions
    )


def _captions(options: Namespace, outputs: list[ModelOutput]) -> Captions:
    path = None if options.captions is None else existing_path("--captions", options.captions)
    captions = None if path is None else read_paired(path, options.split)
    if captions is None:
        require(options.split is None, "--split is for a Karpathy JSON as --captions, got {}", options.captions)
        rows = len(outputs[0].text_embeds), outputs[0].text_image_ids
        return read_caption_lines(path, options.image_ids, options.captions_per_image, *rows)
    each = options.captions_per_image
    agrees = options.image_ids is None and (each is None or captions.has_runs_of(each))
    message = "--captions {} tells which captions belong to an image: leave out --captions-per-image and --image-ids "
    require(agrees, message + "(--first-captions keeps only the first)", options.captions)
    for output in outputs:
        _require_images_of(captions, output)
    return captions


def _require_images_of(captions: Captions, output: ModelOutput) -> None:
    """Embeddings with ids are those of the evaluated images, which the file numbers by its rows."""
    found, expected = output.image_ids, captions.image_ids
    message = "{}: image ids must be the row numbers of the {} images of {}, got {} from {} to {}: was another split "
    same = found is None or torch.equal(found, expected)
    shown = [] if found is None else [len(found), int(found[0]), int(found[-1])]
    require(same, message + "predicted?", output.name, len(expected), captions.origin, *shown)


def _require_different(names: list[str]) -> None:
    require(len(set(names)) == len(names), "models must differ in name, got {}: write NAME=FILE", ", ".join(names))


def _as_json(results: dict[str, dict[str, Result]]) -> dict[str, dict[str, Any]]:
    return {model: {name: result.as_json() for name, result in of_model.items()} for model, of_model in results.items()}
