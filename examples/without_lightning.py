"""The losses without a LightningModule: python examples/without_lightning.py

A loop of plain PyTorch, Lightning Fabric, and a Trainer of Hugging Face (with `pip install accelerate`). With several
processes `gather=True` ranks everybody's candidates; alone it changes nothing.
"""

from importlib.util import find_spec
from tempfile import TemporaryDirectory

import torch
from lightning import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vse_lightning import LadderLoss, RetrievalTargets
from vse_lightning.data import ShapesSource


class Towers(nn.Module):
    """Colour histograms and bags of words: stands for your model."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(3 * 64, 256), nn.ReLU(), nn.Linear(256, 64))
        self.text = nn.EmbeddingBag(words, 64)

    def forward(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(pictures), self.text(tokens)


class Shapes(Dataset):
    """Your data: a picture, a text, and the ids of both."""

    def __init__(self, source: ShapesSource) -> None:
        self.ids = source.text_image_ids
        words = {word: place for place, word in enumerate(sorted({w for c in source.captions for w in c.split()}), 1)}
        tokens = [torch.tensor([words[word] for word in caption.split()]) for caption in source.captions]
        self.words, self.tokens = len(words) + 1, nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        pixels = (list(source.load_image(i).resize((8, 8)).getdata()) for i in range(source.num_images))
        self.pictures = torch.stack([torch.tensor(rows).flatten() / 255 for rows in pixels])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, text: int) -> dict[str, Tensor]:
        image = self.ids[text]
        return {"pictures": self.pictures[image], "tokens": self.tokens[text], "image": image, "text_id": text}


class Objective:
    """What to learn: a loss, and the labels that it looks up by id."""

    def __init__(self, table) -> None:
        self.loss, self.table = LadderLoss(thresholds=(0.5,)), table

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        images, texts = model(batch["pictures"], batch["tokens"])
        targets = RetrievalTargets(batch["image"], batch["image"], text_ids=batch["text_id"], relevance=self.table)
        return self.loss.from_embeddings(images, texts, targets, gather=True)


def train(data: Shapes, objective: Objective, fabric: Fabric | None = None) -> float:
    torch.manual_seed(0)
    model, loader = Towers(data.words), DataLoader(data, batch_size=64, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    if fabric is not None:
        model, optimizer = fabric.setup(model, optimizer)
        loader = fabric.setup_dataloaders(loader)
    for batch in loader:
        loss = objective(model, batch)
        optimizer.zero_grad()
        loss.backward() if fabric is None else fabric.backward(loss)
        optimizer.step()
    return loss.item()


def train_with_transformers(data: Shapes, objective: Objective) -> float:
    from transformers import Trainer, TrainingArguments

    class RetrievalTrainer(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss = objective(model, inputs)
            return (loss, {}) if return_outputs else loss

    with TemporaryDirectory() as folder:
        quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "remove_unused_columns": False}
        options = TrainingArguments(folder, num_train_epochs=1, per_device_train_batch_size=64, use_cpu=True, **quiet)
        return RetrievalTrainer(Towers(data.words), options, train_dataset=data).train().training_loss


if __name__ == "__main__":
    source = ShapesSource(num_images=200, image_size=32)
    data, objective = Shapes(source), Objective(source.relevance_table())
    print(f"plain PyTorch: {train(data, objective):.4f}")
    print(f"Fabric: {train(data, objective, Fabric(accelerator='cpu')):.4f}")
    if find_spec("accelerate"):
        print(f"Hugging Face: {train_with_transformers(data, objective):.4f}")
