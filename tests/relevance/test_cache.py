import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from vse_lightning.relevance import FeatureTable, RelevanceSource
from vse_lightning.relevance.cache import CachedFeatures
from vse_lightning.relevance.cache import features as cache_features
from vse_lightning.relevance.cache.folder import cache_folder

CAPTIONS = ["a dog", "a bus", "a cat"]


class Encoder:
    """Counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, captions):
        self.calls += 1
        return np.arange(len(captions) * 4, dtype=np.float32).reshape(-1, 4)


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def entry(tmp_path):
    return CachedFeatures("SBERT Some/Model v2", CAPTIONS, {"model": "x"}, tmp_path / "cache")


def files(entry):
    return sorted(path.name for path in entry.path.parent.iterdir())


def test_encodes_once(entry, encoder):
    first = entry.make(lambda: encoder)
    second = entry.make(lambda: pytest.fail("loaded the model again"))
    assert first == second == entry.path
    assert encoder.calls == 1
    features = np.load(entry.path)
    assert features.dtype == np.float16
    assert np.array_equal(features, Encoder()(CAPTIONS))


def test_files_are_described_and_nothing_else_remains(entry, encoder):
    entry.make(lambda: encoder)
    stem = f"sbert-some-model-v2-{entry.key[:20]}"
    assert files(entry) == [f"{stem}.json", f"{stem}.lock", f"{stem}.npy"]
    description = json.loads(entry.path.with_suffix(".json").read_text())
    assert description["label"] == "SBERT Some/Model v2"
    assert description["key"] == entry.key


def test_force_encodes_again(entry, encoder):
    entry.make(lambda: encoder)
    entry.make(lambda: encoder, force=True)
    assert encoder.calls == 2


def truncate(entry):
    entry.path.write_bytes(entry.path.read_bytes()[:-1])


def empty(entry):
    entry.path.write_bytes(b"")


def flip_a_bit(entry):
    content = bytearray(entry.path.read_bytes())
    content[-1] ^= 1
    entry.path.write_bytes(bytes(content))


def pickled(entry):
    np.save(entry.path, np.array([{"evil": 1}]), allow_pickle=True)


def other_dtype(entry):
    np.save(entry.path, np.load(entry.path).astype(np.float32))


def other_rows(entry):
    np.save(entry.path, np.load(entry.path)[:2])


def no_description(entry):
    entry.path.with_suffix(".json").unlink()


def broken_description(entry):
    entry.path.with_suffix(".json").write_text("{")


def list_description(entry):
    entry.path.with_suffix(".json").write_text("[1]")


def other_key(entry):
    content = json.loads(entry.path.with_suffix(".json").read_text())
    entry.path.with_suffix(".json").write_text(json.dumps({**content, "key": "0" * 64}))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        flip_a_bit,
        pickled,
        other_dtype,
        other_rows,
        no_description,
        broken_description,
        list_description,
        other_key,
    ],
)
def test_a_damaged_entry_is_made_again_with_a_warning(entry, encoder, damage):
    entry.make(lambda: encoder)
    damage(entry)
    with pytest.warns(UserWarning, match=r"\.npy is damaged \(.+\); making it again"):
        entry.make(lambda: encoder)
    assert encoder.calls == 2
    assert np.array_equal(np.load(entry.path), Encoder()(CAPTIONS))


def test_vectors_that_do_not_fit_are_an_error_and_no_entry(entry, monkeypatch):
    with pytest.raises(ValueError, match=r"Model v2 must give a vector for each of 3 captions, got \(2, 4\)"):
        entry.make(lambda: lambda captions: np.zeros((2, 4)))
    monkeypatch.setattr(cache_features, "PART_CAPTIONS", 1)
    widths = iter([4, 4, 5])
    with pytest.raises(ValueError, match=r"Model v2 must give vectors of one width, got 4 and 5"):
        entry.make(lambda: lambda captions: np.zeros((1, next(widths))))
    assert not entry.path.exists()


def test_a_failed_encoding_leaves_no_entry(entry):
    def fail(captions):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        entry.make(lambda: fail)
    assert not entry.path.exists()
    assert not entry.path.with_suffix(".json").exists()


def test_the_key_depends_on_captions_order_and_settings():
    keys = {
        CachedFeatures("", captions, settings).key
        for captions in (CAPTIONS, CAPTIONS[::-1], ["a do", "ga bus", "a cat"], [*CAPTIONS, ""])
        for settings in ({"model": "x"}, {"model": "y"}, {"model": "x", "source": "z"})
    }
    assert len(keys) == 12
    first, second = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert CachedFeatures("", CAPTIONS, first).key == CachedFeatures("", tuple(CAPTIONS), second).key
    assert CachedFeatures("", ["\ud83d broken surrogate"], {}).key


def test_an_unwritable_folder_is_an_error_before_the_model_is_loaded(entry):
    entry.path.parent.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cache_dir must be a folder that can be written, got .*VSE_LIGHTNING_CACHE"):
        entry.make(lambda: pytest.fail("loaded the model"))


def test_a_read_only_folder_serves_what_it_has(entry, encoder, monkeypatch):
    entry.make(lambda: encoder)
    entry.path.with_suffix(".lock").unlink()
    monkeypatch.setattr(cache_features, "require_writable", lambda *rule: pytest.fail("wanted to write"))
    assert entry.make(lambda: encoder) == entry.path
    assert not entry.path.with_suffix(".lock").exists()


def test_a_full_disk_is_an_error_after_the_first_part(entry, encoder, monkeypatch):
    monkeypatch.setattr(cache_features, "PART_CAPTIONS", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"cache_dir must have room for 0\.0 MB of features, got 0\.0 MB in"):
        entry.make(lambda: encoder)
    assert encoder.calls == 1
    assert not entry.path.exists()


def test_a_source_of_your_own_is_kept_too(tmp_path):
    class Slow(RelevanceSource):
        name, loaded = "slow", 0

        def load(self):
            self.loaded += 1
            return lambda captions: np.array([[len(caption), 1.0] for caption in captions])

        def table(self, captions, image_ids, text_ids=None):
            (path,) = self.precompute(captions)
            return FeatureTable(path, image_ids, text_ids, label=self.name)

        def precompute(self, captions, force=False):
            return [CachedFeatures(self.name, captions, {"model": "lengths"}, self.cache_dir).make(self.load, force)]

    source = Slow()
    source.cache_dir = tmp_path
    blocks = [source.table(CAPTIONS, [0, 1, 2]).block([0, 1, 2], [0, 1, 2]) for _ in range(2)]
    assert source.loaded == 1
    assert torch.equal(*blocks)
    assert [path.parent for path in source.precompute(CAPTIONS, force=True)] == [tmp_path]
    assert source.loaded == 2


def test_the_folder(monkeypatch):
    assert cache_folder("~/mine") == Path.home() / "mine"
    assert cache_folder("mine") == Path.cwd() / "mine"
    monkeypatch.setenv("VSE_LIGHTNING_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(None) == Path("/own")
    monkeypatch.delenv("VSE_LIGHTNING_CACHE")
    assert cache_folder(None) == Path("/xdg/vse_lightning")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path.home() / ".cache" / "vse_lightning"
