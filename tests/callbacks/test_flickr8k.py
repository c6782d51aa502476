"""The page of real pictures and captions."""

import numpy as np
import pytest
import torch

from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.data import KarpathySource

from .conftest import GivenEmbeddings, Rows

pytest.importorskip("PIL")


class CaptionVectors(GivenEmbeddings):
    """An image stands where its first caption stands."""

    def __init__(self, source, vectors):
        super().__init__(coherent_ks=(10,))
        self.images, self.texts = vectors[source.text_ids(torch.arange(source.num_images))[::5]], vectors


def test_page_of_flickr8k_pictures(trainer_with, real_data):
    folder = real_data / "flickr8k"
    source = KarpathySource(folder / "captions.json", images=folder / "images_128px.zip")
    vectors = torch.from_numpy(np.load(folder / "minilm_l6_v2_captions.f16.npy").astype(np.float32))
    gallery = RetrievalGallery()
    trainer = trainer_with(gallery, limit_test_batches=60)
    trainer.test(CaptionVectors(source, vectors), Rows(source), verbose=False)
    page = gallery.path.read_text(encoding="utf-8")
    assert page.count("<img ") == 3 * 4 * (1 + 11)
    assert 300_000 < len(page) < 2_000_000
    assert "http:" not in page
    assert "https:" not in page
