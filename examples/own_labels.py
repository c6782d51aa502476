"""Relevance labels of your own: python examples/own_labels.py

A label source is a class with one method, `table`; from YAML it is named like any other:
`relevance: {class_path: own_labels.NounRelevance}`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.relevance import CaptionEnsemble, CIDErRelevance, FeatureTable, RelevanceSource


class NounRelevance(RelevanceSource):
    """Captions are alike when they name the same things; a caption is a vector of the things it names.

    Args:
        nouns: the things that count.
    """

    def __init__(self, nouns: Sequence[str] = ("circle", "square", "triangle", "star")) -> None:
        self.nouns = tuple(nouns)
        self.name = f"{len(self.nouns)} nouns"

    def table(self, captions: Sequence[str], image_ids: Tensor, text_ids: Tensor | None = None) -> FeatureTable:
        named = [[float(noun in caption.lower()) for noun in self.nouns] for caption in captions]
        return FeatureTable(torch.tensor(named), image_ids, text_ids, label=self.name)


def main() -> None:
    half_nouns = CaptionEnsemble([NounRelevance(), CIDErRelevance()], weights=[0.5, 0.5])
    data = ImageTextDataModule(ShapesSource(num_images=50), relevance=half_nouns, num_workers=0)
    data.setup("fit")
    image_ids, text_ids = torch.arange(3), torch.arange(0, 15, 5)
    for text_id in text_ids.tolist():
        print(f"{text_id:3d}  {data.source.captions[text_id]}")
    print(data.relevance_table.label)
    print(data.relevance_table.block(image_ids, text_ids))


if __name__ == "__main__":
    main()
