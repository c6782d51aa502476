"""Processes that want the same captions at once, and runs that were interrupted."""

import multiprocessing
import os
import signal
import time
from itertools import chain

import numpy as np
import pytest
from filelock import FileLock

from vse_lightning.relevance.cache import CachedFeatures
from vse_lightning.relevance.cache import features as cache_features

CAPTIONS = [chr(ord("a") + row % 26) * (1 + row * 7 % 11) for row in range(11)]  # lengths 1 to 11 in disorder
FEATURES = np.array([[len(caption), ord(caption[0])] for caption in CAPTIONS], dtype=np.float16)

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Encoder:
    """Features by which a caption is known; writes down what it encodes, in a file for each process."""

    def __init__(self, folder, seconds=0.0, disturb=None):
        self.folder, self.seconds, self.disturb = folder, seconds, disturb

    def __call__(self, captions):
        time.sleep(self.seconds)
        if self.disturb is not None and sum(map(len, encoded(self.folder))) >= 4:
            self.disturb()
        with (self.folder / f"{os.getpid()}.txt").open("a") as file:
            file.writelines(caption + "\n" for caption in captions)
        return np.array([[len(caption), ord(caption[0])] for caption in captions])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(cache_features, "PART_CAPTIONS", 2)


@pytest.fixture
def entry(tmp_path):
    return CachedFeatures("letters", CAPTIONS, {}, tmp_path / "cache")


def encoded(folder):
    """What each process encoded, in order."""
    return [path.read_text().split() for path in folder.glob("*.txt")]


def run(entries, encoders):
    """Make each entry in a process of its own; the exit codes."""
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=entry.make, args=(lambda e=encoder: e,))
        for entry, encoder in zip(entries, encoders, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_one_of_several_processes_encodes_and_the_others_wait(entry, tmp_path, capfd):
    assert run([entry] * 3, [Encoder(tmp_path, seconds=0.3)] * 3) == [0] * 3
    assert np.array_equal(np.load(entry.path), FEATURES)
    (order,) = encoded(tmp_path)
    assert order == sorted(CAPTIONS, key=len, reverse=True)  # captions of like length together, the longest first
    assert sorted(path.suffix for path in entry.path.parent.iterdir()) == [".json", ".lock", ".npy"]
    waits = "waiting for 11 captions that another process encodes (letters, "
    assert capfd.readouterr().err.replace("\n", " ").count(waits) == 2


def test_who_waits_gives_up_where_the_other_makes_no_progress(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_features, "PATIENCE_SECONDS", 0.3)
    entry.path.parent.mkdir()
    with (
        FileLock(entry.path.with_suffix(".lock")),
        pytest.raises(TimeoutError, match=r"waited 0.005 minutes for 11 captions .*\.lock\), which made no progress"),
    ):
        entry.make(lambda: Encoder(tmp_path))


def test_who_waits_goes_on_as_long_as_the_other_makes_progress(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_features, "PATIENCE_SECONDS", 0.6)
    assert run([entry] * 2, [Encoder(tmp_path, seconds=0.3)] * 2) == [0, 0]  # 1.8 seconds in all
    assert len(encoded(tmp_path)) == 1


def fail():
    raise RuntimeError("out of memory")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("disturb", "code"), [(fail, 1), (die, -signal.SIGKILL)])
def test_another_process_goes_on_where_one_failed(entry, tmp_path, disturb, code):
    assert run([entry], [Encoder(tmp_path, disturb=disturb)]) == [code]
    assert not entry.path.exists()
    assert run([entry], [Encoder(tmp_path)]) == [0]
    assert np.array_equal(np.load(entry.path), FEATURES)
    assert sorted(chain(*encoded(tmp_path))) == sorted(CAPTIONS)  # each once


def test_machines_with_folders_of_their_own_each_have_the_entry(entry, tmp_path):
    """One has it already, and does not wait for the other."""
    other = CachedFeatures(entry.label, CAPTIONS, {}, tmp_path / "other machine")
    entry.make(lambda: Encoder(tmp_path))
    assert run([entry, other], [None, Encoder(tmp_path)]) == [0, 0]
    assert np.array_equal(np.load(entry.path), np.load(other.path))


def test_force_starts_afresh_and_the_entry_stays_until_it_is_done(entry, tmp_path):
    class Looking(Encoder):
        def __call__(self, captions):
            assert entry.path.exists()
            return super().__call__(captions)

    entry.make(lambda: Encoder(tmp_path))
    left = entry.path.with_suffix(".parts")
    left.mkdir()
    np.savez(left / "0.npz", np.zeros((2, 2), np.float16))
    entry.make(lambda: Looking(tmp_path), force=True)
    assert len(encoded(tmp_path)[0]) == 2 * len(CAPTIONS)
    assert np.array_equal(np.load(entry.path), FEATURES)


def truncated(content):
    return content[:-30]


def with_another_bit(content):
    place = content.rindex(FEATURES.dtype.type(11).tobytes())
    return content[:place] + b"\x7f" + content[place + 1 :]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"no array", truncated, with_another_bit])
def test_a_damaged_part_is_made_again(entry, tmp_path, damage):
    with pytest.raises(RuntimeError, match="out of memory"):
        entry.make(lambda: Encoder(tmp_path, disturb=fail))
    part = entry.path.with_suffix(".parts") / "0.npz"
    part.write_bytes(damage(part.read_bytes()))
    entry.make(lambda: Encoder(tmp_path))
    assert np.array_equal(np.load(entry.path), FEATURES)
    (order,) = encoded(tmp_path)
    assert len(order) == len(CAPTIONS) + 2


def test_progress_goes_to_the_error_stream(entry, tmp_path, capsys):
    entry.make(lambda: Encoder(tmp_path))
    out, err = capsys.readouterr()
    assert out == ""
    assert "Encoding captions" in err
    assert "100%" in err
