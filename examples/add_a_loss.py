"""Add a relevance-aware loss to a LightningModule that exists: python examples/add_a_loss.py

`TheirRetriever` stands for your module: tuple batches, its own training step, its own loss. Nothing in it changes; the
embeddings are captured while its own step runs, so its encoders run once.
"""

import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning import LadderLoss, RelevanceLossMixin, RetrievalTargets
from vse_lightning.data import ShapesSource


class TheirRetriever(LightningModule):
    """Colour histograms and bags of words, a contrastive loss: somebody's retrieval module."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.image = nn.Sequential(nn.Linear(3 * 64, 256), nn.ReLU(), nn.Linear(256, 64))
        self.text = nn.EmbeddingBag(words, 64)

    def forward(self, pictures, tokens):
        return self.image(pictures), self.text(tokens)

    def training_step(self, batch, batch_idx):
        pictures, tokens, _, _ = batch
        images, texts = self(pictures, tokens)
        scores = 20 * nn.functional.normalize(images) @ nn.functional.normalize(texts).T
        loss = nn.functional.cross_entropy(scores, torch.arange(len(scores)))
        self.log("train/theirs", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Coherent(RelevanceLossMixin, TheirRetriever):
    """The whole integration: the mixin in front, where the embeddings come from, and what a batch is about."""

    retrieval_embeds_from = "forward"

    def __init__(self, table, **kwargs) -> None:
        super().__init__(**kwargs)
        self.table = table

    def retrieval_targets(self, batch):
        _, _, image_ids, text_ids = batch
        return RetrievalTargets(image_ids, image_ids, text_ids=text_ids, relevance=self.table)


def shapes() -> tuple[DataLoader, int, object]:
    """Some data in their format, and labels for it: any RelevanceTable, or an (N, M) tensor per batch, will do."""
    source = ShapesSource(num_images=300, image_size=32)
    words = {word: place for place, word in enumerate(sorted({w for c in source.captions for w in c.split()}), 1)}
    tokens = [torch.tensor([words[word] for word in caption.split()]) for caption in source.captions]
    padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    pixels = (torch.tensor(list(source.load_image(i).resize((8, 8)).getdata())) / 255 for i in range(source.num_images))
    pictures = torch.stack([picture.flatten() for picture in pixels])[source.text_image_ids]
    data = TensorDataset(pictures, padded, source.text_image_ids, torch.arange(len(padded)))
    return DataLoader(data, batch_size=64, shuffle=True), len(words) + 1, source.relevance_table()


def main() -> None:
    torch.manual_seed(0)
    loader, words, table = shapes()
    model = Coherent(table, words=words, relevance_loss=LadderLoss(thresholds=(0.5,)), relevance_weight=0.5)
    trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, loader)
    for name, value in sorted(trainer.callback_metrics.items()):
        print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
