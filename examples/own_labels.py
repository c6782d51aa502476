"""Relevance labels of your own, from dense and from sparse features: python examples/own_labels.py

A label source is a class with a method `table`, and `fit` where it learns from the training captions. In YAML it is
named like any other, `relevance: {class_path: own_labels.BM25Relevance}`, and it works with every loss and metric.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import diags
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.relevance import FeatureTable, RelevanceSource, SparseTable
from vse_lightning.words import words_of


class NounRelevance(RelevanceSource):
    """Captions are alike when they name the same things; a caption is a vector of the things it names.

    Args:
        nouns: the things that count.
    """

    def __init__(self, nouns: Sequence[str] = ("circle", "square", "star", "heart", "ring", "cross")) -> None:
        self.nouns = tuple(nouns)
        self.name = f"{len(self.nouns)} nouns"

    def table(self, captions: Sequence[str], image_ids: Tensor, text_ids: Tensor | None = None) -> FeatureTable:
        named = [[float(noun in caption.lower()) for noun in self.nouns] for caption in captions]
        return FeatureTable(torch.tensor(named), image_ids, text_ids, label=self.name)


class BM25Relevance(RelevanceSource):
    """BM25 of a text with the captions of an image as documents, relative to that of the text with itself.

    Args:
        k1: how soon a repeated word counts no more.
        b: how much a longer caption counts less.
    """

    name = "BM25"

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1, self.b = k1, b

    def fit(self, captions: Sequence[str], image_ids: Tensor) -> "BM25Relevance":
        self.words = CountVectorizer(analyzer=words_of).fit(captions)
        counts = self.words.transform(captions)
        found_in = counts.getnnz(axis=0)
        self.idf = np.log1p((len(captions) - found_in + 0.5) / (found_in + 0.5))
        self.mean_length = counts.sum() / len(captions)
        return self

    def table(self, captions: Sequence[str], image_ids: Tensor, text_ids: Tensor | None = None) -> SparseTable:
        counts = self.words.transform(captions).astype(np.float64)
        lengths = np.repeat(counts.sum(axis=1).A1, counts.getnnz(axis=1))  # of the caption of each entry
        documents = counts.copy()
        documents.data *= (self.k1 + 1) / (counts.data + self.k1 * (1 - self.b + self.b * lengths / self.mean_length))
        queries = counts @ diags(self.idf)
        return SparseTable(documents, image_ids, text_ids, label=self.name, text_features=queries)


def main() -> None:
    data = ImageTextDataModule(
        ShapesSource(num_images=50),
        relevance=NounRelevance(),
        eval_relevance={"nouns": NounRelevance(), "words": BM25Relevance()},
        num_workers=0,
    )
    data.setup("fit")
    image_ids = data.source.split("val")[:3]
    text_ids = data.source.text_ids(image_ids)[::5]
    for text_id in text_ids.tolist():
        print(f"{text_id:3d}  {data.source.captions[text_id]}")
    for table in data.eval_relevance_tables.values():
        print(table.label, table.block(image_ids, text_ids), sep="\n")


if __name__ == "__main__":
    main()
