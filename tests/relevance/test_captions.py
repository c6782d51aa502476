# other scripts are what this is about
"""What every source takes: texts and ids in the forms that people have them, and words of any language."""

import functools

import numpy as np
import pytest
import torch

from vse_lightning.relevance import (
    CaptionEnsemble,
    CIDErRelevance,
    FeatureTable,
    LSARelevance,
    PrecomputedRelevance,
    RelevanceSource,
)
from vse_lightning.targets import RetrievalTargets

pytest.importorskip("sklearn")

CAPTIONS = ["a red ball", "a red bus on the road", "the road is wet", "a wet dog", "a dog with a ball", "a blue bus"]
IMAGE_IDS = [4, 4, 9, 0, 9, 2]

# Five captions each of four pictures, in the manner of Flickr8k-CN.
CHINESE = [
    [
        "一只黑色的狗在草地上奔跑",
        "黑狗在草地上跑",
        "一只狗在绿色的草地上玩耍",
        "草地上有一只黑色的狗",
        "一只小狗在草地上奔跑",
    ],
    [
        "一只棕色的狗在草地上奔跑",
        "棕色的狗在草地上玩",
        "一只狗在草地上追球",
        "草地上有一只棕色的狗",
        "一只大狗在草地上奔跑",
    ],
    ["一个男人在骑自行车", "男人骑着红色的自行车", "一个人在街上骑车", "街上有一个骑自行车的男人", "男子骑车穿过街道"],
    ["一个女人在弹吉他", "女人坐着弹吉他", "一个人在舞台上弹吉他", "舞台上的女人在演奏", "女子弹奏乐器"],
]
CHINESE_CAPTIONS = [caption for of_image in CHINESE for caption in of_image]
CHINESE_IMAGE_IDS = [image for image, of_image in enumerate(CHINESE) for _ in of_image]


class Lengths(RelevanceSource):
    """A source of somebody's own."""

    name = "lengths"

    def table(self, captions, image_ids, text_ids=None):
        return FeatureTable([[len(caption), 10.0] for caption in captions], image_ids, text_ids, label=self.name)


@pytest.fixture(params=["CIDEr", "LSA", "precomputed", "ensemble", "own"])
def source(request, tmp_path):
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(10, 4)))
    made = {
        "CIDEr": CIDErRelevance(),
        "LSA": LSARelevance(3),
        "precomputed": PrecomputedRelevance(tmp_path / "vectors.npy", side="image"),
        "ensemble": CaptionEnsemble([CIDErRelevance(2), LSARelevance(2)], [1.0, 1.0]),
        "own": Lengths(),
    }
    return made[request.param]


FORMS = [list, tuple, np.array, functools.partial(np.array, dtype=np.uint8), torch.tensor, torch.IntTensor]


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_lists_arrays_or_tensors(source, form):
    image_ids, text_ids = torch.tensor(IMAGE_IDS), torch.tensor([5, 3, 8, 1, 0, 2])
    table = source.fit(CAPTIONS, image_ids).table(CAPTIONS, image_ids, text_ids)
    captions = np.array(CAPTIONS)
    expected = table.block(torch.tensor([9, 4, 0]), torch.tensor([1, 2, 3, 8]))
    table = source.fit(captions, form(IMAGE_IDS)).table(captions, form(IMAGE_IDS), form(text_ids.tolist()))
    assert torch.equal(table.block(form([9, 4, 0]), form([1, 2, 3, 8])), expected)


@pytest.mark.parametrize("source", [CIDErRelevance(), LSARelevance(3), Lengths()])
def test_ids_may_be_names(source):
    names, texts = [f"{image}.jpg" for image in IMAGE_IDS], [f"t{row}" for row in range(6)]
    table = source.fit(CAPTIONS, names).table(CAPTIONS, names, texts)
    expected = source.table(CAPTIONS, IMAGE_IDS).block([4, 2], [0, 5, 2])
    assert torch.equal(table.block(["4.jpg", "2.jpg"], ["t0", "t5", "t2"]), expected)
    with pytest.raises(ValueError, match=r"^image_ids must be in the relevance table, which knows 4; it lacks 7\.jpg$"):
        table.block(["4.jpg", "7.jpg", "7.jpg"], texts)
    with pytest.raises(ValueError, match="text_ids must be all different, got t1 more than once"):
        source.table(CAPTIONS, names, ["t1", "t2", "t3", "t1", "t4", "t1"])


def test_names_are_those_of_a_batch():
    """What a host's batch calls its pictures and texts is what the table was made with."""
    names, texts = [f"{image}.jpg" for image in IMAGE_IDS], [f"t{row}" for row in range(6)]
    table = Lengths().table(CAPTIONS, names, texts)
    batch = RetrievalTargets(["4.jpg", "2.jpg"], ["2.jpg", "4.jpg"], text_ids=["t5", "t0"], relevance=table)
    expected = Lengths().table(CAPTIONS, IMAGE_IDS).block([4, 2], [5, 0])
    assert torch.equal(batch.relevance_between(slice(None), slice(None)), expected)


@pytest.mark.parametrize(
    ("captions", "image_ids", "message"),
    [
        (["a \ud83d dog", *CAPTIONS[1:]], IMAGE_IDS, r"written as UTF-8, got half of a character, .* in row 0: 'a"),
        ([*CAPTIONS[:5], None], IMAGE_IDS, r"captions must be texts, got None \(NoneType\) in row 5"),
        ([*CAPTIONS[:5], float("nan")], IMAGE_IDS, r"captions must be texts, got nan \(float\) in row 5"),
        ("a dog", [0] * 5, "captions must be a list of texts, got the single str 'a dog'"),
        (CAPTIONS, IMAGE_IDS[:5], "captions and their ids must be as many, at least one, got 6 captions, 5 image_ids"),
        ([], [], "at least one, got 0 captions, 0 image_ids"),
        (CAPTIONS, [0.5] * 6, "image_ids must be integers or strings, one a row, got torch.float32"),
        (CAPTIONS, "abcdef", "image_ids must be integers or strings, one a row, got str"),
    ],
)
def test_what_no_source_takes(source, captions, image_ids, message):
    with pytest.raises(ValueError, match=message):
        source.fit(captions, image_ids)
    if not isinstance(source, Lengths):
        with pytest.raises(ValueError, match=message):
            source.fit(CAPTIONS, IMAGE_IDS).table(captions, image_ids)


def chinese_block(source, captions):
    table = source.fit(captions, CHINESE_IMAGE_IDS).table(captions, CHINESE_IMAGE_IDS)
    return table.block(range(4), range(20))


@pytest.mark.parametrize("source", [CIDErRelevance(), LSARelevance(5)])
def test_chinese_captions_of_alike_pictures_are_alike(source):
    means = chinese_block(source, CHINESE_CAPTIONS).reshape(4, 4, 5).mean(2)
    assert min(means[0, 1], means[1, 0]) > 2 * max(means[:2, 2:].max(), means[2:, :2].max())


@pytest.mark.parametrize("make", [CIDErRelevance, functools.partial(LSARelevance, 5)])
def test_a_tokenizer_of_ones_own_makes_the_words(make):
    """Characters by another way give the same labels; whole captions give none, with a word."""
    expected = chinese_block(make(), CHINESE_CAPTIONS)
    assert torch.equal(chinese_block(make(tokenizer=list), CHINESE_CAPTIONS), expected)
    assert torch.equal(chinese_block(make(tokenizer=str.split), list(map(" ".join, CHINESE_CAPTIONS))), expected)
    assert make(tokenizer=str.split).name.endswith("(tokenizer=builtins.str.split)")


def test_captions_that_are_one_word_each():
    with pytest.warns(UserWarning, match="CIDEr") as caught:
        block = chinese_block(CIDErRelevance(tokenizer=str.split), CHINESE_CAPTIONS)
    assert [str(warning.message) for warning in caught] == [
        "CIDErRelevance: each of the 20 captions is a single word, such as '一只黑色的狗在草地上奔跑'. If they are "
        "sentences, give tokenizer= a function that splits them into words (for Chinese, jieba.lcut)",
        "CIDEr-D(tokenizer=builtins.str.split) finds nothing to compare, so that only matching pairs are labelled: no "
        "two of the 20 captions of different images share anything that tells images apart",
    ]
    assert block.unique().tolist() == [0, 1]


@pytest.mark.parametrize("source", [CIDErRelevance(), LSARelevance(2)])
def test_captions_in_another_language_than_those_of_training(source):
    source.fit(CAPTIONS, IMAGE_IDS)
    message = rf"^{source.name}: of 3 captions 2 have no word known from training, such as 'ein Hund' \(row 1\)"
    with pytest.warns(UserWarning, match=message):
        source.table(["a dog", "ein Hund", "ein Hund im Gras"], [0, 1, 2])


def test_one_image_has_nothing_to_be_compared_with():
    table = CIDErRelevance().fit(CAPTIONS, IMAGE_IDS).table(["a dog", "a ball"], [7, 7])
    assert table.block([7], [0, 1]).tolist() == [[1, 1]]
