"""Labels within a modality: between images, and between texts."""

import copy
import pickle

import pytest
import torch

from vse_lightning.data import ShapesSource
from vse_lightning.relevance import FeatureTable
from vse_lightning.relevance.cider import CIDErRelevance
from vse_lightning.relevance.ensemble import EnsembleTable
from vse_lightning.relevance.relevance_table import RelevanceTable

CAPTIONS = [
    "a dog runs on the grass",
    "the dog runs",
    "a cat sleeps",
    "the cat sleeps on the grass",
    "a red bus",
    "a dog",
]
# Images 7, 2 and 40 with three, one and two captions; text ids neither dense nor sorted.
IMAGE_IDS = torch.tensor([7, 2, 40, 7, 40, 7])
TEXT_IDS = torch.tensor([100, 11, 3, 5, 9, 12])


def feature_table():
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    return FeatureTable(features, IMAGE_IDS, TEXT_IDS, label="random")


def cider_table():
    pytest.importorskip("scipy")
    return CIDErRelevance().fit(CAPTIONS, IMAGE_IDS).table(CAPTIONS, IMAGE_IDS, TEXT_IDS)


def ensemble_table():
    return EnsembleTable([feature_table(), cider_table()], [0.7, 0.3], "both")


TABLES = {"features": feature_table, "cider": cider_table, "ensemble": ensemble_table}


@pytest.mark.parametrize("make_table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("first", [None, 1])
def test_images_are_as_near_as_the_nearest_caption_of_the_other(make_table, first):
    table, queries, others = make_table(), torch.tensor([40, 7, 40]), torch.tensor([2, 7, 40, 2])
    found = table.between_images().block(queries, others, first)
    to_texts = table.block(queries, TEXT_IDS, first)
    for row in range(3):
        for column, other in enumerate(others.tolist()):
            captions = [place for place in TEXT_IDS.argsort().tolist() if IMAGE_IDS[place] == other][:first]
            assert found[row, column] == max(to_texts[row, place] for place in captions)
    assert found[0, 2] == found[1, 1] == 1
    assert table.between_images().label == table.label


@pytest.mark.parametrize("make_table", TABLES.values(), ids=TABLES)
def test_texts_are_compared_one_by_one(make_table):
    between = make_table().between_texts().block(TEXT_IDS, TEXT_IDS.flip(0))
    assert between.flip(1).diagonal().eq(1).all()
    assert between.shape == (6, 6)
    if make_table is feature_table:
        alone = FeatureTable(feature_table()._features, TEXT_IDS, TEXT_IDS, label="random")
        torch.testing.assert_close(between, alone.block(TEXT_IDS, TEXT_IDS.flip(0)))


def test_scenes_are_compared_with_scenes():
    pytest.importorskip("PIL")
    table = ShapesSource(num_images=12, image_size=32).relevance_table()
    scenes, texts = torch.arange(12), torch.arange(60)
    between = table.between_images().block(scenes, scenes)
    assert between.diagonal().eq(1).all()
    assert torch.equal(between, table.block(scenes, texts).view(12, 12, 5).amax(2))


def test_copies_and_pickles():
    between = feature_table().between_images()
    expected = between.block(IMAGE_IDS, IMAGE_IDS)
    for twin in (copy.deepcopy(between), pickle.loads(pickle.dumps(between)), between.to("cpu")):
        assert torch.equal(twin.block(IMAGE_IDS, IMAGE_IDS), expected)


class OnlyBlocks(RelevanceTable):
    label = "somebody's"

    def block(self, image_ids, text_ids, captions_per_image=None):
        return torch.zeros(len(image_ids), len(text_ids))


def test_a_table_that_knows_no_captions_says_so():
    with pytest.raises(ValueError, match="OnlyBlocks has no labels between images, which direction='i2i' needs"):
        OnlyBlocks().between_images().block(IMAGE_IDS, IMAGE_IDS)
    with pytest.raises(ValueError, match="OnlyBlocks has no labels between texts, which direction='t2t' needs"):
        OnlyBlocks().between_texts()
