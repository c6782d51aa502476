"""The command: from files to measurements, side by side."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from vse_lightning.checks import require
from vse_lightning.cli.evaluate.agreement_with_people import agreement_with_people
from vse_lightning.cli.evaluate.caption_files import Captions, read_caption_lines, without_pairs
from vse_lightning.cli.evaluate.comparison import Resampling, compare, notes_on_reading, print_comparison, result_page
from vse_lightning.cli.evaluate.judgements import read_judgements
from vse_lightning.cli.evaluate.label_sources import GivenRelevance, Labels, graded_truth, make_labels, read_relevance
from vse_lightning.cli.evaluate.measuring import measure, measure_baselines, measure_extended, require_fitting
from vse_lightning.cli.evaluate.model_files import ModelOutput, read_model
from vse_lightning.cli.evaluate.paired_captions import read_paired
from vse_lightning.cli.evaluate.trec_files import run_files, write_run
from vse_lightning.cli.overwriting import require_new, require_own
from vse_lightning.cli.saved_config import versions
from vse_lightning.metrics import PMRP, ECCVCaption, RetrievalMetric, RetrievalMetrics
from vse_lightning.metrics._ground_truth import GroundTruthMetric
from vse_lightning.metrics._standard_protocol import check_cutoffs
from vse_lightning.pages import PAGE_MARK
from vse_lightning.paths import existing_path
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.relevance import RelevanceSource
from vse_lightning.whole_files import whole_file

_MARK = "vse-lightning evaluate"


def evaluate(
    models: list[str],
    captions: str | None = None,
    split: str | None = None,
    captions_per_image: int | None = None,
    image_ids: str | None = None,
    image_key: str = "image_embeds",
    text_key: str = "text_embeds",
    scores_key: str = "scores",
    labels: tuple[str | RelevanceSource, ...] = (),
    relevance: str | None = None,
    positive_threshold: float = 1.0,
    judgements: Path | None = None,
    recall_ks: tuple[int, ...] = (1, 5, 10),
    ndcg_ks: tuple[int, ...] = (10,),
    coherent_ks: tuple[int, ...] = (100,),
    ranks: bool = False,
    extra_metrics: list[RetrievalMetric] | None = None,
    eccv: bool = False,
    eccv_data: Path | None = None,
    pmrp: Path | None = None,
    folds: int = 1,
    first_captions: int | None = None,
    intervals: float | bool = False,
    level: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    output: Path | None = None,
    html: Path | None = None,
    write_trec: Path | None = None,
    trec_depth: int = 100,
) -> None:
    """Measure embeddings or scores of any model, several side by side.

    Embeddings or scores in, a table and JSON out, with a star where a model differs significantly from the first.

      vse-lightning evaluate clip.npz --captions dataset_flickr30k.json --labels sbert --intervals
      vse-lightning evaluate ours=images.npy,texts.npy theirs=scores.npy --captions test_caps.txt --captions_per_image 5
      vse-lightning evaluate runs/ours/version_0/embeddings --captions dataset_flickr30k.json --labels cider
      vse-lightning evaluate scores.npy --relevance relevance.npy

    definitions:
      R@K     share of the queries with any positive among the K best candidates; positives are the captions of the
              image. The rank is 1 + the candidates that are no positives and score at least as high as the best
              positive: a tie never helps.
      rsum    the recalls of both directions in percent, added up: 0 to 600 for three cut-offs.
      NDCG@K  gains 2^relevance - 1, discount log2(1 + rank), divided by the same sum of the list sorted by relevance.
              Tied candidates share their gains, as in scikit-learn.
      CS@K    Coherent Score: Kendall's tau-b between score and relevance over the K best-scored candidates; of those
              that tie across the cut the first are taken; a constant list counts 0.
      PMRP    R-Precision where image and text match if the object categories of their images differ in 0, 1 or 2,
              averaged over the three (PCME); images without objects are left out.
      Relevance comes from the captions of the image (1 for its own), so it depends on --labels: values of NDCG and CS
      under different labels cannot be compared.
      With --relevance it is what the matrix says, and all that is at least --positive_threshold relevant matches: any
      number of texts an image, and of images a text. Where it is known which captions belong to an image, these match
      too, and are relevance 1. Recalls and ranks leave out what nothing matches.

      Agreement with --judgements is Kendall's tau-b and tau-c and Spearman's rho over all ratings, of the score of each
      pair; and of each of the labels, which say how relevant the text is to the image's captions. A text that is the
      image's own caption counts 1 there: the agreement is told without such ratings too.

    protocols:
      Image queries rank all captions that are evaluated, text queries all images, any number of captions per image.
      COCO 1K is --folds 5 on the 5,000 test images; the protocol of the Ladder loss paper is --first_captions 1.

    statistics:
      --intervals are percentile bootstrap intervals over images with all their captions. A star is a p-value below
      --level in the paired randomisation test against the first model, which swaps the values of whole images. Neither
      knows the variance between training runs, and p-values are not corrected for the number of comparisons. The median
      rank gets neither. The interval of an agreement is one of its tau-c, of 0.95 unless --intervals says otherwise.
      Where nobody tells which captions belong to an image (--relevance alone), single queries are drawn and swapped,
      and what adds up both directions (rsum) gets neither.

    Args:
        models: [NAME=]FILE[,FILE] for each. Embeddings are .npz, .safetensors or .pt with arrays of images and of
            texts, or two files IMAGES,TEXTS; or a folder that predict wrote; scores (images x texts) are one .npy, or
            an array of a file. Nothing is unpickled. Rows are the images and captions that are evaluated, or all of the
            captions file, in its order; those of a folder go by their ids, which tell which caption belongs to which
            image as well.
        captions: Karpathy JSON, COCO's captions_*.json sorted by image, a table with columns image and caption (CSV,
            TSV, JSON, Flickr8k's captions.txt and token.txt), or a text file with one caption per line; rows follow its
            order.
        split: of the JSON; by default test, or the only one.
        captions_per_image: of a text file, or of embeddings without captions.
        image_ids: instead, a file with an image id per caption, as lines, .npy or JSON list.
        image_key: array of images.
        text_key: array of texts.
        scores_key: array of scores.
        labels: graded relevance for NDCG and Coherent Score; sbert (the bundled all-MiniLM-L6-v2), sbert:MODEL, cider,
            lsa, lsa:DIMENSIONS, an .npy file with a vector per caption, or my_module.MySource. What is fitted (cider
            and lsa) is fitted on the train split of the captions file, or without one on the evaluated captions. By
            default recalls only.
        relevance: graded truth of your own instead of labels, or before them: one .npy of images x texts in [0, 1], as
            the rows and columns of the models are (or all of the captions file). Tells what matches too, so that
            neither --captions nor --captions_per_image is needed.
        positive_threshold: of --relevance; what is at least as relevant is a match, which recalls and ranks count.
        judgements: a table (CSV) of what people think, with the columns image (row of the split, or file name) or
            imgid, text (caption row of the split) or sentid, and rating; several ratings of a pair are several rows.
            Adds how far each model, and each of the labels, agrees with it.
        recall_ks: of R@K.
        ndcg_ks: of NDCG@K.
        coherent_ks: of CS@K.
        ranks: add the median and mean rank of the best positive.
        extra_metrics: my_module.MyMetric, with its arguments as --extra_metrics.NAME VALUE behind it or in a config.
        eccv: add ECCV Caption and CxC, for a Karpathy JSON with COCO ids (extra eccv).
        eccv_data: folder of their data, instead of the installed package.
        pmrp: add PMRP, from COCO's instances_val2014.json, for a Karpathy JSON with COCO ids.
        folds: average over so many consecutive folds of the images.
        first_captions: keep only the first so many captions of each image, in the gallery and in the relevance.
        intervals: show intervals of this confidence; alone of 0.95.
        level: p-values below it get a star.
        resamples: for each interval and each test.
        seed: of the resampling.
        output: write everything as JSON.
        html: write a page with the table, relevance by rank (under the first labels) and the hardest queries.
        write_trec: folder for runs and judgements, for trec_eval, ranx or ir_measures.
        trec_depth: candidates per query in these.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if an option is out of its range, or files do not fit together.
    """
    # "--intervals" alone is True
    confidence = None if intervals is False else 0.95 if intervals is True else intervals
    resampling = Resampling(confidence, level, resamples, seed)
    check_cutoffs(recall_ks, ndcg_ks, coherent_ks)  # also of those that are left out without labels
    require_own("--output", output, _MARK)
    require_own("--html", html, PAGE_MARK)
    outputs = [read_model(model, image_key, text_key, scores_key) for model in models]
    names = [each.name for each in outputs]
    require(len(set(names)) == len(names), "models must differ in name, got {}: write NAME=FILE", ", ".join(names))
    given = None if relevance is None else read_relevance(relevance)
    evaluated = _captions(outputs, captions, split, captions_per_image, image_ids, given)
    _require_pairs(evaluated, folds=folds > 1, first_captions=first_captions is not None, labels=bool(labels))
    truth = graded_truth(given, positive_threshold, evaluated, outputs)
    judged = None if judgements is None else read_judgements(existing_path("--judgements", judgements), evaluated)
    if write_trec is not None:
        require(given is None, "--write_trec writes the captions of an image as its judgements: leave out --relevance")
        require(folds == 1, "--write_trec writes one gallery: leave out --folds")
        require_new("--write_trec", [path for each in outputs for path in run_files(write_trec, each)])
    labelled = bool(labels) or truth is not None
    metrics = RetrievalMetrics(
        recall_ks=recall_ks,
        ndcg_ks=ndcg_ks if labelled else (),
        coherent_ks=coherent_ks if labelled else (),
        extra=_extra(extra_metrics or (), labelled=labelled),
        rank_statistics=ranks,
        folds=folds,
        captions_per_image=first_captions,
    )
    extended: dict[str, Callable[..., GroundTruthMetric]] = {}
    if eccv:
        extended["--eccv"] = partial(ECCVCaption, recall_ks, eccv_data)
    if pmrp is not None:
        extended["--pmrp"] = partial(PMRP, pmrp)
    require_fitting(outputs, evaluated, folds, extended)  # labels may take minutes
    tables = make_labels(labels, evaluated, None if truth is None else truth.labels)
    matches = None if truth is None else truth.matches
    measured = {each.name: measure(each, evaluated, tables, metrics, matches) for each in outputs}
    for each in outputs:
        for option, make_metric in extended.items():
            measured[each.name] |= measure_extended(each, evaluated, option, make_metric)
        if write_trec is not None:
            write_run(write_trec, each, evaluated, first_captions, trec_depth)
    results = compare(measured, resampling)
    people = None if judged is None else agreement_with_people(judged, outputs, tables, evaluated, resampling)
    baselines = measure_baselines(outputs[0], evaluated, tables, metrics, matches)
    notes = _notes(evaluated, tables, folds, first_captions)
    notes += notes_on_reading(list(results), baselines, resampling)
    notes += [] if people is None else people.notes
    if html is not None:
        protocol = EvaluationProtocol(folds=folds, captions_per_image=first_captions)
        if truth is not None:
            notes.append("the page has no curves and lists: they are of an image's own captions, not of --relevance")
        ranked = outputs if truth is None else ()
        page = result_page(results, baselines, ranked, evaluated, tables, protocol, level=level, notes=notes)
        with whole_file(html) as written:
            written.write_text(page, encoding="utf-8")
        notes.append(f"page: {html}")
    print_comparison(results, baselines, level, notes)
    if output is not None:
        of_models = {model: {name: value.as_json() for name, value in of.items()} for model, of in results.items()}
        content = {
            "written_by": _MARK,
            "versions": versions(),
            "captions": evaluated.origin,
            "images": len(evaluated.image_ids),
            "texts": len(evaluated.text_ids),
            "folds": folds,
            "first_captions": first_captions,
            "positive_threshold": None if truth is None else positive_threshold,
            "labels": {suffix: source.description for suffix, source in tables.items()},
            "resampling": vars(resampling),
            "baselines": baselines,
            **({} if people is None else people.as_json()),
            "models": of_models,
        }
        with whole_file(output) as written:
            written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _extra(metrics: Sequence[RetrievalMetric], *, labelled: bool) -> Sequence[RetrievalMetric]:
    bare = [type(metric).__name__ for metric in metrics if metric.graded and metric.relevance is None]
    require(labelled or not bare, "--extra_metrics: {} needs graded labels, such as --labels sbert", ", ".join(bare))
    return metrics


def _notes(captions: Captions, labels: dict[str, Labels], folds: int, first_captions: int | None) -> list[str]:
    """What the values rest on, for the reader of the table."""
    notes = [f"{captions.origin}: {len(captions.image_ids):,} images, {len(captions.text_ids):,} captions"]
    notes += [f"mean over {folds} folds of the images"] if folds > 1 else []
    notes += [f"first captions of each image: {first_captions}"] if first_captions else []
    notes += [f"labels: {source.description}" for source in labels.values()]
    notes += [] if labels else ["recalls only: NDCG and Coherent Score need graded labels, such as --labels sbert"]
    return notes


def _captions(
    outputs: Sequence[ModelOutput],
    file: str | None,
    split: str | None,
    each: int | None,
    image_ids: str | None,
    relevance: GivenRelevance | None,
) -> Captions:
    untold = file is None and each is None and image_ids is None and outputs[0].text_image_ids is None
    if relevance is not None and untold:
        return without_pairs(relevance.name, *relevance.matrix.shape)
    path = None if file is None else existing_path("--captions", file)
    captions = None if path is None else read_paired(path, split)
    if captions is None:
        require(split is None, "--split is for a Karpathy JSON as --captions, got {}", file)
        return read_caption_lines(path, image_ids, each, len(outputs[0].text_embeds), outputs[0].text_image_ids)
    agrees = image_ids is None and (each is None or captions.has_runs_of(each))
    message = "--captions {} tells which captions belong to an image: leave out --captions_per_image and --image_ids "
    require(agrees, message + "(--first_captions keeps only the first)", file)
    for output in outputs:
        _require_images_of(captions, output)
    return captions


def _require_pairs(captions: Captions, **needing: bool) -> None:
    needed = " and ".join(f"--{option}" for option, given in needing.items() if given)
    told = captions.paired or not needed
    require(told, "{} must know which captions belong to an image: give --captions or --captions_per_image too", needed)


def _require_images_of(captions: Captions, output: ModelOutput) -> None:
    """Embeddings with ids are those of the evaluated images, which the file numbers by its rows."""
    found, expected = output.image_ids, captions.image_ids
    message = "{}: image ids must be the row numbers of the {} images of {}, got {} from {} to {}: was another split "
    same = found is None or torch.equal(found, expected)
    shown = [] if found is None else [len(found), int(found[0]), int(found[-1])]
    require(same, message + "predicted?", output.name, len(expected), captions.origin, *shown)
