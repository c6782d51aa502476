"""Processes that encode the same captions at once, and runs that were interrupted."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from vse_lightning.relevance.cache import CacheEntry, cache_key, parts
from vse_lightning.relevance.cache.parts import PartFiles

CAPTIONS = [chr(ord("a") + row % 26) * (1 + row * 7 % 11) for row in range(11)]  # lengths 1 to 11 in disorder
FEATURES = np.array([[len(caption), ord(caption[0])] for caption in CAPTIONS], dtype=np.float16)

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Encoder:
    """Features by which a caption is known; writes down what it encodes, in a file for each process."""

    dimension = 2

    def __init__(self, folder):
        self.folder = folder

    def encode(self, captions):
        with (self.folder / f"{os.getpid()}.txt").open("a") as file:
            file.writelines(caption + "\n" for caption in captions)
        return np.array([[len(caption), ord(caption[0])] for caption in captions], dtype=np.float16)


class MeetingEncoder(Encoder):
    """Goes on when the encoders of all processes have something to do."""

    def __init__(self, folder, everybody, disturb=None):
        super().__init__(folder)
        self.everybody = everybody
        self.disturb = disturb

    def encode(self, captions):
        if self.everybody is not None:
            self.everybody.wait(30)
            self.everybody = None
        if self.disturb is not None:
            self.disturb()
        return super().encode(captions)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_CAPTIONS", 2)


@pytest.fixture
def entry(tmp_path):
    return CacheEntry(tmp_path / "cache", "letters", cache_key(CAPTIONS, {}))


def encoded(folder):
    """What each process encoded, in order."""
    return [path.read_text().split() for path in folder.glob("*.txt")]


def run(entries, encoders):
    """Make each entry in a process of its own; the exit codes."""
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=entry.make, args=(CAPTIONS, lambda e=encoder: e))
        for entry, encoder in zip(entries, encoders, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_captions(entry, tmp_path, count):
    everybody = multiprocessing.get_context("fork").Barrier(count)
    assert run([entry] * count, [MeetingEncoder(tmp_path, everybody) for _ in range(count)]) == [0] * count
    assert np.array_equal(np.load(entry.path), FEATURES)
    shares = encoded(tmp_path)
    assert len(shares) == count
    assert sorted(caption for share in shares for caption in share) == sorted(CAPTIONS)  # each once
    assert sorted(path.suffix for path in entry.folder.iterdir()) == [".json", ".lock", ".npy"]


def test_one_process_makes_the_same(entry, tmp_path):
    entry.make(CAPTIONS, lambda: Encoder(tmp_path))
    assert np.array_equal(np.load(entry.path), FEATURES)
    (order,) = encoded(tmp_path)
    assert order == sorted(CAPTIONS, key=len, reverse=True)  # captions of like length together, the longest first


def fail():
    raise RuntimeError("out of memory")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("disturb", "code"), [(fail, 1), (die, -signal.SIGKILL)])
def test_others_do_the_part_of_a_process_that_fails(entry, tmp_path, disturb, code):
    everybody = multiprocessing.get_context("fork").Barrier(2)
    encoders = [MeetingEncoder(tmp_path, everybody, disturb), MeetingEncoder(tmp_path, everybody)]
    assert run([entry, entry], encoders) == [code, 0]
    assert np.array_equal(np.load(entry.path), FEATURES)
    (order,) = encoded(tmp_path)
    assert sorted(order) == sorted(CAPTIONS)


def test_machines_with_folders_of_their_own_each_have_the_entry(entry, tmp_path):
    """One has it already, and does not wait for the other."""
    other = CacheEntry(tmp_path / "other machine", entry.label, entry.key)
    entry.make(CAPTIONS, lambda: Encoder(tmp_path))
    assert run([entry, other], [None, Encoder(tmp_path)]) == [0, 0]
    assert np.array_equal(np.load(entry.path), np.load(other.path))


def test_an_interrupted_run_is_continued(entry, tmp_path):
    class Interrupted(Encoder):
        def encode(self, captions):
            if len(encoded(tmp_path)[0] if encoded(tmp_path) else []) == 4:
                raise KeyboardInterrupt
            return super().encode(captions)

    with pytest.raises(KeyboardInterrupt):
        entry.make(CAPTIONS, lambda: Interrupted(tmp_path))
    assert not entry.path.exists()
    entry.make(CAPTIONS, lambda: Encoder(tmp_path))
    (order,) = encoded(tmp_path)
    assert sorted(order) == sorted(CAPTIONS)
    assert np.array_equal(np.load(entry.path), FEATURES)


def test_force_starts_afresh_and_the_entry_stays_until_it_is_done(entry, tmp_path):
    class Looking(Encoder):
        def encode(self, captions):
            assert entry.path.exists()
            return super().encode(captions)

    entry.make(CAPTIONS, lambda: Encoder(tmp_path))
    left = PartFiles(entry.path.with_suffix(".parts"), CAPTIONS)
    with left.take() as part:
        part.save(np.zeros((2, 2), np.float16))
    entry.make(CAPTIONS, lambda: Looking(tmp_path), force=True)
    assert len(encoded(tmp_path)[0]) == 2 * len(CAPTIONS)
    assert np.array_equal(np.load(entry.path), FEATURES)


@pytest.mark.parametrize("content", [b"", b"no array"])
def test_a_damaged_part_is_made_again(entry, tmp_path, content):
    files = PartFiles(tmp_path / "parts", CAPTIONS)
    with files.take() as part:
        part.save(np.zeros((2, 2), np.float16))
    assert files.missing_captions() == 9
    (path,) = (tmp_path / "parts").glob("*.npy")
    path.write_bytes(content)
    assert PartFiles(tmp_path / "parts", CAPTIONS).missing_captions() == 11


def test_a_part_is_taken_once(tmp_path):
    first, second, third = (PartFiles(tmp_path / "parts", CAPTIONS[:4]) for _ in range(3))
    one, two = first.take(), second.take()
    assert sorted(one.rows + two.rows) == [0, 1, 2, 3]
    assert third.take() is None
    with one:
        one.save(np.zeros((2, 2), np.float16))
    assert third.take() is None  # the one is made, though third has not looked since
    with two:
        pass
    assert third.take().rows == two.rows


def test_progress_goes_to_the_error_stream(entry, tmp_path, capsys):
    entry.make(CAPTIONS, lambda: Encoder(tmp_path))
    out, err = capsys.readouterr()
    assert out == ""
    assert "Encoding captions" in err
    assert "100%" in err
