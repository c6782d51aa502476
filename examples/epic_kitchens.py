"""Multi-instance retrieval of EPIC-Kitchens-100: python examples/epic_kitchens.py [FOLDER [SCORES.npy]]

Builds the relevance of videos to captions from the public tables in FOLDER (retrieval_annotations of
https://github.com/epic-kitchens/epic-kitchens-100-annotations) and evaluates scores, videos x captions in the order of
the tables, as the challenge does: nDCG and mAP, both ways and their mean. Without SCORES it evaluates random scores and
the relevance itself, without FOLDER on tables made up for the occasion.

Two captions are as relevant to each other as they share verb and nouns: half for the same class of verb, half for the
intersection over union of the classes of nouns. Any number of captions matches a video, and any number of videos a
caption, so there are no ids to pair by: `evaluate_scores` takes matrices. The same from files, with intervals, after
`np.save("relevance.npy", relevance_of(folder))`:

    vse-lightning evaluate SCORES.npy --relevance relevance.npy --intervals
        --extra_metrics vse_lightning.metrics.RetrievalNDCG --extra_metrics.k relevant --extra_metrics.gain linear
        --extra_metrics epic_kitchens.ChallengeAP --extra_metrics.direction i2t
"""

import csv
import sys
import tempfile
from ast import literal_eval
from pathlib import Path

import numpy as np
import torch

from vse_lightning.metrics import ALL, MeanAveragePrecision, Reading, RetrievalMetric, RetrievalNDCG, evaluate_scores

VIDEOS, CAPTIONS = "EPIC_100_retrieval_test.csv", "EPIC_100_retrieval_test_sentence.csv"


def relevance_of(folder: Path) -> np.ndarray:
    """Relevance (videos, captions) in [0, 1]; a caption has the classes of the video that it was written for."""
    videos, captions = (list(csv.DictReader((folder / name).open(encoding="utf-8"))) for name in (VIDEOS, CAPTIONS))
    verbs = np.array([int(video["verb_class"]) for video in videos])
    nouns = [literal_eval(video["all_noun_classes"]) for video in videos]
    named = np.zeros((len(videos), 1 + max(map(max, nouns))), dtype=np.float32)
    for row, classes in enumerate(nouns):
        named[row, classes] = 1
    row_of = {video["narration_id"]: row for row, video in enumerate(videos)}
    written_for = [row_of[caption["narration_id"]] for caption in captions]
    shared = named @ named[written_for].T
    either = named.sum(axis=1)[:, None] + named[written_for].sum(axis=1) - shared
    return (verbs[:, None] == verbs[written_for]) / 2 + shared / either / 2


class ChallengeAP(RetrievalMetric):
    """Average precision as the challenge's code computes it, the mean over the captions or videos of relevance 1.

    The precision at one of them adds up the relevance of all before it, partial relevance too. Random scores get 5.7 %
    by it, where the usual average precision (`MeanAveragePrecision`) gives them 0.3 %: never compare the two.
    """

    def __init__(self, direction: str, **options) -> None:
        super().__init__(**options)
        self.name, self.directions = f"{direction}_challenge_ap", (direction,)
        self.reading = Reading(listed=ALL, ideal=1, relevant_from=1.0)

    def query_values(self, ranking):
        relevant = ranking.relevance.cumsum(dim=1) / torch.arange(1, ranking.relevance.shape[1] + 1)
        matches = ranking.relevance == 1
        return (relevant * matches).sum(dim=1) / matches.sum(dim=1)


def evaluate(scores: np.ndarray, relevance: np.ndarray) -> dict[str, float]:
    """The values of the challenge in percent, by measure and direction."""
    ndcg = lambda direction: RetrievalNDCG("relevant", direction, gain="linear")  # noqa: E731
    values = {}
    for measure, metric in {"nDCG": ndcg, "mAP": ChallengeAP, "usual mAP": MeanAveragePrecision}.items():
        ways = {"video to text": metric("i2t"), "text to video": metric("t2i")}
        found = evaluate_scores(ways, scores, relevance, positives=relevance == 1)
        values |= {f"{measure}, {way}": 100 * float(value) for way, value in found.items()}
        values[f"{measure}, mean"] = 50 * float(sum(found.values()))
    return values


def made_up_tables(folder: Path, count: int = 300) -> None:
    """Tables in the format of the public ones, of random actions; every third video has a caption."""
    draw = np.random.default_rng(0)
    rows = [(f"P01_01_{row}", draw.integers(10), draw.integers(0, 20, 1 + row % 2).tolist()) for row in range(count)]
    for name, kept in ((VIDEOS, rows), (CAPTIONS, rows[::3])):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("narration_id", "verb_class", "all_noun_classes"), *kept])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made_up_tables(Path(folder))
        relevance = relevance_of(Path(sys.argv[1] if len(sys.argv) > 1 else folder))
    random = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(0)).numpy()
    given = {"your scores": np.load(sys.argv[2])} if len(sys.argv) > 2 else {}
    print(f"{relevance.shape[0]:,} videos, {relevance.shape[1]:,} captions")
    for name, scores in (given or {"random scores": random, "the relevance itself": relevance}).items():
        print(name)
        for measure, value in evaluate(scores, relevance).items():
            print(f"  {measure:24} {value:6.2f}")


if __name__ == "__main__":
    main()
