"""Relevance by latent semantic analysis."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from vse_lightning.relevance.source import RelevanceSource, check_captions
from vse_lightning.relevance.table import FeatureTable

CAPTIONS_PER_STEP = 16_384
SEED = 0


class LSARelevance(RelevanceSource):
    """Relevance by topic: cosine of TF-IDF vectors after a truncated SVD, the best over the captions of the image.

    TF-IDF (English stop words dropped, smooth IDF) and the SVD are fitted on the training captions. A caption without a
    known word, such as "A", is relevant to its own image only. Needs no neural network; not kept on disk, as fitting
    takes seconds (the 30,000 captions of Flickr8k) to minutes (COCO). The SVD is randomised with a fixed seed.

    The released code of LSEH differs: it stems words (Porter), and its relevance is the inner product of the rows of
    U*Sigma, not scaled to length 1, divided by the largest of the query's row in the batch. So its labels depend on the
    batch; these do not.

    Args:
        n_components: dimensions kept by the SVD.

    Raises:
        ValueError: if ``n_components`` is not positive.

    References:
        Gong and Cosma, "Improving visual-semantic embeddings by learning semantically-enhanced hard negatives for
        cross-modal information retrieval", Pattern Recognition 137, 2023.
    """

    def __init__(self, n_components: int = 400) -> None:
        if n_components < 1:
            raise ValueError(f"n_components must be at least 1, got {n_components}")
        self.n_components = n_components
        self.name = f"LSA-{n_components}"
        self._vectorizer: Any = None
        self._projection: Any = None  # (words, n_components)

    def fit(self, captions: Sequence[str], image_ids: Tensor) -> Self:
        """Learn the vocabulary, IDF and SVD; see :meth:`RelevanceSource.fit`.

        Raises:
            ValueError: if there are fewer captions or words than components, or no words.
        """
        import numpy as np
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        check_captions(captions, image_ids)
        vectorizer = TfidfVectorizer(stop_words="english", dtype=np.float32)
        try:
            tfidf = vectorizer.fit_transform(captions)
        except ValueError as error:
            raise ValueError("captions must hold words that are no English stop words, got none") from error
        if self.n_components > min(tfidf.shape):
            raise ValueError(
                f"n_components must be at most the number of training captions and of their words, got "
                f"{self.n_components} for {tfidf.shape[0]} captions with {tfidf.shape[1]} words"
            )
        # Products of words have the same axes as captions, need no memory per caption, and converge in half the steps.
        svd = TruncatedSVD(self.n_components, random_state=SEED).fit(tfidf.T @ tfidf)
        self._vectorizer, self._projection = vectorizer, svd.components_.T
        return self

    def table(self, captions: Sequence[str], image_ids: Tensor, text_ids: Tensor | None = None) -> FeatureTable:
        """The table for these captions; see :meth:`RelevanceSource.table`.

        Raises:
            RuntimeError: before :meth:`fit`.
        """
        check_captions(captions, image_ids, text_ids)
        if self._projection is None:
            raise RuntimeError("LSARelevance must be fitted on the training captions before it makes a table: call fit")
        features = torch.empty(len(captions), self.n_components, dtype=torch.float16)
        for start in range(0, len(captions), CAPTIONS_PER_STEP):
            part = self._vectorizer.transform(captions[start : start + CAPTIONS_PER_STEP]) @ self._projection
            features[start : start + len(part)] = torch.from_numpy(part)
        return FeatureTable(features, image_ids, text_ids, label=self.name)
