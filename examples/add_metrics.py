"""Measure a LightningModule that exists, without touching how it trains: python examples/add_metrics.py

The mixin supplies validation_step and test_step, or extends those that are there, and logs i2t and t2i recall, NDCG and
Coherent Score once per epoch, over the whole gallery.
"""

from lightning import LightningModule, Trainer
from torch import nn, optim

from vse_lightning import RetrievalMetrics, RetrievalMetricsMixin
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.relevance import CIDErRelevance


class TheirRetriever(LightningModule):
    """Somebody's module, with dict batches of pictures and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64))
        self.text = nn.EmbeddingBag(5000, 64)

    def forward(self, batch):
        return self.image(batch["image"]), self.text(batch["text"])

    def text_transform(self):
        return tokenize

    def training_step(self, batch, batch_idx):
        images, texts = self(batch)
        return -nn.functional.cosine_similarity(images, texts).mean()

    def configure_optimizers(self):
        return optim.Adam(self.parameters(), lr=1e-3)


def tokenize(captions: list[str]):
    """Hash words to rows of the embedding."""
    import zlib

    from torch import tensor

    words = [[zlib.crc32(word.encode()) % 5000 for word in caption.split()] for caption in captions]
    return nn.utils.rnn.pad_sequence([tensor(row) for row in words], batch_first=True)


class Measured(RetrievalMetricsMixin, TheirRetriever):
    """The whole integration; the method serves the evaluation, for which the host has no step to capture from."""

    def retrieval_embeds(self, batch):
        return self(batch)


def main() -> None:
    data = ImageTextDataModule(
        ShapesSource(num_images=200, image_size=32), eval_relevance={"cider": CIDErRelevance()}, num_workers=0
    )
    model = Measured(retrieval_metrics=RetrievalMetrics(coherent_ks=(20,)))
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data)


if __name__ == "__main__":
    main()
