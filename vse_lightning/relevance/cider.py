"""Relevance by shared wording: CIDEr-D."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_positive, require_whole
from vse_lightning.relevance._ngrams import Ngrams, NgramVocabulary, cider_matrices, find_ngrams
from vse_lightning.relevance.relevance_source import RelevanceSource, read_captions, warn_of_unknown_words
from vse_lightning.relevance.sparse_table import SparseTable
from vse_lightning.targets import Ids
from vse_lightning.words import Tokenizer, splitter, tokenizer_name, warn_of_single_words


class CIDErRelevance(RelevanceSource):
    r"""Relevance by shared wording: the CIDEr-D of a text with the captions of an image as references.

    The mean over orders up to ``n`` and over the references, without the metric's factor 10, so in [0, 1]:

    .. math::
        \frac{1}{n} \sum_{k=1}^{n} \operatorname{mean}_{r} e^{-(l_c - l_r)^2 / 2\sigma^2}
        \frac{\sum_g \min(c_g, r_g)\, r_g}{\lVert c \rVert_k \lVert r \rVert_k}

    - :math:`c_g, r_g`: count times IDF of the n-gram :math:`g` of :math:`k` words in the text and in the reference;
      IDF = log(training images) - log(training images with :math:`g` in a caption, at least 1).
    - :math:`l_c, l_r`: lengths in bigrams, as in the released code.
    - :math:`\sigma`: ``sigma``.

    Document frequencies come from the training captions only. Words are those of
    :func:`~vse_lightning.words.words_of`: characters in scripts without spaces. A caption of the image itself would be
    one of its own references, hence far above all others: its relevance is set to 1. It costs seconds and is not kept
    on disk.

    Exact wording matters here: "a dog runs" and "a puppy sprints" have little in common. Values are small (mostly below
    0.1), so thresholds and margins chosen for cosines do not carry over.

    Args:
        n: the longest n-grams, in words.
        sigma: width of the penalty on different lengths.
        tokenizer: splits a caption into words, such as ``jieba.lcut``; default: words as described above.

    Raises:
        ModuleNotFoundError: if scipy is missing (``pip install "vse-lightning[labels]"``).
        ValueError: if ``n`` or ``sigma`` is not positive, or ``tokenizer`` is no function.

    References:
        Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015; values as those
        of pycocoevalcap's ``CiderScorer``, which computes CIDEr-D.
    """

    @typed
    def __init__(self, n: int = 4, sigma: float = 6.0, tokenizer: Tokenizer | None = None) -> None:
        require_extra("CIDErRelevance", "labels", "scipy")
        require_whole("n", n)
        require_positive("sigma", sigma)
        self.n = n
        self.sigma = sigma
        self.tokenizer = tokenizer
        self._split = splitter(tokenizer)
        settings = [] if (n, sigma) == (4, 6.0) else [f"n={n}, sigma={sigma:g}"]
        settings += [] if tokenizer is None else [f"tokenizer={tokenizer_name(tokenizer)}"]
        self.name = "CIDEr-D" + (f"({', '.join(settings)})" if settings else "")
        self._vocabulary: NgramVocabulary | None = None
        self._idf: list[NDArray[np.float64]] = []

    def fit(self, captions: Sequence[str], image_ids: Ids) -> Self:
        """Learn the document frequencies; see :meth:`RelevanceSource.fit`.

        Raises:
            ValueError: if the captions are those of a single image: every IDF would be 0.
        """
        texts, ids, _ = read_captions(captions, image_ids)
        images, image_of = np.unique(ids.numpy(), return_inverse=True)
        message = "CIDErRelevance needs captions of at least 2 training images, got {}: every IDF would be 0"
        require(len(images) > 1, message, len(images))
        warn_of_single_words("CIDErRelevance", texts, self._split)
        words, orders = find_ngrams(texts, self.n, self._split)
        pairs, self._idf = [], []
        for ngrams in orders:
            pairs.append(ngrams.pairs)
            self._idf.append(
                np.append(np.log(len(images) / _document_frequency(ngrams, image_of)), np.log(len(images)))
            )
        self._vocabulary = NgramVocabulary(words, pairs)
        return self

    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> SparseTable:
        """The table for these captions; see :meth:`RelevanceSource.table`.

        Raises:
            RuntimeError: before :meth:`fit`.
        """
        texts, images, _ = read_captions(captions, image_ids, text_ids)
        if self._vocabulary is None:
            raise RuntimeError(
                "CIDErRelevance must be fitted on the training captions before it makes a table: call fit"
            )
        orders = self._vocabulary.numbers_of(*find_ngrams(texts, self.n, self._split))
        references, candidates, lengths = cider_matrices(self._weighted(orders, texts), images.numpy())
        return SparseTable(
            references,
            image_ids,
            text_ids,
            label=self.name,
            text_features=candidates,
            normalize=False,
            captions="mean",
            pair_weight=partial(_length_penalty, torch.from_numpy(lengths).float(), self.sigma),
        )

    def _weighted(
        self, orders: Iterable[tuple[Ngrams, NDArray[np.int64]]], captions: list[str]
    ) -> Iterator[tuple[Ngrams, NDArray[np.float64]]]:
        """The n-grams of each order with their IDF; a new one has number -1: the last, of a document frequency of 1."""
        for order, ((ngrams, numbers), idf) in enumerate(zip(orders, self._idf, strict=True), start=1):
            if order == 1:
                has_known_word = np.zeros(len(captions), dtype=bool)
                has_known_word[ngrams.captions[numbers[ngrams.numbers] >= 0]] = True
                warn_of_unknown_words(self.name, captions, np.flatnonzero(~has_known_word))
            yield ngrams, idf[numbers]


def _length_penalty(lengths: Tensor, sigma: float, references: Tensor, texts: Tensor) -> Tensor:
    longer = lengths[references, None] - lengths[texts]
    return longer.square_().div_(-2 * sigma**2).exp_()


def _document_frequency(ngrams: Ngrams, image_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """In how many images' captions each n-gram is."""
    images = len(image_of)  # at most
    keys = np.sort(ngrams.numbers.astype(np.int64) * images + image_of[ngrams.captions])
    return np.bincount(keys[np.diff(keys, prepend=-1) > 0] // images, minlength=len(ngrams.pairs))
