"""Wrong arguments of everything public in Python: one message that names the argument, the rule and what was found."""

import inspect
from functools import partial

import pytest
import torch
from lightning import LightningModule

from vse_lightning import RetrievalTargets, callbacks, functional, losses, metrics, relevance
from vse_lightning.data import HuggingFaceSource, ImageTextDataModule, KarpathySource, PrecompSource, ShapesSource
from vse_lightning.metrics import Reading, evaluate_embeddings, evaluate_scores
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin
from vse_lightning.models import CLIPRetriever, DualEncoder, load_retriever
from vse_lightning.models.encoders import FeatureImageEncoder, GRUTextEncoder, TimmImageEncoder, TransformerTextEncoder

NAN, INF = float("nan"), float("inf")
SCORES, RELEVANCE = torch.tensor([[0.9, 0.1], [0.3, 0.4]]), torch.tensor([[1.0, 0.2], [0.4, 1.0]])
MATCHES, EYE = torch.eye(2, dtype=torch.bool), torch.eye(2)
LISTS = {"scores": SCORES, "relevance": RELEVANCE, "positives": MATCHES}
TRIPLET = losses.TripletLoss()


class Host(LightningModule): ...


class Mixed(RelevanceLossMixin, RetrievalMetricsMixin, Host): ...


def dual_encoder(**arguments):
    encoders = {"image_encoder": FeatureImageEncoder(4, 8), "text_encoder": GRUTextEncoder(8, 8)}
    return DualEncoder(**encoders | arguments)


def updated(**arguments):
    metric = metrics.RecallAtK()
    pairs = {"image_embeds": EYE, "text_embeds": EYE, "image_ids": [0, 1], "text_image_ids": [0, 1]}
    metric.update(**pairs | arguments)
    return metric.compute()


def targets(**arguments):
    return RetrievalTargets(**{"image_ids": [0, 1], "text_image_ids": [0, 1]} | arguments).resolve(EYE, EYE)


CIDER = relevance.CIDErRelevance
WEIGHTED = partial(losses.WeightedSumLoss, {"a": TRIPLET})
FEATURES = partial(relevance.FeatureTable, image_ids=[0, 1], label="by hand")
SHAPES = ShapesSource(num_images=10, image_size=32)
MODULE = partial(ImageTextDataModule, SHAPES)
SCHEDULE = partial(callbacks.LossSchedule, term="triplet", start=0, end=1, epochs=1)
TIMM = partial(TimmImageEncoder, "test_resnet", pretrained=False)
MIXED = partial(Mixed, relevance_loss=TRIPLET)

CONSTRUCTORS = [
    (losses.TripletLoss, {"margin": "0.2"}, "margin must be a number, got '0.2'"),
    (losses.TripletLoss, {"margin": True}, "margin must be a number, got True"),
    (losses.TripletLoss, {"margin": None}, "margin must be a number, got None"),
    (losses.TripletLoss, {"margin": [0.2]}, r"margin must be a number, got \[0.2\]"),
    (losses.TripletLoss, {"margin": NAN}, "margin must be a finite number of at least 0, got nan"),
    (losses.TripletLoss, {"mining": "hard"}, "mining must be one of 'all', 'hardest', 'soft', 'selective', got 'hard'"),
    (losses.TripletLoss, {"positive_threshold": "0.5"}, "positive_threshold must be a number or None, got '0.5'"),
    (losses.TripletLoss, {"directions": "i2t"}, r"directions must be several in a tuple or list, got 'i2t': write \("),
    (losses.TripletLoss, {"directions": ["i2t", 3]}, "every entry of directions must be one of 'i2t', .*, got 3"),
    (losses.TripletLoss, {"reduction": None}, "reduction must be one of 'mean', 'sum', got None"),
    (losses.LadderLoss, {"cumulative": "no"}, "cumulative must be True or False, got 'no'"),
    (losses.LadderLoss, {"thresholds": 0.6}, r"thresholds must be several in a tuple or list, got 0.6: write \(0.6,\)"),
    (losses.LadderLoss, {"thresholds": ["0.6"]}, "every entry of thresholds must be a number, got '0.6'"),
    (losses.LadderLoss, {"weights": {"a": 1}}, "weights must be several in a tuple or list, got {'a': 1}"),
    (losses.SmoothNDCGLoss, {"gain": "log"}, "gain must be one of 'exponential', 'linear', got 'log'"),
    (losses.HierarchicalAPLoss, {"temperature": 0}, "temperature must be a finite number above 0, got 0"),
    (losses.LSEHLoss, {"semantic_weight": "1"}, "semantic_weight must be a number, got '1'"),
    (losses.RelevanceMarginLoss, {"margin": False}, "margin must be a number, got False"),
    (losses.SymmetricMultiSimilarityLoss, {"slack": INF}, "slack must be a finite number of at least 0, got inf"),
    (losses.KendallLoss, {"window": 2.5}, "window must be a whole number or None, got 2.5"),
    (losses.KendallLoss, {"stride": "1"}, "stride must be a whole number, got '1'"),
    (losses.ContrastiveLoss, {"learnable": "no"}, "learnable must be True or False, got 'no'"),
    (losses.ContrastiveLoss, {"relevance_weight": 2}, r"relevance_weight must lie in \[0, 1\], got 2"),
    (losses.RankedContrastiveLoss, {"variant": "both"}, "variant must be one of 'in', 'out', got 'both'"),
    (
        losses.RankedContrastiveLoss,
        {"temperatures": [0.1, None]},
        "every entry of temperatures must be a number, got N",
    ),
    (losses.SigmoidLoss, {"bias": "-10"}, "bias must be a number.*, got '-10'"),
    (losses.WeightedSumLoss, {"losses": [TRIPLET], "weights": {}}, "losses must be a dict, got "),
    (WEIGHTED, {"weights": {"a": "1"}}, "every entry of weights must be a number, got '1'"),
    (WEIGHTED, {"weights": {1: 1.0}}, "every key of weights must be a text, got 1"),
    (metrics.RecallAtK, {"k": "5"}, "k must be a whole number, got '5'"),
    (metrics.RecallAtK, {"k": True}, "k must be a whole number, got True"),
    (metrics.RecallAtK, {"k": 0}, "k must be a whole number of at least 1, got 0"),
    (metrics.RecallAtK, {"recall": "some"}, "recall must be one of 'any', 'all', got 'some'"),
    (metrics.RecallAtK, {"direction": "v2t"}, "direction must be one of 'i2t', 't2i', 'i2i', 't2t', got 'v2t'"),
    (metrics.RecallAtK, {"similarity": "dot"}, "similarity must be a function or None, got 'dot'"),
    (metrics.RecallAtK, {"relevance": 3}, "relevance must have a method block, as a RelevanceTable, got 3"),
    (metrics.RecallAtK, {"folds": 1.5}, "folds must be a whole number, got 1.5"),
    (metrics.RSum, {"ks": "1"}, "ks must be several in a tuple or list, got '1'"),
    (metrics.MedianRank, {"chunk_size": 3}, "chunk_size must be a whole number of at least 64, got 3"),
    (metrics.RetrievalNDCG, {"k": "all"}, "k must be a whole number or 'relevant', got 'all'"),
    (metrics.RetrievalNDCG, {"exclude_positives": "no"}, "exclude_positives must be True or False, got 'no'"),
    (metrics.CoherentScore, {"k": 1}, "k must be a whole number of at least 2, got 1"),
    (
        metrics.MeanAveragePrecision,
        {"positive_threshold": True},
        "positive_threshold must be a number or None, got True",
    ),
    (metrics.CumulativeSemantic, {"k": [10]}, r"k must be a whole number, got \[10\]"),
    (metrics.RetrievalMetrics, {"recall_ks": 5}, r"recall_ks must be several in a tuple or list, got 5: write \(5,\)"),
    (
        metrics.RetrievalMetrics,
        {"recall_ks": [0]},
        "every entry of recall_ks must be a whole number of at least 1, got 0",
    ),
    (metrics.RetrievalMetrics, {"ndcg_ks": ["10"]}, "every entry of ndcg_ks must be a whole number or 'relevant', got"),
    (
        metrics.RetrievalMetrics,
        {"coherent_ks": [1]},
        "every entry of coherent_ks must be a whole number of at least 2, g",
    ),
    (metrics.RetrievalMetrics, {"rank_statistics": "false"}, "rank_statistics must be True or False, got 'false'"),
    (
        metrics.RetrievalMetrics,
        {"directions": ["i2t", "x"]},
        "every entry of directions must be one of 'i2t', .* got 'x'",
    ),
    (metrics.RetrievalMetrics, {"extra": metrics.RecallAtK()}, "extra must be several in a tuple or list, got "),
    (Reading, {"positives": "all"}, "positives must be a whole number, got 'all'"),
    (Reading, {"listed": -1}, "listed must be a whole number of at least 0, got -1"),
    (Reading, {"exclude_positives": 1}, "exclude_positives must be True or False, got 1"),
    (CIDER, {"n": "4"}, "n must be a whole number, got '4'"),
    (CIDER, {"tokenizer": "jieba"}, "tokenizer must be a function or None, got 'jieba'"),
    (relevance.LSARelevance, {"n_components": 1.5}, "n_components must be a whole number, got 1.5"),
    (relevance.SBERTRelevance, {"model": 3}, "model must be a text or a path, got 3"),
    (relevance.SBERTRelevance, {"model": "./no/folder"}, "model must be an existing folder, .* got './no/folder'"),
    (relevance.SBERTRelevance, {"device": 0}, "device must be a text or None, got 0"),
    (relevance.PrecomputedRelevance, {"path": None}, "path must be a text or a path, got None"),
    (relevance.PrecomputedRelevance, {"path": "no.npy"}, "path: nothing at 'no.npy'"),
    (
        relevance.CaptionEnsemble,
        {"sources": ["cider"], "weights": [1]},
        "every entry of sources must be a RelevanceSour",
    ),
    (
        relevance.CaptionEnsemble,
        {"sources": CIDER(), "weights": [1]},
        "sources must be several in a tuple or list, got ",
    ),
    (relevance.CaptionEnsemble, {"sources": [CIDER()], "weights": ["1"]}, "every entry of weights must be a number"),
    (FEATURES, {"features": [[1.0]]}, "features must have 2 rows, one per caption, got 1"),
    (FEATURES, {"features": "no.npy"}, "features: nothing at 'no.npy'"),
    (FEATURES, {"features": torch.eye(3)}, "features must have 2 rows, one per caption, got 3"),
    (FEATURES, {"features": EYE * NAN}, "features must be finite numbers, got .* row 0"),
    (FEATURES, {"features": EYE, "rescale": "square"}, "rescale must be 'clip' or 'shift', got 'square'"),
    (FEATURES, {"features": EYE, "label": 3}, "label must be a text, got 3"),
    (ShapesSource, {"num_images": "40"}, "num_images must be a whole number, got '40'"),
    (ShapesSource, {"seed": 1.5}, "seed must be a whole number, got 1.5"),
    (KarpathySource, {"captions": 3, "images": "."}, "captions must be a text or a path, got 3"),
    (KarpathySource, {"captions": "no.json", "images": "."}, "captions: nothing at 'no.json'"),
    (PrecompSource, {"root": "nowhere"}, "root: nothing at 'nowhere'"),
    (PrecompSource, {"root": ".", "splits": ["train"]}, "splits must be a dict or None, got "),
    (HuggingFaceSource, {"path": 3}, "path must be a text or a path, got 3"),
    (ImageTextDataModule, {"source": "shapes"}, "source must be an ImageTextSource, got 'shapes'"),
    (MODULE, {"batch_size": "8"}, "batch_size must be a whole number, got '8'"),
    (MODULE, {"num_workers": -1}, "num_workers must be a whole number of at least 0, got -1"),
    (MODULE, {"relevance": "sbert"}, "relevance must be a RelevanceSource or 'source' or None, got 'sbert'"),
    (MODULE, {"labels_on_device": "no"}, "labels_on_device must be True or False, got 'no'"),
    (MODULE, {"transforms": "resize"}, "transforms must be a function or a dict or None, got 'resize'"),
    (
        MODULE,
        {"eval_sources": {"coco": "shapes"}},
        "every entry of eval_sources must be an ImageTextSource, got 'shapes'",
    ),
    (callbacks.WeightInterpolation, {"alpha": True}, "alpha must be a number, got True"),
    (MODULE, {"predict_split": None}, "predict_split must be a text, got None"),
    (MODULE, {"cache_dir": 3}, "cache_dir must be a text or a path or None, got 3"),
    (callbacks.HardNegativeWarmup, {"epochs": 0.5}, "epochs must be a whole number, got 0.5"),
    (SCHEDULE, {"term": None}, "term must be a text, got None"),
    (SCHEDULE, {"end": "1"}, "end must be a number, got '1'"),
    (callbacks.EmbeddingWriter, {"file_format": "csv"}, "file_format must be one of 'safetensors', 'npy', got 'csv'"),
    (callbacks.EmbeddingWriter, {"folder": 3}, "folder must be a text or a path or None, got 3"),
    (callbacks.RetrievalGallery, {"stages": "val"}, "stages must be several in a tuple or list, got 'val'"),
    (callbacks.RetrievalGallery, {"source": "shapes"}, "source must be an ImageTextSource or None, got 'shapes'"),
    (GRUTextEncoder, {"bidirectional": "no"}, "bidirectional must be True or False, got 'no'"),
    (GRUTextEncoder, {"min_count": 1.5}, "min_count must be a whole number, got 1.5"),
    (GRUTextEncoder, {"dropout": NAN}, r"dropout must lie in \[0, 1\], got nan"),
    (GRUTextEncoder, {"vectors": 3}, "vectors must be a text or a path or None, got 3"),
    (GRUTextEncoder, {"pooling": "avg"}, "pooling must be one of 'last', 'mean', 'max', 'gpo', got 'avg'"),
    (FeatureImageEncoder, {"input_dim": "8"}, "input_dim must be a whole number, got '8'"),
    (FeatureImageEncoder, {"input_dim": 8, "dropout": 2}, r"dropout must lie in \[0, 1\], got 2"),
    (FeatureImageEncoder, {"input_dim": 8, "power": 0}, "power must be a finite number above 0, got 0"),
    (TIMM, {"freeze": "no"}, "freeze must be True or False, got 'no'"),
    (TIMM, {"crop_scale": 0.6}, "crop_scale must be 2 in a tuple or list, got 0.6"),
    (TIMM, {"crop_scale": [0.6]}, r"crop_scale must be 2 in a tuple or list, got \[0.6\]"),
    (TIMM, {"horizontal_flip": "0.5"}, "horizontal_flip must be a number, got '0.5'"),
    (TimmImageEncoder, {"model": None}, "model must be a text, got None"),
    (TransformerTextEncoder, {"model": 3}, "model must be a text or a path, got 3"),
    (TransformerTextEncoder, {"model": "./no/folder"}, "model must be a folder .* got no folder './no/folder'"),
    (CLIPRetriever, {"model": None}, "model must be a text, got None"),
    (CLIPRetriever, {"model": "/no/folder"}, "model must be a folder .* got no folder '/no/folder'"),
    (HuggingFaceSource, {"path": "./nowhere"}, r"path: nothing at './nowhere'"),
    (dual_encoder, {"image_encoder": "resnet"}, "image_encoder must be a module, got str"),
    (dual_encoder, {"text_encoder": None}, "text_encoder must be a module, got NoneType"),
    (dual_encoder, {"relevance_loss": "triplet"}, "relevance_loss must be a RetrievalLoss or None, got 'triplet'"),
    (dual_encoder, {"optimizer": "adam"}, "optimizer must be a function or None, got 'adam'"),
    (dual_encoder, {"lr_interval": "week"}, "lr_interval must be one of 'epoch', 'step', got 'week'"),
    (dual_encoder, {"lr_warmup_steps": 1.5}, "lr_warmup_steps must be a whole number, got 1.5"),
    (dual_encoder, {"relevance_gather": "no"}, "relevance_gather must be True or False, got 'no'"),
    (MIXED, {"relevance_weight": True}, "relevance_weight must be a number, got True"),
    (MIXED, {"relevance_gather": "no"}, "relevance_gather must be True or False, got 'no'"),
    (MIXED, {"relevance_queue_size": -1}, "relevance_queue_size must be a whole number of at least 0, got -1"),
    (MIXED, {"relevance_chunk_size": "8"}, "relevance_chunk_size must be a whole number or None, got '8'"),
]

FUNCTIONS = [
    (functional.triplet, {"scores": SCORES.numpy()}, "scores must be a Tensor, got a ndarray"),
    (functional.triplet, {"scores": SCORES[0]}, r"scores must be \(queries, candidates\) .* got \(2,\)"),
    (functional.triplet, {"positives": MATCHES.float()}, "positives must be a bool mask, got torch.float32"),
    (functional.triplet, {"positives": MATCHES[:1]}, r"positives must have the shape of scores \(2, 2\), got \(1, 2\)"),
    (functional.triplet, {"mining": "hard"}, "mining must be one of 'all', 'hardest', 'soft', 'selective', got 'hard'"),
    (functional.triplet, {"margin": NAN}, "margin must be a number, got nan"),
    (functional.triplet, {"margin": "0.2"}, "margin must be a number or a Tensor, got '0.2'"),
    (
        functional.ladder,
        {"threshold_mode": "rank"},
        "threshold_mode must be one of 'absolute', 'percentile', got 'rank'",
    ),
    (functional.ladder, {"cumulative": "no"}, "cumulative must be True or False, got 'no'"),
    (functional.ladder, {"margins": 0.2}, "margins must be several in a tuple or list, got 0.2"),
    (functional.smooth_ndcg, {"relevance": RELEVANCE[:1]}, r"relevance must have the shape of scores \(2, 2\), got"),
    (functional.smooth_ndcg, {"surrogate": "tanh"}, "surrogate must be one of 'sigmoid', 'bound', got 'tanh'"),
    (functional.hierarchical_ap, {"scores": SCORES.int()}, "scores must be floating point, got torch.int32"),
    (functional.semantic_margin, {"semantic_weight": None}, "semantic_weight must be a number, got None"),
    (functional.multi_similarity, {"relevance": 1}, "relevance must be a Tensor, got 1"),
    (functional.kendall, {"window": "4"}, "window must be a whole number or None, got '4'"),
    (functional.contrastive, {"scale": "20"}, "scale must be a number or a Tensor, got '20'"),
    (functional.ranked_contrastive, {"variant": "both"}, "variant must be one of 'in', 'out', got 'both'"),
    (functional.sigmoid, {"relevance_weight": "1"}, "relevance_weight must be a number, got '1'"),
    (functional.ranks, {"scores": SCORES.tolist()}, "scores must be a tensor, got list"),
    (functional.ranks, {"scores": SCORES * NAN}, "scores must be numbers, got NaN for query 0 and candidate 0"),
    (functional.recall_at_k, {"k": 1.5}, "k must be a whole number of at least 1, got 1.5"),
    (functional.ndcg_at_k, {"relevance": RELEVANCE + 1}, r"relevance must lie in \[0, 1\], got values from 1.2"),
    (functional.coherent_score, {"relevance": RELEVANCE.numpy()}, "relevance must be a tensor, got ndarray"),
    (functional.average_precision, {"positives": None}, "positives must be a tensor, got NoneType"),
    (TRIPLET, {"scores": SCORES.numpy()}, "TripletLoss: scores must be a tensor, got ndarray"),
    (
        TRIPLET,
        {"relevance": RELEVANCE + 1},
        r"TripletLoss: relevance must be finite and lie in \[0, 1\], got values fr",
    ),
    (TRIPLET, {"positives": RELEVANCE}, "TripletLoss: positives must be bool, got torch.float32"),
    (losses.SmoothNDCGLoss(), {"relevance": None}, "SmoothNDCGLoss needs relevance"),
]
CALLS = [
    (functional.cosine_similarity, (EYE, [[1.0]]), "text_embeds must be a tensor"),
    (functional.agreement, ("x", EYE[0]), "values must be a Tensor, got 'x'"),
    (functional.bootstrap_interval, ([1.0, 2.0],), "values must be a Tensor or a dict, got "),
    (functional.bootstrap_interval, ({"i2t": [1.0]},), "values must be tensors"),
    (functional.paired_randomization_test, (EYE[0], None), "second must be a Tensor or a dict, got None"),
    (TRIPLET.from_embeddings, (EYE, EYE, {"image_ids": [1]}), "targets must be RetrievalTargets or None, got dict"),
    (TRIPLET.from_embeddings, (EYE, EYE, None, "dot"), "similarity must be a function of embeddings, got 'dot'"),
    (TRIPLET.from_embeddings, (EYE, EYE * NAN), "embeddings must be finite"),
    (load_retriever, (3,), "path must be a text or a path, got 3"),
    (load_retriever, ("no.ckpt",), "checkpoint: nothing at 'no.ckpt'"),
    (CIDER().fit, ("a dog", [0]), "captions must be a list of texts, got the single str 'a dog'"),
    (CIDER().fit, (3, [0]), "captions must be a list of texts, got the single int 3"),
    (CIDER().fit, (["a dog", None], [0, 1]), "captions must be texts, got None .* in row 1"),
    (CIDER().fit, (["a dog"], [0, 1]), "captions and their ids must be as many, .* got 1 captions, 2 image_ids"),
    (FEATURES(EYE).block, ([9], [0]), "image_ids .* 9"),
    (FEATURES(EYE).block, ([0], ["a"]), "text_ids "),
    (evaluate_embeddings, ("x", EYE), "image_embeds must be a tensor or an array, got str"),
    (evaluate_embeddings, (3, EYE), "image_embeds must be a tensor or an array, got the single number 3"),
    (evaluate_embeddings, (EYE, EYE * NAN), "text_embeds must be finite"),
    (evaluate_scores, ("recall", SCORES), "metrics must be of vse_lightning.metrics"),
    (evaluate_scores, ([metrics.RecallAtK()], SCORES * NAN), "scores must be numbers, got NaN"),
]
KEYWORDS = [
    (targets, {"image_ids": 3}, "image_ids must be integers or strings, one a row, got int"),
    (targets, {"image_ids": [0.5, 1.5]}, "image_ids must be integers or strings, one a row, got torch.float32"),
    (targets, {"image_ids": ["a", None]}, "image_ids must be integers or strings, one a row, got a list of"),
    (targets, {"image_ids": [[0], [1, 2]]}, "image_ids must be integers or strings, one a row, got a list of list"),
    (targets, {"image_ids": ["a", "b"]}, "image_ids and text_image_ids must be of one kind, got strings and integers"),
    (targets, {"text_image_ids": None}, "text_image_ids must be given where image_ids are"),
    (targets, {"text_ids": [0]}, "text_ids must have one entry for each of the 2 text embeddings, got 1"),
    (targets, {"relevance": "sbert"}, r"relevance must be a tensor or a table with a method block"),
    (targets, {"relevance": torch.rand(3, 2)}, r"relevance must be a block of 2 images x 2 texts, got shape \(3, 2\)"),
    (targets, {"text_features": torch.rand(2)}, r"text_features must be one row for each text, got shape \(2,\)"),
    (updated, {"image_embeds": EYE * NAN}, "image_embeds must be finite"),
    (updated, {"text_embeds": "x"}, "text_embeds must be"),
    (updated, {"text_image_ids": [0, 9]}, "text_image_ids names images that update never saw: 9"),
    (updated, {"image_ids": [True, False]}, "image_ids must be integers or strings, one a row, got torch.bool"),
]


def named(value):
    wrapped = value.func if isinstance(value, partial) else value
    return getattr(wrapped, "__name__", None) if callable(wrapped) else None


@pytest.mark.parametrize(("made", "arguments", "message"), CONSTRUCTORS, ids=named)
def test_constructors(made, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=f"^{message}"):
        made(**arguments)


@pytest.mark.parametrize(("function", "arguments", "message"), FUNCTIONS, ids=named)
def test_functions_of_lists(function, arguments, message):
    names = inspect.signature(function.forward if isinstance(function, torch.nn.Module) else function).parameters
    fitting = {name: value for name, value in {**LISTS, "k": 1}.items() if name in names}
    with pytest.raises(ValueError, match=f"^{message}"):
        function(**fitting | arguments)


@pytest.mark.parametrize(("function", "arguments", "message"), CALLS, ids=named)
def test_calls(function, arguments, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=f"^{message}"):
        function(*arguments)


@pytest.mark.parametrize(("function", "arguments", "message"), KEYWORDS, ids=named)
def test_ids_and_labels_of_a_batch(function, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        function(**arguments)
