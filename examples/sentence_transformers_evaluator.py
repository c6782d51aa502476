"""Our metrics as an evaluator of sentence-transformers: python examples/sentence_transformers_evaluator.py [FOLDER]

FOLDER is any model of sentence-transformers that embeds images and texts, such as `vse-lightning export --format hf`
writes; by default a tiny CLIP with random weights. Give the evaluator to a `SentenceTransformerTrainer(evaluator=...)`
and training logs graded metrics; here it is called by hand.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from finetune_clip import make_tiny_clip
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from vse_lightning import RetrievalMetrics, evaluate_embeddings
from vse_lightning.data import ShapesSource


class GradedRetrievalEvaluator(BaseEvaluator):
    """Recall@K, NDCG and Coherent Score of images and texts in both directions.

    Args:
        images: pictures, or whatever else the model encodes.
        texts: captions; any number for an image.
        text_image_ids: the row of the image that each text describes.
        relevance: `(images, texts)` in [0, 1], or a table of `vse_lightning.relevance`, whose text ids are `text_ids`.
        text_ids: rows of the texts in the table; by default 0, 1, 2 and so on.
        metrics: what to measure.
    """

    def __init__(self, images, texts, text_image_ids, relevance, text_ids=None, metrics=None, name="") -> None:
        super().__init__()
        self.images, self.texts, self.name = images, texts, name
        self.ids = {"image_ids": range(len(images)), "text_image_ids": text_image_ids}
        self.ids["text_ids"] = range(len(texts)) if text_ids is None else text_ids
        self.relevance, self.metrics = relevance, metrics or RetrievalMetrics(coherent_ks=(10,))
        self.primary_metric = "rsum"

    def __call__(self, model, output_path=None, epoch=-1, steps=-1) -> dict[str, float]:
        embeds = [model.encode(each, convert_to_tensor=True) for each in (self.images, self.texts)]
        values = evaluate_embeddings(*embeds, **self.ids, relevance=self.relevance, metrics=self.metrics)
        values = self.prefix_name_to_metrics(values, self.name)
        self.store_metrics_in_model_card_data(model, values, epoch, steps)
        return values


def main() -> None:
    source = ShapesSource(num_images=100)
    image_ids = source.split("test")
    rows = source.text_ids(image_ids)
    evaluator = GradedRetrievalEvaluator(
        [source.load_image(number) for number in image_ids.tolist()],
        [source.captions[row] for row in rows.tolist()],
        source.text_image_ids[rows] - image_ids[0],
        source.relevance_table().block(image_ids, rows),
        name="shapes",
    )
    with TemporaryDirectory() as folder:
        if len(sys.argv) < 2:
            make_tiny_clip(Path(folder), source.captions)
        model = SentenceTransformer(sys.argv[1] if len(sys.argv) > 1 else folder, device="cpu")
        for name, value in evaluator(model).items():
            print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
