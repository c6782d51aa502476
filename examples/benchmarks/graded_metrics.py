"""Every graded metric on the Flickr8k test split: random scores, a trained model and the labels themselves.

    VSE_DATA=... python examples/benchmarks/graded_metrics.py runs/flickr8k/version_0/checkpoints/last.ckpt

What a value means depends on its floor and its ceiling, and on whether the query's own captions are in its list: their
relevance is 1, and a model that finds them has most of what there is to gain. Labels are those of MiniLM. "share" is
how far the model has come from random to ideal. The result is a JSON file and a table in
``examples/benchmarks/results/graded``.
"""

import argparse
import json
import os
from pathlib import Path

from flickr8k_tables import table
from lightning import Trainer

from vse_lightning.data import ImageTextDataModule, KarpathySource
from vse_lightning.metrics import (
    CoherentScore,
    CumulativeSemantic,
    HierarchicalAP,
    MeanAveragePrecision,
    RetrievalMetric,
    RetrievalMetrics,
    RetrievalNDCG,
)
from vse_lightning.models import load_retriever
from vse_lightning.relevance import SBERTRelevance

RESULTS = Path(__file__).parent / "results" / "graded"
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}
TEXT = """# Graded metrics on Flickr8k (test, labels of MiniLM)

Made by `examples/benchmarks/graded_metrics.py`; "share" is how far the model has come from random to ideal. The model
is `configs/loss/recommended.yaml`, seed 1 (`results/flickr8k/recommended-sbert-1.json`).

{}
"""
Values = dict[str, dict[str, float]]
"""By column (random, model, ideal) and metric."""


def graded_metrics() -> dict[str, dict[str, RetrievalMetric]]:
    """By direction and what tables call them, with the query's positives in its list and without."""
    of_directions = {}
    for direction in DIRECTIONS:
        metrics = [
            make(direction, without)
            for make in (
                lambda way, without: RetrievalNDCG(10, way, exclude_positives=without),
                lambda way, without: RetrievalNDCG("relevant", way, exclude_positives=without),
                lambda way, without: CoherentScore(100, way, exclude_positives=without),
                lambda way, without: CoherentScore(1000, way, exclude_positives=without),
                lambda way, without: HierarchicalAP(way, exclude_positives=without),
            )
            for without in (False, True)
        ]
        metrics += [CumulativeSemantic(10, direction), MeanAveragePrecision(direction, positive_threshold=0.63)]
        of_directions[direction] = {metric.display_name: metric for metric in metrics}
    return of_directions


def measure(checkpoint: Path, data_folder: Path) -> Values:
    """The values of a model, and the floors and ceilings of the same gallery."""
    source = KarpathySource(
        captions=data_folder / "flickr8k" / "captions.json",
        features=data_folder / "flickr8k" / "efficientnet-lite2_features.f16.npy",
    )
    data = ImageTextDataModule(source, relevance=SBERTRelevance(model="bundled"))
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    batches = trainer.predict(load_retriever(checkpoint), datamodule=data)
    data.setup("test")
    metrics = RetrievalMetrics((), (), (), extra=[m for of in graded_metrics().values() for m in of.values()])
    (metrics.relevance,) = data.eval_relevance_tables.values()
    for batch in batches:
        metrics.update(**batch)
    model = {name: float(value) for name, value in metrics.compute().items()}
    baselines = metrics.baselines()
    return {"random": baselines["random"], "model": model, "ideal": baselines["ideal"]}


def render(values: Values) -> str:
    """The table."""
    heads = [f"{column} {way}" for way in DIRECTIONS.values() for column in ("random", "model", "ideal", "share")]
    rows = [["metric", *heads]]
    by_direction = graded_metrics()
    for name in by_direction["i2t"]:
        cells = []
        for metrics in by_direction.values():
            low, value, high = (values[column][metrics[name].name] for column in ("random", "model", "ideal"))
            share = (value - low) / (high - low)
            cells += [*(f"{number:.3f}" for number in (low, value, high)), f"{100 * share:.0f} %"]
        rows.append([name, *cells])
    return table(rows)


def main() -> None:
    """Measure and write, or only write the table anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a model of Flickr8k; without it the JSON is rendered")
    arguments = parser.parse_args()
    file = RESULTS / "flickr8k.json"
    if arguments.checkpoint is not None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure(arguments.checkpoint, Path(os.environ["VSE_DATA"])), indent=1) + "\n")
    rendered = render(json.loads(file.read_text()))
    (RESULTS / "flickr8k.md").write_text(TEXT.format(rendered))
    print(rendered)


if __name__ == "__main__":
    main()
