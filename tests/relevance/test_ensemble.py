import copy

import pytest
import torch

from vse_lightning.relevance import CaptionEnsemble, CIDErRelevance, FeatureTable, LSARelevance, RelevanceSource

pytest.importorskip("sklearn")

CAPTIONS = ["a red ball on the beach", "a ball", "a red bus", "blue sky over a beach", "a bus on the road"]
IMAGE_IDS = torch.tensor([0, 0, 1, 2, 1])
IDS = torch.arange(5)


class First(RelevanceSource):
    """Captions are alike when their first letters are."""

    name = "first"

    def table(self, captions, image_ids, text_ids=None):
        features = torch.nn.functional.one_hot(torch.tensor([ord(caption[0]) % 8 for caption in captions]), 8).float()
        return FeatureTable(features, image_ids, text_ids, label=self.name)

    def precompute(self, captions, force=False):
        return [f"{self.cache_dir}/{len(captions)}/{force}"]


def test_weighted_mean_of_the_tables():
    sources = [CIDErRelevance(), LSARelevance(2), First()]
    ensemble = CaptionEnsemble(sources, [3, 2, 1]).fit(CAPTIONS, IMAGE_IDS)
    tables = [source.fit(CAPTIONS, IMAGE_IDS).table(CAPTIONS, IMAGE_IDS) for source in sources]
    for captions_per_image in (None, 1):
        blocks = [table.block(IDS[:3], IDS, captions_per_image) for table in tables]
        block = ensemble.table(CAPTIONS, IMAGE_IDS).block(IDS[:3], IDS, captions_per_image)
        torch.testing.assert_close(block, blocks[0] / 2 + blocks[1] / 3 + blocks[2] / 6)


def test_own_captions_have_relevance_exactly_1():
    ensemble = CaptionEnsemble([First()] * 7, [0.1, 0.3, 0.7, 0.9, 1.1, 1.3, 1.7])
    block = ensemble.table(CAPTIONS, IMAGE_IDS).block(IDS[:3], IDS)
    assert block[IDS[:3, None] == IMAGE_IDS].eq(1).all()
    assert block.max() == 1


def test_ids_pass_through():
    ids = torch.tensor([40, 10, 30, 20, 50])
    table = CaptionEnsemble([First()], [2.0]).table(CAPTIONS, IMAGE_IDS, ids)
    expected = First().table(CAPTIONS, IMAGE_IDS, ids)
    assert torch.equal(table.block(IDS[:3], ids), expected.block(IDS[:3], ids))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda table: table.to("cpu")])
def test_copies(duplicate):
    table = CaptionEnsemble([First(), First()], [1, 1]).table(CAPTIONS, IMAGE_IDS)
    assert torch.equal(duplicate(table).block(IDS[:3], IDS), table.block(IDS[:3], IDS))


def test_label_says_what_is_in_it():
    ensemble = CaptionEnsemble([CIDErRelevance(), LSARelevance(2)], [3, 1])
    assert ensemble.name == "0.75 CIDEr-D + 0.25 LSA-2"
    assert ensemble.fit(CAPTIONS, IMAGE_IDS).table(CAPTIONS, IMAGE_IDS).label == ensemble.name


def test_the_cache_is_that_of_the_sources(tmp_path):
    sources = [First(), CIDErRelevance(), First()]
    ensemble = CaptionEnsemble(sources, [1, 1, 1])
    ensemble.cache_dir = tmp_path
    assert [source.cache_dir for source in sources] == [tmp_path] * 3
    assert ensemble.cache_dir == tmp_path
    assert ensemble.precompute(CAPTIONS, force=True) == [f"{tmp_path}/5/True"] * 2


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [
        ([], [], r"at least one, got 0 sources and weights \[\]"),
        ([First()], [1, 2], r"got 1 sources and weights \[1, 2\]"),
        ([First()], [0], r"weights must be positive and finite, got \[0\]"),
        ([First()], [float("nan")], r"weights must be positive and finite, got \[nan\]"),
        ([First()], [float("inf")], r"weights must be positive and finite, got \[inf\]"),
    ],
)
def test_wrong_arguments(sources, weights, message):
    with pytest.raises(ValueError, match=message):
        CaptionEnsemble(sources, weights)
