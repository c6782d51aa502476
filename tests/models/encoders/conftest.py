import pytest
import torch
from torch.nn.functional import cross_entropy

from vse_lightning.functional import cosine_similarity


@pytest.fixture
def losses_of_training():
    """A function that trains an encoder of texts towards targets, one per text, and returns the loss of each step."""

    def train(encoder, text, targets, rate, steps):
        optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
        losses = []
        for _ in range(steps):
            scores = cosine_similarity(encoder(text), targets) * 10
            loss = cross_entropy(scores, torch.arange(len(targets)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return train
