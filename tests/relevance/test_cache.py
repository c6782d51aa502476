import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vse_lightning.relevance.cache import CacheEntry, cache_key
from vse_lightning.relevance.cache import entry as cache_entry
from vse_lightning.relevance.cache.folder import cache_folder

CAPTIONS = ["a dog", "a bus", "a cat"]


class Encoder:
    """Counts its calls."""

    dimension = 4

    def __init__(self):
        self.calls = 0

    def encode(self, captions):
        self.calls += 1
        return np.arange(len(captions) * 4, dtype=np.float16).reshape(-1, 4)


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def entry(tmp_path):
    return CacheEntry(tmp_path / "cache", "SBERT Some/Model v2", cache_key(CAPTIONS, {"model": "x"}))


def test_encodes_once(entry, encoder):
    first = entry.make(CAPTIONS, lambda: encoder)
    second = entry.make(CAPTIONS, lambda: pytest.fail("loaded the model again"))
    assert first == second == entry.path
    assert encoder.calls == 1
    assert np.array_equal(np.load(entry.path), Encoder().encode(CAPTIONS))


def test_files_are_described_and_nothing_else_remains(entry, encoder):
    entry.make(CAPTIONS, lambda: encoder)
    names = sorted(path.name for path in entry.folder.iterdir())
    stem = f"sbert-some-model-v2-{entry.key[:20]}"
    assert names == [f"{stem}.json", f"{stem}.lock", f"{stem}.npy"]
    description = json.loads(entry.description_path.read_text())
    assert description["label"] == "SBERT Some/Model v2"
    assert description["key"] == entry.key


def test_force_encodes_again(entry, encoder):
    entry.make(CAPTIONS, lambda: encoder)
    entry.make(CAPTIONS, lambda: encoder, force=True)
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
    entry.description_path.unlink()


def broken_description(entry):
    entry.description_path.write_text("{")


def list_description(entry):
    entry.description_path.write_text("[1]")


def other_key(entry):
    content = json.loads(entry.description_path.read_text())
    entry.description_path.write_text(json.dumps({**content, "key": "0" * 64}))


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
    entry.make(CAPTIONS, lambda: encoder)
    damage(entry)
    with pytest.warns(UserWarning, match=r"\.npy is damaged \(.+\); making it again"):
        entry.make(CAPTIONS, lambda: encoder)
    assert encoder.calls == 2
    assert np.array_equal(np.load(entry.path), Encoder().encode(CAPTIONS))


def test_a_failed_encoding_leaves_no_entry(entry):
    class Failing(Encoder):
        def encode(self, captions):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        entry.make(CAPTIONS, Failing)
    assert not entry.path.exists()
    assert not entry.description_path.exists()


def test_the_key_depends_on_captions_order_and_settings():
    keys = {
        cache_key(captions, settings)
        for captions in (CAPTIONS, CAPTIONS[::-1], ["a do", "ga bus", "a cat"], [*CAPTIONS, ""])
        for settings in ({"model": "x"}, {"model": "y"}, {"model": "x", "source": "z"})
    }
    assert len(keys) == 12
    assert cache_key(CAPTIONS, {"a": "1", "b": "2"}) == cache_key(tuple(CAPTIONS), {"b": "2", "a": "1"})
    cache_key(["\ud83d broken surrogate"], {})


def test_an_unwritable_folder_is_an_error_before_the_model_is_loaded(entry):
    entry.folder.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cache_dir must be a folder that can be written, got .*VSE_LIGHTNING_CACHE"):
        entry.make(CAPTIONS, lambda: pytest.fail("loaded the model"))


def test_a_read_only_folder_serves_what_it_has(entry, encoder, monkeypatch):
    entry.make(CAPTIONS, lambda: encoder)
    entry.path.with_suffix(".lock").unlink()
    monkeypatch.setattr(cache_entry, "check_writable", lambda folder: pytest.fail("wanted to write"))
    assert entry.make(CAPTIONS, lambda: encoder) == entry.path
    assert not entry.path.with_suffix(".lock").exists()


def test_a_full_disk_is_an_error_before_the_encoding(entry, encoder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"cache_dir must have room for 0\.0 MB of features, got 0\.0 MB in"):
        entry.make(CAPTIONS, lambda: encoder)
    assert encoder.calls == 0


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
