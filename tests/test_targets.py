"""What people hand over as ids, labels and features of a batch."""

import numpy as np
import pytest
import torch

from vse_lightning import LadderLoss, RetrievalTargets, evaluate_embeddings


class Frame:
    """A table of another library, as pandas' DataFrame: indexed by column, and an array when asked."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, column):
        raise KeyError(column)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_features_labels_and_embeddings_may_be_tables_of_other_libraries():
    embeds = np.random.default_rng(0).standard_normal((4, 3))
    known = RetrievalTargets(range(4), range(4), relevance=Frame(np.eye(4)), text_features=Frame(embeds))
    assert torch.equal(known.relevance, torch.eye(4, dtype=torch.float64))
    assert known.text_features.shape == (4, 3)
    assert evaluate_embeddings(Frame(embeds), Frame(embeds))["rsum"] == 600


def test_ids_that_do_not_fit_and_features_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match="image_ids must be integers of 64 bits, got larger ones: pass them as str"):
        RetrievalTargets([2**63, 1], [1, 2**63])
    embeds = torch.randn(4, 3)
    with pytest.raises(ValueError, match="text_features must be one row for each text, got shape"):
        LadderLoss().from_embeddings(embeds, embeds, RetrievalTargets(range(4), range(4), text_features=torch.ones(4)))
