"""The full protocol (R@{1,5,10}, NDCG@10, CS@100, both directions) against what people use today.

    python examples/benchmarks/metrics.py                          # 1,000 images x 5,000 texts, all rivals
    python examples/benchmarks/metrics.py --images 5000 --no-rivals
    python examples/benchmarks/metrics.py --no-rivals --further    # what other metrics and the baselines cost
    python examples/benchmarks/metrics.py --images 20000 --width 64 --feature-width 64 --no-rivals --repeats 1

Times are CPU seconds, of all threads. Our rows are the median of several runs in one process, the rivals run once. They
loop over queries: torchmetrics (NDCG and recall) with scipy's kendalltau, the NumPy loop of the VSE++ code extended to
the graded metrics, and, where it is installed, ranx, for the recalls only (its grades are integers). "embeddings"
starts from embeddings and caption features, "matrices" from the score and relevance matrices. The two products alone
are the lower bound. ``results/metrics`` has two runs.
"""

import argparse
import importlib.util
import resource
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from losses import circumstances, elapsed, write
from scipy.stats import kendalltau
from torch import Tensor
from torchmetrics.retrieval import RetrievalNormalizedDCG, RetrievalRecall

from vse_lightning.functional.similarity import caption_relevance, cosine_similarity
from vse_lightning.metrics import (
    CumulativeSemantic,
    HierarchicalAP,
    MeanAveragePrecision,
    RetrievalMetrics,
    RetrievalNDCG,
    evaluate_scores,
)

KS = (1, 5, 10)
FURTHER = {
    "mAP": MeanAveragePrecision,
    "NCS@10": lambda direction: CumulativeSemantic(10, direction),
    "NDCG@10 without positives": lambda direction: RetrievalNDCG(10, direction, exclude_positives=True),
    "NDCG@relevant": lambda direction: RetrievalNDCG("relevant", direction),
    "mAP from 0.5": lambda direction: MeanAveragePrecision(direction, positive_threshold=0.5),
    "H-AP": HierarchicalAP,
}


def make_gallery(num_images: int, width: int, feature_width: int) -> dict[str, Tensor]:
    """Five captions per image: a retrieval model that is right about half of the time, labels with some structure."""
    generator = torch.Generator().manual_seed(0)
    image_of_text = torch.arange(num_images).repeat_interleave(5)
    topics = torch.randn(num_images, 16, generator=generator) @ torch.randn(16, width, generator=generator)
    images = topics + 2 * torch.randn(num_images, width, generator=generator)
    texts = images[image_of_text] + 9 * torch.randn(5 * num_images, width, generator=generator)
    projection = torch.randn(width, feature_width, generator=generator)
    features = topics[image_of_text] @ projection / width**0.5
    features += 3 * torch.randn(features.shape, generator=generator)
    return {
        "image_embeds": images,
        "text_embeds": texts,
        "image_ids": torch.arange(num_images),
        "text_image_ids": image_of_text,
        "text_features": torch.nn.functional.normalize(features, dim=1),
        "text_ids": torch.arange(5 * num_images),
    }


def products(gallery: dict[str, Tensor]) -> None:
    """The two matrix products that nobody can avoid, in blocks: images x texts and texts x texts."""
    texts, features = gallery["text_embeds"], gallery["text_features"]
    for images in gallery["image_embeds"].split(500):
        images @ texts.T
    for captions in features.split(500):
        captions @ features.T


def ours(gallery: dict[str, Tensor], *further: str) -> dict[str, float]:
    """One pass of the collection, with further metrics in both directions."""
    extra = [FURTHER[name](direction) for name in further for direction in ("i2t", "t2i")]
    metrics = RetrievalMetrics(recall_ks=KS, extra=extra)
    metrics.update(**gallery)
    return {name: float(value) for name, value in metrics.compute().items()}


def baselines(gallery: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """What random scores and the labels themselves get."""
    metrics = RetrievalMetrics(recall_ks=KS)
    metrics.update(**gallery)
    return metrics.baselines()


def ours_from_matrices(scores: Tensor, relevance: Tensor, positives: Tensor) -> dict[str, float]:
    """The same metrics from given matrices."""
    metrics = dict(RetrievalMetrics(recall_ks=KS).items())
    return {name: float(value) for name, value in evaluate_scores(metrics, scores, relevance, positives).items()}


def matrices(gallery: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, relevance and positives, as the rivals need them."""
    scores = cosine_similarity(gallery["image_embeds"], gallery["text_embeds"])
    positives = gallery["image_ids"][:, None] == gallery["text_image_ids"]
    captions = torch.arange(len(gallery["text_ids"])).view(-1, 5)
    features = gallery["text_features"]
    return scores, caption_relevance(features, captions, features).masked_fill(positives, 1), positives


def torchmetrics_and_scipy(scores: Tensor, relevance: Tensor, positives: Tensor) -> dict[str, float]:
    """Torchmetrics on flat tensors, one query after the other, and scipy for each query's 100 best."""
    values = {}
    for direction in ("i2t", "t2i"):
        if direction == "t2i":
            scores, relevance, positives = scores.T.contiguous(), relevance.T.contiguous(), positives.T.contiguous()
        queries = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
        for k in KS:
            # RetrievalRecall is the share of positives found and drops scores <= 0: shift them.
            recall = RetrievalRecall(top_k=k)(scores.flatten() + 2, positives.flatten(), indexes=queries)
            values[f"{direction}_recall_of_all_at_{k}"] = float(recall)
        gains = torch.exp2(relevance) - 1
        ndcg = RetrievalNormalizedDCG(top_k=10)(scores.flatten(), gains.flatten(), indexes=queries)
        values[f"{direction}_ndcg_at_10"] = float(ndcg)
        best = scores.topk(100)
        pairs = zip(best.values.numpy(), relevance.gather(1, best.indices).numpy(), strict=True)
        values[f"{direction}_coherent_score_at_100"] = statistics.fmean(kendalltau(s, r).statistic for s, r in pairs)
    return values


def numpy_loop(scores: Tensor, relevance: Tensor, positives: Tensor) -> dict[str, float]:
    """An argsort per query as in the VSE++ code."""
    values = {}
    for direction in ("i2t", "t2i"):
        s, r, p = scores.numpy(), relevance.numpy(), positives.numpy()
        if direction == "t2i":
            s, r, p = s.T, r.T, p.T
        ranks, ndcgs, taus = np.zeros(len(s)), [], []
        discount = 1 / np.log2(np.arange(2, 12))
        for query in range(len(s)):
            order = np.argsort(s[query])[::-1]
            ranks[query] = np.flatnonzero(p[query][order])[0]
            ideal = np.sort(r[query])[::-1][:10]
            ndcgs.append((2 ** r[query][order[:10]] - 1) @ discount / ((2**ideal - 1) @ discount))
            taus.append(kendalltau(s[query][order[:100]], r[query][order[:100]]).statistic)
        values |= {f"{direction}_recall_at_{k}": float((ranks < k).mean()) for k in KS}
        values[f"{direction}_ndcg_at_10"] = float(np.mean(ndcgs))
        values[f"{direction}_coherent_score_at_100"] = float(np.mean(taus))
    return values


def ranx_recalls(scores: Tensor, relevance: Tensor, positives: Tensor) -> dict[str, float]:
    """The recalls by ranx, from dictionaries of each query's ten best; the second run, when numba has compiled."""
    from ranx import Qrels, Run, evaluate

    values = {}
    for direction in ("i2t", "t2i"):
        if direction == "t2i":
            scores, positives = scores.T, positives.T
        best = scores.topk(max(KS))
        lists = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        run = {
            str(query): {str(candidate): score for candidate, score in zip(*of_query, strict=True)}
            for query, of_query in enumerate(lists)
        }
        judged = {
            str(query): {str(candidate): 1 for candidate in of_query.nonzero().flatten().tolist()}
            for query, of_query in enumerate(positives)
        }
        found = evaluate(Qrels(judged), Run(run), [f"hit_rate@{k}" for k in KS])
        values |= {f"{direction}_recall_at_{k}": float(found[f"hit_rate@{k}"]) for k in KS}
    return values


def peak_megabytes() -> float:
    """What this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(work: Callable[[], object], repeats: int = 1) -> float:
    """Median seconds."""
    return statistics.median(elapsed(work, "cpu") for _ in range(repeats))


class Table:
    """Prints rows, and keeps them for a file."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | str]] = []

    def add(self, name: str, seconds: float, compared: float | None = None, to: str = "") -> None:
        """A row: what took how many seconds, and how often as many as something else."""
        row: dict[str, float | str] = {"name": name, "seconds": round(seconds, 2)}
        if compared is not None:
            row[f"times {to}"] = round(seconds / compared, 2)
        self.rows.append(row)
        times = "" if compared is None else f"{seconds / compared:8.2f} x {to}"
        print(f"{name:44}{seconds:9.2f} s{times}", flush=True)


def with_further(gallery: dict[str, Tensor], table: Table, repeats: int, standard: float) -> None:
    """What metrics beyond the standard protocol cost, one by one and together, and the baselines."""
    works = {f"with {name}": partial(ours, gallery, name) for name in FURTHER}
    works |= {"with all of these": partial(ours, gallery, *FURTHER), "baselines": partial(baselines, gallery)}
    for name, work in works.items():
        table.add(name, measure(work, repeats), standard, "the standard pass")


def with_rivals(
    gallery: dict[str, Tensor], table: Table, repeats: int, from_embeddings: float, values: dict[str, float]
) -> None:
    """The rivals' times as multiples of ours, and how far their values lie from ours."""
    given = matrices(gallery)
    making = measure(lambda: matrices(gallery), repeats)
    from_matrices = measure(lambda: ours_from_matrices(*given), repeats)
    table.add("vse_lightning, matrices", from_matrices)
    rivals = {"torchmetrics + scipy": torchmetrics_and_scipy, "VSE++ loop + scipy": numpy_loop}
    if importlib.util.find_spec("ranx"):
        ranx_recalls(*given)  # numba compiles
        rivals["ranx, recalls only"] = ranx_recalls
    for name, rival in rivals.items():
        theirs: dict[str, float] = {}
        seconds = measure(lambda: theirs.update(rival(*given)))  # noqa: B023
        table.add(f"{name}, embeddings", making + seconds, from_embeddings, "ours")
        table.add(f"{name}, matrices", seconds, from_matrices, "ours")
        shared = values.keys() & theirs.keys()
        difference = max(abs(values[key] - theirs[key]) for key in shared)
        print(f"    largest difference in {len(shared)} values: {difference:.1e}")


def main() -> None:
    """Print one table, and write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--feature-width", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5, help="1: the first run counts, nothing is warm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--further", action="store_true", help="the pass with further metrics, and the baselines")
    parser.add_argument("--no-rivals", action="store_true", help="for sizes at which the rivals take an hour")
    parser.add_argument("--output", type=Path, help="folder to write the rows to, as {images}x{texts}.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    gallery = make_gallery(arguments.images, arguments.width, arguments.feature_width)
    print(f"{arguments.images:,} images x {5 * arguments.images:,} texts, {arguments.threads} threads")
    products({name: rows[:500] for name, rows in gallery.items()})  # a first product loads libraries
    before = peak_megabytes()
    values: dict[str, float] = {}
    from_embeddings = measure(lambda: values.update(ours(gallery)))  # also warms up
    extra = peak_megabytes() - before
    print(f"{'memory beside the embeddings, at most':44}{extra:9.0f} MiB")
    table = Table()
    if arguments.repeats > 1:
        from_embeddings = measure(lambda: ours(gallery), arguments.repeats)
    table.add("vse_lightning, embeddings", from_embeddings)
    table.add("the two products alone", measure(lambda: products(gallery), arguments.repeats), from_embeddings, "ours")
    if arguments.further:
        with_further(gallery, table, arguments.repeats, from_embeddings)
    if not arguments.no_rivals:
        with_rivals(gallery, table, arguments.repeats, from_embeddings, values)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        settings = {name: vars(arguments)[name] for name in ("images", "width", "feature_width", "repeats")}
        found = circumstances("cpu") | settings | {"memory_mib": round(extra), "rows": table.rows}
        file = arguments.output / f"{arguments.images}x{5 * arguments.images}.json"
        write(found, file)
        print(file)


if __name__ == "__main__":
    main()
