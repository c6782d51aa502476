"""The picture that the README begins with: how relevant what stands at each rank is, for models side by side.

vse-lightning predict --config flickr8k.yaml --ckpt_path triplet.ckpt --embeddings.folder triplet       # and so on
VSE_DATA=... python examples/benchmarks/relevance_by_rank.py "hardest-negative triplets=triplet" graded=recommended

Models are ``NAME=FOLDER``, folders that ``predict`` wrote for the test split of Flickr8k. Relevance is that of SBERT
labels. Besides the models the picture shows the ideal order and that of random embeddings.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from loss_pictures import COLOURS, INK, look
from matplotlib import pyplot

from vse_lightning import RetrievalMetrics
from vse_lightning.data import KarpathySource
from vse_lightning.embedding_files import Embeddings, read_embeddings
from vse_lightning.relevance import PrecomputedRelevance, RelevanceTable

RESULTS = Path(__file__).parent / "results" / "flickr8k"
DEPTH = 100
TITLES = {"i2t": "a picture ranks captions", "t2i": "a caption ranks pictures"}

Curves = dict[str, dict[str, list[float]]]


def curves_of(embeddings: Embeddings, table: RelevanceTable) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Mean relevance at each rank, retrieved and ideal, by direction."""
    metrics = RetrievalMetrics(relevance=table)
    metrics.update(**vars(embeddings))
    found = metrics.relevance_by_rank(DEPTH)
    return (
        {d: each.relevance.tolist() for d, each in found.items()},
        {d: each.ideal.tolist() for d, each in found.items()},
    )


def measure(models: dict[str, Path], data: Path) -> Curves:
    """The curves of the models, of random embeddings and of the ideal order, by name and direction."""
    source = KarpathySource(data / "captions.json", features=data / "efficientnet-lite2_features.f16.npy")
    text_ids = source.text_ids(source.splits["test"])
    captions = [source.captions[row] for row in text_ids.tolist()]
    labels = PrecomputedRelevance(data / "minilm_l6_v2_captions.f16.npy")
    table = labels.table(captions, source.text_image_ids[text_ids], text_ids)
    curves: Curves = {}
    for name, folder in models.items():
        embeddings = read_embeddings(folder)
        curves[name], ideal = curves_of(embeddings, table)
    generator = torch.Generator().manual_seed(0)
    drawn = {n: torch.randn(getattr(embeddings, n).shape, generator=generator) for n in ("image_embeds", "text_embeds")}
    curves["random"], _ = curves_of(Embeddings(**{**vars(embeddings), **drawn}), table)
    return {**curves, "ideal": ideal}


def draw(curves: Curves, file: Path) -> None:
    """One panel per direction; grey and colours that read on white and on black."""
    models = [name for name in curves if name not in ("random", "ideal")]
    looks = {name: {"color": colour, "linewidth": 2.2} for name, colour in zip(models, COLOURS, strict=False)}
    looks |= {"ideal": {"color": INK, "linestyle": "--"}, "random": {"color": INK, "linestyle": ":"}}
    with look("rank", font_size=10):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
        for axis, (direction, title) in zip(axes, TITLES.items(), strict=True):
            for name, of_directions in curves.items():
                axis.plot(range(1, DEPTH + 1), of_directions[direction], label=name, **looks[name])
            axis.set(title=title, xlabel="rank", xscale="log", ylim=(0, 1.02))
            axis.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
            axis.minorticks_off()
            axis.grid(color=INK, alpha=0.25, linewidth=0.5)
        axes[0].set_ylabel("mean relevance")
        axes[1].legend(loc="upper right")
        figure.savefig(file, transparent=True, metadata={"Date": None})
        pyplot.close(figure)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME=FOLDER", help="without: draw the curves that are there")
    models = dict(word.split("=", 1) for word in parser.parse_args().models)
    file = RESULTS / "relevance_by_rank.json"
    if models:
        curves = measure(
            {name: Path(folder) for name, folder in models.items()}, Path(os.environ["VSE_DATA"]) / "flickr8k"
        )
        rounded = {n: {d: [round(v, 4) for v in values] for d, values in of.items()} for n, of in curves.items()}
        file.write_text(json.dumps(rounded) + "\n")
    draw(json.loads(file.read_text()), file.with_suffix(".svg"))
    print(file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
