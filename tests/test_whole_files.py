"""What is written is whole, or not there: under kills, full disks and links."""

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vse_lightning import whole_files as module
from vse_lightning.whole_files import WRITING, whole_file, whole_files

WRITES_FOR_EVER = """
import hashlib, sys
from itertools import count
from pathlib import Path

sys.path.insert(0, sys.argv[2])  # not the whole package, which takes seconds to import
from whole_files import whole_files

folder = Path(sys.argv[1])
for version in count(1):
    content = str(version).encode() * 300_000
    with whole_files(folder, last="about.txt") as private:
        (private / "about.txt").write_text(hashlib.sha256(content).hexdigest())
        (private / "content").write_bytes(content)
    print(version, flush=True)
"""


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(WRITING)]


def test_files_come_when_all_are_written(tmp_path):
    with whole_files(tmp_path) as private:
        (private / "a").write_text("a")
        (private / "inner").mkdir()
        (private / "inner" / "b").write_text("b")
        assert {path.name for path in tmp_path.iterdir()} == set(hidden(tmp_path))
        assert private.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "inner"]
    assert (tmp_path / "inner" / "b").read_text() == "b"


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("before")

    def fail():
        with whole_file(path) as written:
            written.write_text("half of")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert not hidden(tmp_path)


def test_permissions_are_the_usual_ones_or_those_of_the_file_that_is_replaced(tmp_path):
    path, usual = tmp_path / "secret", tmp_path / "usual"
    usual.touch()
    for mode in (usual.stat().st_mode & 0o777, 0o640):
        with whole_file(path) as written:
            written.touch(0o600)
        assert path.stat().st_mode & 0o777 == mode
        path.chmod(0o640)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    target, path = tmp_path / "target", tmp_path / "link"
    target.write_text("somebody's")
    path.symlink_to(target)
    with whole_file(path) as written:
        written.write_text("ours")
    assert (target.read_text(), path.read_text(), path.is_symlink()) == ("somebody's", "ours", False)


def test_the_description_comes_last_and_an_earlier_one_goes_first(tmp_path):
    (tmp_path / "about.json").write_text("of earlier files")
    (tmp_path / "z" / "inner").mkdir(parents=True)  # what no file can replace

    def write():
        with whole_files(tmp_path, last="about.json") as private:
            for name in ("about.json", "a", "z"):
                (private / name).touch()

    with pytest.raises(OSError, match=r"cannot be written: .*/z'"):
        write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "z"]


def writes(folder):
    words = [sys.executable, "-c", WRITES_FOR_EVER, str(folder), str(Path(module.__file__).parent)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # the first version is there
    return process


def test_kills_at_any_moment_leave_whole_files_or_none_that_are_described(tmp_path):
    chance, undescribed = random.Random(0), 0
    for _ in range(6):
        with writes(tmp_path) as process:
            time.sleep(chance.uniform(0, 0.3))
            os.kill(process.pid, signal.SIGKILL)
        if (tmp_path / "about.txt").exists():
            found = hashlib.sha256((tmp_path / "content").read_bytes()).hexdigest()
            assert found == (tmp_path / "about.txt").read_text()
        else:
            undescribed += 1
    assert undescribed < 6
    with whole_file(tmp_path / "next") as path:
        path.touch()
    assert not hidden(tmp_path)


def test_only_what_dead_processes_of_ours_left_is_removed(tmp_path):
    (tmp_path / f"{WRITING}another-machine-abc").mkdir()
    with writes(tmp_path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            while not hidden(tmp_path):
                time.sleep(0.01)
            before = hidden(tmp_path)
            with whole_file(tmp_path / "next") as path:
                path.touch()
            assert hidden(tmp_path) == before
        finally:
            os.kill(process.pid, signal.SIGKILL)
    with whole_file(tmp_path / "next") as path:
        path.touch()
    assert hidden(tmp_path) == [f"{WRITING}another-machine-abc"]


def writers():
    import numpy as np
    import torch
    from safetensors.torch import save_file

    content = torch.zeros(1_000_000)
    return {
        "python": lambda path: path.write_bytes(content.numpy().tobytes()),
        "numpy": lambda path: np.save(path, content.numpy()),
        "safetensors": lambda path: save_file({"content": content}, path),
        "torch": lambda path: torch.save({"content": content}, path),
    }


@pytest.mark.parametrize("library", ["python", "numpy", "safetensors", "torch"])
def test_a_full_disk_names_the_file_whatever_writes_it(tmp_path, library):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be made here")
    try:
        path = disk / "file.npy"
        path.write_text("before")
        message = r"\[Errno 28\] cannot be written: No space left .*/disk/file.npy'"
        with pytest.raises(OSError, match=message), whole_file(path) as written:
            writers()[library](written)
        assert path.read_text() == "before"
        assert not hidden(disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # errors hold files open


def test_a_folder_that_is_not_there_is_named_with_the_file(tmp_path):
    message = "cannot be written: No such file or directory.*none/page.html'"
    with pytest.raises(FileNotFoundError, match=message), whole_file(tmp_path / "none" / "page.html"):
        pass


def test_so_does_a_file_that_may_not_be_so_large(tmp_path):
    path = tmp_path / "file.npy"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written: .*/file.npy'"), whole_file(path) as written:
            written.write_bytes(bytes(2_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
