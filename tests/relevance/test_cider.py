# ruff: noqa: RUF001
import copy
import math
import pickle
import random
from collections import defaultdict

import numpy as np
import pytest
import torch

from vse_lightning.relevance import CIDErRelevance, sparse_table
from vse_lightning.words import words_of

pytest.importorskip("scipy")
cider_scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer")

# Captions such as "..." are among those below on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:CIDEr-D.* have no word known from training")

TRAIN = [
    ("A dog runs on the beach .", 0),
    ("a dog is running , running on sand", 0),
    ("Two men play football", 1),
    ("a man kicks a ball to a man", 1),
    ("men's football", 1),
    ("A", 2),
    ("", 2),
    ("a red bus on the road", 3),
    ("the bus is red and the road is wet and the sky is grey and it is the end of the day", 3),
]
# Captions with n-grams unknown to training, repeated n-grams, no n-grams, one word, an image with one caption.
TEST = [
    ("a dog runs on the road", 10),
    ("a dog a dog a dog runs runs on the the beach", 10),
    ("A", 11),
    ("...", 11),
    ("a zebra runs on the beach", 12),
    ("a zebra and a zebra and a zebra", 12),
    ("a zebra , a zebra kicks a ball to a zebra", 13),
    ("the bus is red and the bus is red and the bus is red and the bus is red and the bus is red", 14),
    ("", 15),
    ("a dog runs on the road", 16),
]


class TrainedLength(list):
    """pycocoevalcap takes the number of documents from the list of references: let it be that of training."""

    documents = 0

    def __len__(self):
        return self.documents


def pairs(rows):
    captions, image_ids = zip(*rows, strict=True)
    return list(captions), torch.tensor(image_ids)


def references_of(captions, image_ids):
    references = defaultdict(list)
    for caption, image in zip(captions, image_ids.tolist(), strict=True):
        references[image].append(" ".join(words_of(caption)))
    return references


def oracle(train, candidates, n=4, sigma=6.0):
    """CIDEr-D / 10 of pycocoevalcap for (text, references) pairs, with document frequencies from ``train``."""
    corpus = cider_scorer.CiderScorer(n=n, sigma=sigma)
    documents = references_of(*train).values()
    corpus.crefs = [[cider_scorer.precook(reference, n) for reference in references] for references in documents]
    corpus.compute_doc_freq()
    scorer = cider_scorer.CiderScorer(n=n, sigma=sigma)
    scorer.document_frequency = corpus.document_frequency
    scorer.crefs = TrainedLength(
        [cider_scorer.precook(reference, n) for reference in references] for _, references in candidates
    )
    scorer.crefs.documents = len(documents)
    scorer.ctest = [cider_scorer.precook(" ".join(words_of(text)), n) for text, _ in candidates]
    return np.array(scorer.compute_cider()) / 10


def oracle_matrix(train, test, n=4, sigma=6.0, captions_per_image=None):
    captions, image_ids = test
    references = references_of(captions, image_ids)
    images = image_ids.unique().tolist()
    values = oracle(
        train, [(text, references[image][:captions_per_image]) for image in images for text in captions], n, sigma
    )
    matrix = torch.from_numpy(values).reshape(len(images), len(captions))
    return matrix.masked_fill(torch.tensor(images)[:, None] == image_ids, 1).float()


@pytest.mark.parametrize("captions_per_image", [None, 1])
@pytest.mark.parametrize(("n", "sigma"), [(4, 6.0), (1, 6.0), (2, 1.0), (6, 3.0)])
def test_equals_pycocoevalcap(n, sigma, captions_per_image):
    train, test = pairs(TRAIN), pairs(TEST)
    table = CIDErRelevance(n, sigma).fit(*train).table(*test)
    block = table.block(test[1].unique(), torch.arange(len(TEST)), captions_per_image)
    expected = oracle_matrix(train, test, n, sigma, captions_per_image)
    assert block.dtype == torch.float32
    assert ((expected > 0) & (expected < 1)).sum() > 8
    torch.testing.assert_close(block, expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_equals_pycocoevalcap_on_random_captions_of_few_words(seed):
    """Few words make many repeated n-grams and uneven lengths."""
    draw = random.Random(seed)

    def corpus(images):
        return pairs(
            [
                (" ".join(draw.choices("abcde", weights=(9, 4, 2, 1, 1), k=draw.randrange(15))), image)
                for image in range(images)
                for _ in range(draw.randrange(1, 5))
            ]
        )

    train, test = corpus(12), corpus(9)
    table = CIDErRelevance().fit(*train).table(*test)
    block = table.block(test[1].unique(), torch.arange(len(test[0])))
    torch.testing.assert_close(block, oracle_matrix(train, test), atol=1e-7, rtol=1e-6)


def test_chinese_equals_pycocoevalcap_on_its_characters():
    train = [("一只黑色的狗在跑", 0), ("黑狗在草地上", 0), ("一个男人骑车", 1), ("街上有男人", 1), ("女人弹吉他", 2)]
    test = [("一只狗在草地上跑，跑。", 10), ("黑色的狗", 10), ("男人在街上弹吉他", 11), ("一个女人骑车２次", 12)]
    characters = [("一 只 狗 在 草 地 上 跑 跑", 10), ("黑 色 的 狗", 10)]
    characters += [("男 人 在 街 上 弹 吉 他", 11), ("一 个 女 人 骑 车 2 次", 12)]
    spaced = pairs([(" ".join(caption), image) for caption, image in train])
    expected = oracle_matrix(spaced, pairs(characters))
    block = CIDErRelevance().fit(*pairs(train)).table(*pairs(test)).block([10, 11, 12], range(4))
    assert ((expected > 0) & (expected < 1)).sum() > 4
    torch.testing.assert_close(block, expected, atol=1e-7, rtol=1e-6)


def test_equals_pycocoevalcap_on_flickr8k(flickr8k):
    train, test = flickr8k["train"], flickr8k["test"]
    table = CIDErRelevance().fit(*train[:2]).table(*test)
    references = references_of(*test[:2])
    generator = torch.Generator().manual_seed(0)
    images = test.image_ids.unique()[torch.randint(1000, (30,), generator=generator)]
    places = torch.randint(5000, (20,), generator=generator)
    expected = oracle(train[:2], [(test.captions[j], references[int(i)]) for i in images for j in places])
    expected = torch.from_numpy(expected).reshape(30, 20)
    expected[images[:, None] == test.image_ids[places]] = 1
    torch.testing.assert_close(table.block(images, test.text_ids[places]), expected.float(), atol=1e-7, rtol=1e-6)


def test_values_by_hand():
    """Unigrams of two training images: "a" is in both, so its IDF is 0; "cat" and "dog" have log 2 each."""
    table = CIDErRelevance(n=1).fit(["a cat", "a dog"], torch.tensor([0, 1]))
    captions = ["cat cat dog", "a cat", "dog", "a"]
    block = table.table(captions, torch.arange(4)).block(torch.arange(4), torch.arange(4))
    root = math.sqrt(5)
    expected = [
        [1, 2 / root, 1 / root, 0],  # min(1, 2) * 2 / (1 * sqrt 5) for "a cat"; 1 * 1 / (1 * sqrt 5) for "dog"
        [1 / root, 1, 0, 0],  # min(2, 1) * 1 / (sqrt 5 * 1): the second "cat" meets nothing
        [1 / root, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    torch.testing.assert_close(block, torch.tensor(expected))


@pytest.mark.parametrize("share", [0, 0.2, 1])
def test_dense_and_sparse_products_agree(monkeypatch, share):
    train, test = pairs(TRAIN), pairs(TEST)
    source, ids = CIDErRelevance().fit(*train), torch.arange(len(TEST))
    expected = source.table(*test).block(test[1], ids)
    monkeypatch.setattr(sparse_table, "FREQUENT_SHARE", share)
    torch.testing.assert_close(source.table(*test).block(test[1], ids), expected)


@pytest.mark.parametrize("pairs_per_step", [1, 25, 33])
def test_steps_do_not_change_the_result(monkeypatch, pairs_per_step):
    train, test = pairs(TRAIN), pairs(TEST)
    table, ids = CIDErRelevance().fit(*train).table(*test), torch.arange(len(TEST))
    expected = table.block(test[1], ids)
    monkeypatch.setattr(sparse_table, "PAIRS_PER_STEP", pairs_per_step)
    torch.testing.assert_close(table.block(test[1], ids), expected)


def test_document_frequencies_come_from_training_only():
    train, test = pairs(TRAIN), pairs(TEST)
    source = CIDErRelevance().fit(*train)
    few = source.table(*pairs(TEST[:5])).block(test[1][:5], torch.arange(5))
    many = source.table(*test).block(test[1][:5], torch.arange(5), captions_per_image=2)
    torch.testing.assert_close(many[:2], few[:2])


def test_ids_are_those_of_the_table():
    train, test = pairs(TRAIN), pairs(TEST)
    source, ids = CIDErRelevance().fit(*train), torch.arange(len(TEST))
    shuffled = ids.flip(0) * 3 + 50
    expected = source.table(*test).block(test[1], ids)
    torch.testing.assert_close(source.table(*test, shuffled).block(test[1], shuffled), expected)
    with pytest.raises(ValueError, match="text_ids must be in the relevance table, which knows 10; it lacks 49"):
        source.table(*test, shuffled).block(test[1], torch.tensor([49]))


def test_captions_without_anything_in_common():
    source = CIDErRelevance().fit(["a b", "c d"], [0, 1])
    with pytest.warns(
        UserWarning, match=r"^CIDEr-D finds nothing to compare, .*: no two of the 2 captions of different"
    ):
        table = source.table(["x y z", "u v w"], [0, 1])
    assert torch.equal(table.block(torch.arange(2), torch.arange(2)), torch.eye(2))


def test_a_block_may_be_empty():
    table = CIDErRelevance().fit(*pairs(TRAIN)).table(*pairs(TEST))
    none = torch.empty(0, dtype=torch.long)
    assert table.block(none, torch.arange(3)).shape == (0, 3)
    assert table.block(torch.tensor([10]), none).shape == (1, 0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))])
def test_copies(duplicate):
    test = pairs(TEST)
    table = CIDErRelevance().fit(*pairs(TRAIN)).table(*test)
    twin = duplicate(table)
    ids = torch.arange(len(TEST))
    assert torch.equal(twin.block(test[1], ids), table.block(test[1], ids))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, got 0"):
        CIDErRelevance(n=0)
    with pytest.raises(ValueError, match="sigma must be a finite number above 0, got -1"):
        CIDErRelevance(sigma=-1)
    with pytest.raises(RuntimeError, match="must be fitted on the training captions"):
        CIDErRelevance().table(["a"], torch.tensor([0]))
    with pytest.raises(ValueError, match="at least 2 training images, got 1"):
        CIDErRelevance().fit(["a", "b"], torch.tensor([3, 3]))
    with pytest.raises(ValueError, match="got 2 captions, 1 image_ids"):
        CIDErRelevance().fit(["a", "b"], torch.tensor([3]))


def test_label():
    assert CIDErRelevance(n=2).name == "CIDEr-D(n=2, sigma=6)"
    assert CIDErRelevance().fit(*pairs(TRAIN)).table(*pairs(TEST)).label == CIDErRelevance().name == "CIDEr-D"
