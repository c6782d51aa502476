"""A source whose captions try to break the page, and a module whose embeddings are given."""

import pytest
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from vse_lightning.data import ImageTextSource
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins import RetrievalMetricsMixin

NASTY = "<script>alert(\"x\")</script> & 'quotes' </style> https://example.org"


class NastySource(ImageTextSource):
    """Twelve images of one colour each; the first five, with ids that do not start at 0, are in the split ``val``."""

    def __init__(self, pictures=True):
        self.pictures = pictures
        ids = torch.arange(12)
        super().__init__(
            [f"{NASTY} number {row} of image {row // 2}" for row in range(24)],
            text_image_ids=ids.repeat_interleave(2),
            splits={"val": ids[:5], "test": ids[5:]},
            num_images=12,
            image_names=[f"<b>{row}</b>.png" for row in range(12)],
        )

    def load_image(self, image_id):
        if not self.pictures:
            return torch.full((3,), float(image_id))
        from PIL import Image

        return Image.new("RGB", (40, 20), (20 * image_id, 100, 200))


class Labels:
    """Graded labels by formula."""

    label = "made-up <labels>"

    def block(self, image_ids, text_ids, captions_per_image=None):
        return ((image_ids[:, None] * 7 + text_ids[None, :] * 3) % 11) / 11


class Rows(LightningDataModule):
    """Batches of ids; one image with its two captions each."""

    def __init__(self, source):
        super().__init__()
        self.source = source

    def _loader(self, split):
        def collate(image_ids):
            image_ids = torch.stack(image_ids)
            text_ids = self.source.text_ids(image_ids)
            text_image_ids = self.source.text_image_ids[text_ids]
            return {"image_ids": image_ids, "text_ids": text_ids, "text_image_ids": text_image_ids}

        return DataLoader(self.source.splits[split], batch_size=3, collate_fn=collate)

    def val_dataloader(self):
        return self._loader("val")

    def test_dataloader(self):
        return self._loader("test")

    def train_dataloader(self):
        return self._loader("test")


class GivenEmbeddings(RetrievalMetricsMixin, LightningModule):
    """Looks random embeddings up."""

    def __init__(self, seed=0, **metrics):
        super().__init__(retrieval_metrics=RetrievalMetrics(**{"relevance": Labels(), **metrics}))
        generator = torch.Generator().manual_seed(seed)
        self.images, self.texts = torch.randn(12, 4, generator=generator), torch.randn(24, 4, generator=generator)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def retrieval_embeds(self, batch):
        return self.images[batch["image_ids"]], self.texts[batch["text_ids"]]

    def training_step(self, batch, batch_idx):
        return self.unused.sum()

    def configure_optimizers(self):
        return torch.optim.SGD([self.unused], lr=0.1)


@pytest.fixture
def trainer_with(tmp_path):
    """Make a quiet trainer that logs into a folder of the test."""

    def make(*callbacks, folder="run", **options):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        options = {"logger": False, "accelerator": "cpu", "default_root_dir": tmp_path / folder, **quiet, **options}
        return Trainer(callbacks=list(callbacks), **options)

    return make


@pytest.fixture
def write_page(trainer_with):
    """Test a module of given embeddings and return the callback, the page's text and the module."""

    def write(gallery, source=None, folder="run", seed=0, **metrics):
        module = GivenEmbeddings(seed, **metrics)
        trainer_with(gallery, folder=folder).test(module, datamodule=Rows(source or NastySource()), verbose=False)
        return gallery, gallery.path.read_text(encoding="utf-8"), module

    return write
