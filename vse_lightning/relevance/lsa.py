"""Relevance by latent semantic analysis."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_whole
from vse_lightning.relevance.feature_table import FeatureTable
from vse_lightning.relevance.relevance_source import RelevanceSource, read_captions, warn_of_unknown_words
from vse_lightning.targets import Ids
from vse_lightning.words import Tokenizer, splitter, tokenizer_name, warn_of_single_words

CAPTIONS_PER_STEP = 16_384
SEED = 0


class LSARelevance(RelevanceSource):
    """Relevance by topic: cosine of TF-IDF vectors after a truncated SVD, the best over the captions of the image.

    TF-IDF (smooth IDF) and the SVD are fitted on the training captions. Words are those of
    :func:`~vse_lightning.words.words_of` without English stop words, single Latin letters and single digits; an
    apostrophe ends a word here, so that "dog's" is "dog". A caption without a known word, such as "A", is relevant to
    its own image only. Needs no neural network; not kept on disk, as fitting takes seconds (the 30,000 captions of
    Flickr8k) to minutes (COCO). The SVD is randomised with a fixed seed.

    The released code of LSEH differs: it stems words (Porter), and its relevance is the inner product of the rows of
    U*Sigma, not scaled to length 1, divided by the largest of the query's row in the batch. So its labels depend on the
    batch; these do not.

    Args:
        n_components: dimensions kept by the SVD.
        tokenizer: splits a caption into words, such as ``jieba.lcut``; default: words as described above.

    Raises:
        ModuleNotFoundError: if scikit-learn is missing (``pip install "vse-lightning[labels]"``).
        ValueError: if ``n_components`` is not positive, or ``tokenizer`` is no function.

    References:
        Gong and Cosma, "Improving visual-semantic embeddings by learning semantically-enhanced hard negatives for
        cross-modal information retrieval", Pattern Recognition 137, 2023.
    """

    @typed
    def __init__(self, n_components: int = 400, tokenizer: Tokenizer | None = None) -> None:
        require_extra("LSARelevance", "labels", "sklearn")
        require_whole("n_components", n_components)
        self.n_components = n_components
        self.tokenizer = tokenizer
        self._split = splitter(tokenizer)
        self.name = f"LSA-{n_components}" + ("" if tokenizer is None else f"(tokenizer={tokenizer_name(tokenizer)})")
        self._vectorizer: Any = None
        self._projection: Any = None  # (words, n_components)

    def fit(self, captions: Sequence[str], image_ids: Ids) -> Self:
        """Learn the vocabulary, IDF and SVD; see :meth:`RelevanceSource.fit`.

        Raises:
            ValueError: if there are fewer captions or words than components, or no words.
        """
        import numpy as np
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = read_captions(captions, image_ids)[0]
        warn_of_single_words("LSARelevance", texts, self._split)
        vectorizer = TfidfVectorizer(analyzer=partial(_telling_words, self._split), dtype=np.float32)
        try:
            tfidf = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise ValueError("captions must hold words that are no English stop words, got none") from error
        message = "n_components must be at most the captions and their words, got {} for {} captions with {} words"
        require(self.n_components <= min(tfidf.shape), message, self.n_components, *tfidf.shape)
        # Products of words have the same axes as captions, need no memory per caption, and converge in half the steps.
        svd = TruncatedSVD(self.n_components, random_state=SEED).fit(tfidf.T @ tfidf)
        self._vectorizer, self._projection = vectorizer, svd.components_.T
        return self

    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> FeatureTable:
        """The table for these captions; see :meth:`RelevanceSource.table`.

        Raises:
            RuntimeError: before :meth:`fit`.
        """
        texts = read_captions(captions, image_ids, text_ids)[0]
        if self._projection is None:
            raise RuntimeError("LSARelevance must be fitted on the training captions before it makes a table: call fit")
        features = torch.empty(len(texts), self.n_components, dtype=torch.float16)
        unknown: list[int] = []
        for start in range(0, len(texts), CAPTIONS_PER_STEP):
            tfidf = self._vectorizer.transform(texts[start : start + CAPTIONS_PER_STEP])
            features[start : start + tfidf.shape[0]] = torch.from_numpy(tfidf @ self._projection)
            unknown += (start + (tfidf.getnnz(axis=1) == 0).nonzero()[0]).tolist()
        warn_of_unknown_words(self.name, texts, unknown)
        return FeatureTable(features, image_ids, text_ids, label=self.name)


def _telling_words(split: Callable[[str], list[str]], caption: str) -> list[str]:
    """The words that say what a caption is about."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    parts = (part for word in split(caption) for part in word.split("'"))
    return [part for part in parts if part not in ENGLISH_STOP_WORDS and (len(part) > 1 or not part.isascii())]
