"""Graded relevance of images to texts, derived from captions.

A *source* compares captions in its own way and makes a *table*, which serves the relevance of any images to any texts:
:class:`SBERTRelevance` by meaning, :class:`CIDErRelevance` by shared wording, :class:`LSARelevance` by topic without a
neural network, :class:`PrecomputedRelevance` by vectors that you bring, :class:`CaptionEnsemble` by several of these.

Words are what their readers see, in any script: :func:`vse_lightning.words.words_of`, unless a source is given a
``tokenizer`` (SBERT has its model's).

Relevance derived from captions is a pseudo-label: it knows what was written, not what is in the picture. Where people
judged the relevance, use their judgements. Values under different sources cannot be compared with each other.
"""

from vse_lightning.relevance.cache import CachedFeatures
from vse_lightning.relevance.cider import CIDErRelevance
from vse_lightning.relevance.ensemble import CaptionEnsemble
from vse_lightning.relevance.feature_table import FeatureTable
from vse_lightning.relevance.lsa import LSARelevance
from vse_lightning.relevance.precomputed import PrecomputedRelevance
from vse_lightning.relevance.relevance_source import RelevanceSource
from vse_lightning.relevance.relevance_table import RelevanceTable
from vse_lightning.relevance.sbert import SBERTRelevance
from vse_lightning.relevance.sparse_table import SparseTable

__all__ = [
    "CIDErRelevance",
    "CachedFeatures",
    "CaptionEnsemble",
    "FeatureTable",
    "LSARelevance",
    "PrecomputedRelevance",
    "RelevanceSource",
    "RelevanceTable",
    "SBERTRelevance",
    "SparseTable",
]
