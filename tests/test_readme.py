"""Every Python block of the README runs, and every class in it trains and validates with checkpoints."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import vse_lightning

pytest.importorskip("sentence_transformers")

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
NUMBER = 20
GENERATOR = torch.Generator().manual_seed(0)
PICTURES, TOKENS = torch.randn(NUMBER, 8, generator=GENERATOR), torch.randn(NUMBER, 5, 6, generator=GENERATOR)


class Host(LightningModule):
    """What the modules that the README calls yours have in common."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters()
        self.image_encoder, self.text_encoder = nn.Linear(8, 4), nn.Linear(6, 4)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class YourRetriever(Host):
    def forward(self, pictures, tokens):
        return self.image_encoder(pictures), self.text_encoder(tokens)

    def training_step(self, batch, batch_idx):
        return functional.mse_loss(*self(batch[0], batch[1]))

    def validation_step(self, batch, batch_idx):
        self.log("val/own", self.training_step(batch, batch_idx))

    @staticmethod
    def item(number):
        return PICTURES[number], TOKENS[number, 0], number, number


class YourCLIP(Host):
    def encode_image(self, image):
        return self.image_encoder(image)

    def encode_text(self, text):
        return self.text_encoder(text)

    def training_step(self, batch, batch_idx):
        logits = self.encode_image(batch[0]) @ self.encode_text(batch[1]).T
        return functional.cross_entropy(logits, torch.arange(len(logits)))

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    @staticmethod
    def item(number):
        return PICTURES[number], TOKENS[number, 0]


class YourDictRetriever(Host):
    def training_step(self, batch, batch_idx):
        images, texts = self.image_encoder(batch["pixels"]), self.text_encoder(batch["tokens"])
        return {"loss": functional.mse_loss(images, texts), "image_embeds": images, "text_embeds": texts}

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    @staticmethod
    def item(number):
        return {"pixels": PICTURES[number], "tokens": TOKENS[number, 0], "file_name": f"{number}.jpg"}


class YourCaptionRetriever(Host):
    def forward(self, batch):
        return self.image_encoder(batch["pixels"]), self.text_encoder(batch["tokens"].flatten(0, 1))

    def training_step(self, batch, batch_idx):
        images, texts = self(batch)
        return functional.mse_loss(images.repeat_interleave(5, dim=0), texts)

    def validation_step(self, batch, batch_idx):
        self(batch)

    @staticmethod
    def item(number):
        return {"pixels": PICTURES[number], "tokens": TOKENS[number], "number": number}


class YourManualRetriever(Host):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def own_loss(self, batch):
        return functional.mse_loss(self.image_encoder(batch[0]), self.text_encoder(batch[1]))

    def validation_step(self, batch, batch_idx):
        self.own_loss(batch)

    item = YourCLIP.item


class YourGradCache(YourManualRetriever):
    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.own_loss(batch))
        optimizer.step()


class YourFineTuner(YourCLIP):
    def configure_optimizers(self):
        return torch.optim.Adam(self.text_encoder.parameters(), lr=0.01)


class YourRegionModel(Host):
    def model(self, batch):
        return None, self.image_encoder(batch[0]), None, self.text_encoder(batch[1])

    def training_step(self, batch, batch_idx):
        _, images, _, texts = self.model(batch)
        return functional.mse_loss(images, texts)

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    item = YourCLIP.item


@pytest.fixture(scope="module")
def namespace():
    """What the text around the blocks has named already."""
    known = {name: value for name, value in globals().items() if name.startswith("Your")}
    known |= {name: getattr(vse_lightning, name) for name in vse_lightning.__all__}
    known |= {name: getattr(vse_lightning.metrics, name) for name in ("evaluate_scores", "evaluate_embeddings")}
    subjects = ["a dog", "a man", "two girls", "a horse"]
    captions = [f"{subjects[number % 4]} runs over field {number // 4}" for number in range(NUMBER)]
    images, texts = (torch.randn(NUMBER, 4, generator=GENERATOR) for _ in range(2))
    return known | {
        "captions": captions,
        "image_ids": list(range(NUMBER)),
        "your_cross_encoder": lambda pictures, texts: pictures @ texts.T,
        "pictures": images,
        "texts": texts,
        "image_embeds": images,
        "text_embeds": texts,
        "scores": images @ texts.T,
        "relevance": torch.eye(NUMBER),
    }


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0][:40])
def test_block_runs_and_its_classes_train(block, namespace, tmp_path):
    before = set(namespace)
    exec(block, namespace)
    for name in set(namespace) - before:
        made = namespace[name]
        if isinstance(made, type) and issubclass(made, LightningModule):
            train(made, namespace, tmp_path / name)


def train(cls, namespace, folder):
    """Fit, validate, write and read a checkpoint."""
    options = {"table": namespace["table"]} if cls.__name__ == "Coherent" else {}
    if issubclass(cls, vse_lightning.RelevanceLossMixin):
        options["relevance_loss"] = vse_lightning.ContrastiveLoss()
    if issubclass(cls, vse_lightning.RetrievalMetricsMixin):
        options["retrieval_metrics"] = vse_lightning.RetrievalMetrics(ndcg_ks=(), coherent_ks=())
    model = cls(**options)
    loader = DataLoader([cls.item(number) for number in range(NUMBER)], batch_size=8)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, default_root_dir=folder, **quiet)
    trainer.fit(model, loader, loader)
    if "relevance_loss" in options:
        assert trainer.callback_metrics["train/relevance_loss"] > 0
    if "retrieval_metrics" in options:
        assert 0 <= trainer.callback_metrics["val/rsum"] <= 600
    path = trainer.checkpoint_callback.best_model_path
    assert Path(path).stat().st_size < 50_000
    again = cls.load_from_checkpoint(path, weights_only=True, **options)
    assert torch.equal(again.image_encoder.weight, model.image_encoder.weight)


def test_tables_are_made_from_results(monkeypatch):
    pytest.importorskip("scipy")
    benchmarks = Path(__file__).parents[1] / "examples" / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    tables, speed = importlib.import_module("flickr8k_tables"), importlib.import_module("speed")
    folder = benchmarks / "results" / "flickr8k"
    assert tables.summary_table(tables.read(folder)) in README
    assert tables.sources_table(tables.read(folder), "recommended", "ndcg_at_10") in README
    random = json.loads((folder.parent / "graded" / "flickr8k.json").read_text())["random"]
    assert tables.pretrained_table(tables.read(folder.parent / "flickr8k_pretrained" / "trials"), random) in README
    assert (folder / "README.md").read_text(encoding="utf-8") == tables.render(folder) + "\n"
    assert speed.table() in README
