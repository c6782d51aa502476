import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from vse_lightning.functional import caption_relevance, cosine_similarity
from vse_lightning.functional.similarity import rescale_similarity


def test_cosines_equal_numpy():
    images, texts = torch.randn(4, 3, dtype=torch.float64), 5 * torch.randn(6, 3, dtype=torch.float64)
    a, b = images.numpy(), texts.numpy()
    expected = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine_similarity(images, texts), expected, rtol=1e-12)


def test_a_zero_embedding_has_similarity_zero_and_a_finite_gradient():
    images = torch.zeros(1, 3, requires_grad=True)
    scores = cosine_similarity(images, torch.ones(2, 3))
    scores.sum().backward()
    assert scores.tolist() == [[0, 0]]
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("rescale", ["clip", "shift"])
def test_relevance_is_the_best_of_the_captions_of_an_image(rescale):
    features = normalize(torch.randn(7, 5, dtype=torch.float64), dim=1)
    captions_of_image = [[0, 1, 2], [3], [4, 5]]
    padded = torch.tensor([[0, 1, 2], [3, 3, 3], [4, 5, 4]])
    relevance = caption_relevance(features, padded, features, rescale)
    for image, captions in enumerate(captions_of_image):
        for text in range(7):
            cosine = max((features[caption] @ features[text]).item() for caption in captions)
            expected = max(cosine, 0) if rescale == "clip" else (1 + cosine) / 2
            assert relevance[image, text].item() == pytest.approx(expected, abs=1e-12)


def test_relevance_leaves_its_inputs_alone():
    features = torch.randn(4, 3)
    before = features.clone()
    caption_relevance(features, torch.tensor([[0, 1], [2, 3]]), features)
    assert torch.equal(features, before)


def test_relevance_stays_in_range_despite_rounding():
    features = torch.full((1, 3), 0.5774)  # its square sums to a little more than 1
    for rescale in ("clip", "shift"):
        assert caption_relevance(features, torch.tensor([[0]]), features, rescale).item() == 1


def test_an_unknown_rescaling_is_refused():
    with pytest.raises(ValueError, match="rescale must be 'clip' or 'shift', got 'none'"):
        rescale_similarity(torch.zeros(1, 1), "none")
