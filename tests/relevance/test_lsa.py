import math
from collections import Counter

import numpy as np
import pytest
import torch

from vse_lightning.relevance import FeatureTable, LSARelevance

TruncatedSVD = pytest.importorskip("sklearn.decomposition").TruncatedSVD
TfidfVectorizer = pytest.importorskip("sklearn.feature_extraction.text").TfidfVectorizer

# Without English stop words, so that a loop can count them all.
WORDS = ["dog", "puppy", "beach", "sand", "ball", "football", "road", "bus", "red", "car"]


@pytest.fixture
def corpus():
    """Forty captions of ten words, two to an image."""
    draw = np.random.default_rng(0)
    captions = [" ".join(draw.choice(WORDS, size=draw.integers(2, 7))) for _ in range(40)]
    return captions, torch.arange(40) // 2


def tfidf(captions):
    """TF-IDF with smooth IDF, rows of length 1, by the equation; words in alphabetical order."""
    words = sorted(WORDS)
    idf = {word: math.log((1 + len(captions)) / (1 + sum(word in c.split() for c in captions))) + 1 for word in words}
    rows = np.array([[Counter(c.split())[word] * idf[word] for word in words] for c in captions])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def best_cosines(vectors, image_ids):
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = torch.from_numpy(vectors @ vectors.T).float().clamp(min=0)
    best = torch.stack([cosines[image_ids == image].amax(0) for image in image_ids.unique()])
    return best.masked_fill(image_ids.unique()[:, None] == image_ids, 1)


@pytest.mark.parametrize("n_components", [3, 10])
def test_equals_an_exact_svd_of_the_equation(corpus, n_components):
    """With as many components as words the SVD changes nothing: the cosines of TF-IDF."""
    captions, image_ids = corpus
    rows = tfidf(captions)
    _, _, axes = np.linalg.svd(rows)
    table = LSARelevance(n_components).fit(captions, image_ids).table(captions, image_ids)
    block = table.block(image_ids.unique(), torch.arange(40))
    expected = best_cosines(rows if n_components == 10 else rows @ axes[:n_components].T, image_ids)
    torch.testing.assert_close(block, expected, atol=2e-3, rtol=0)  # float16 storage


def test_a_caption_without_a_known_word_is_relevant_to_its_own_image_only(corpus):
    source = LSARelevance(5).fit(*corpus)
    captions = ["dog and puppy", "A", "", "zebra", "a puppy"]
    with pytest.warns(UserWarning, match=r"^LSA-5: of 5 captions 3 have no word known .*, such as 'A' \(row 1\)"):
        table = source.table(captions, torch.arange(5))
    block = table.block(torch.arange(5), torch.arange(5))
    assert torch.equal(block[1:4], torch.eye(5)[1:4])
    assert block.diagonal().eq(1).all()
    assert block[0, 4] > 0


def test_the_same_captions_give_the_same_labels(corpus):
    first, second = (LSARelevance(5).fit(*corpus).table(*corpus) for _ in range(2))
    ids = torch.arange(40)
    assert torch.equal(first.block(ids[:20], ids), second.block(ids[:20], ids))


def test_too_few_words_for_the_components(corpus):
    with pytest.raises(ValueError, match=r"n_components must be at most .* got 400 for 40 captions with 10 words"):
        LSARelevance().fit(*corpus)
    with pytest.raises(ValueError, match="got 3 for 2 captions with 10 words"):
        LSARelevance(3).fit([" ".join(WORDS)] * 2, torch.tensor([0, 1]))


@pytest.mark.filterwarnings("ignore:.*each of the 3 captions is a single word")
def test_training_captions_without_words():
    with pytest.raises(ValueError, match="captions must hold words that are no English stop words, got none"):
        LSARelevance(1).fit(["A", "the", ""], torch.arange(3))


def test_wrong_use():
    with pytest.raises(ValueError, match="n_components must be a whole number of at least 1, got 0"):
        LSARelevance(0)
    with pytest.raises(RuntimeError, match="must be fitted on the training captions"):
        LSARelevance().table(["a"], torch.tensor([0]))


def test_english_words_are_those_of_scikit_learn(flickr8k):
    """Without stop words and single letters, as its TfidfVectorizer has them."""
    captions, image_ids, _ = flickr8k["test"]
    theirs = TfidfVectorizer(stop_words="english", dtype=np.float32)
    tfidf = theirs.fit_transform(captions)
    svd = TruncatedSVD(50, random_state=0).fit(tfidf.T @ tfidf)
    expected = FeatureTable(svd.transform(tfidf), image_ids, label="")
    table = LSARelevance(50).fit(captions, image_ids).table(captions, image_ids)
    images, texts = image_ids[:500:5], range(500)
    torch.testing.assert_close(table.block(images, texts), expected.block(images, texts), atol=1e-3, rtol=0)


def test_captions_of_one_picture_are_alike(flickr8k):
    """When the table does not know that they are, so that no rule says so."""
    captions = flickr8k["test"].captions
    source = LSARelevance(100).fit(*flickr8k["train"][:2])
    ids = torch.arange(len(captions))
    block = source.table(captions, ids).block(ids[::5], ids[1::5])
    same = torch.eye(1000, dtype=torch.bool)
    assert block[same].mean() > 3 * block[~same].mean()
