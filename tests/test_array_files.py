"""Every file that holds numbers gives those numbers; every other says what it holds and what to save instead."""

import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vse_lightning.array_files import read_arrays

NUMBERS = np.random.default_rng(0).integers(-8, 8, (6, 4)).astype(np.float32)  # exact in every type


def bfloat16(array):
    """As ml_dtypes writes it."""
    return torch.from_numpy(array).bfloat16().view(torch.int16).numpy().view("V2")


KINDS = {
    "as it is": lambda array: array,
    "big-endian": lambda array: array.astype(">f4"),
    "Fortran order": np.asfortranarray,
    "every second row": lambda array: np.repeat(array, 2, axis=0)[::2],
    "float16": lambda array: array.astype(np.float16),
    "big-endian float16": lambda array: array.astype(">f2"),
    "long double": lambda array: array.astype(np.longdouble),
    "bfloat16": bfloat16,
    "bfloat16 in Fortran order": lambda array: np.asfortranarray(bfloat16(array)),
    "int8": lambda array: array.astype(np.int8),
    "big-endian int64": lambda array: array.astype(">i8"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".npy", ".NPY", ".npz"])
def test_numbers_of_numpy(tmp_path, kind, suffix):
    array, path = KINDS[kind](NUMBERS), tmp_path / f"file{suffix}"
    with path.open("wb") as file:
        if suffix == ".npz":
            np.savez(file, embeds=array, names=np.array(["a.jpg"]))
        else:
            np.save(file, array)
    found = read_arrays(path)["embeds" if suffix == ".npz" else ""]()
    np.testing.assert_array_equal(found.double().numpy(), NUMBERS)
    assert found.is_floating_point() == ("int" not in kind)


def test_numbers_of_ml_dtypes(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.random.default_rng(0).normal(size=(5, 3)).astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", a=array)
    for name, key in (("a.npy", ""), ("a.npz", "a")):
        found = read_arrays(tmp_path / name)[key]()
        assert found.dtype == torch.bfloat16
        np.testing.assert_array_equal(found.float().numpy(), array.astype(np.float32))


@pytest.mark.parametrize(
    "content",
    [
        torch.from_numpy(NUMBERS),
        torch.nn.Parameter(torch.from_numpy(NUMBERS)),
        torch.from_numpy(NUMBERS).bfloat16(),
        torch.from_numpy(NUMBERS).to_sparse(),
        list(torch.from_numpy(NUMBERS)),
        tuple(torch.from_numpy(NUMBERS)),
        list(torch.from_numpy(NUMBERS).split(4)),  # batches, the last one shorter
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_numbers_of_pytorch(tmp_path, content, suffix):
    path = tmp_path / f"file{suffix}"
    torch.save({"embeds": content, "epoch": 3, "names": ["a.jpg"]}, path)
    arrays = read_arrays(path)
    assert list(arrays) == ["embeds"]
    np.testing.assert_array_equal(arrays["embeds"]().float().numpy(), NUMBERS)
    torch.save(content, path)
    (array,) = read_arrays(path).values()
    np.testing.assert_array_equal(array().float().numpy(), NUMBERS)


def test_numbers_of_safetensors(tmp_path):
    save_file({"a": torch.from_numpy(NUMBERS), "b": torch.zeros(2)}, tmp_path / "a.safetensors")
    arrays = read_arrays(tmp_path / "a.safetensors")
    assert set(arrays) == {"a", "b"}
    np.testing.assert_array_equal(arrays["a"]().numpy(), NUMBERS)


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


def _objects(path):
    np.save(path, np.array([Evil(), None], dtype=object), allow_pickle=True)


def _object_of_npz(path):
    np.savez(path, a=np.array([Evil(), None], dtype=object))


def _cut_off(path):
    np.save(path, NUMBERS)
    path.write_bytes(path.read_bytes()[:-8])


def _zip_as_npy(path):
    with path.open("wb") as file:
        np.savez(file, a=NUMBERS)


def _cut_off_pt(path):
    torch.save(torch.from_numpy(NUMBERS), path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "a.npy",
            _objects,
            r"a\.npy holds Python objects, .* save an array of numbers, such as np\.stack\(list\(array",
        ),
        ("a.npz", _object_of_npz, r"'a' of .*a\.npz holds Python objects, .* save an array of numbers"),
        (
            "a.npy",
            lambda path: np.save(path, np.array(["x"])),
            r"a\.npy must hold numbers, got <U1: save it as float32",
        ),
        (
            "a.npy",
            lambda path: np.save(path, np.zeros(2, "f4,i4")),
            r"a\.npy must hold numbers, got .*f4.*: save it as",
        ),
        ("a.npy", lambda path: np.save(path, np.zeros(2, "V1")), r"a\.npy must hold numbers, got \|V1: save it as"),
        ("a.npy", _cut_off, r"a\.npy is damaged, as a file that was cut off"),
        (
            "a.npy",
            _zip_as_npy,
            r"a\.npy must be an \.npy file that np\.save wrote, which it is not, but a zip of several",
        ),
        (
            "a.npy",
            lambda path: path.write_bytes(pickle.dumps([1])),
            r"a\.npy must be an \.npy file that np\.save wrote",
        ),
        ("a.npy", lambda path: path.write_bytes(b""), r"a\.npy must be an \.npy file that np\.save wrote"),
        ("a.npz", lambda path: path.write_bytes(b"hello"), r"a\.npz must be an \.npz file that np\.savez wrote"),
        ("a.npz", lambda path: path.write_bytes(b""), r"a\.npz must be an \.npz file that np\.savez wrote"),
        (
            "a.safetensors",
            lambda path: path.write_bytes(b"hello"),
            r"a\.safetensors must be a safetensors file, and whole",
        ),
        (
            "a.pt",
            lambda path: torch.save({"image_embeds": NUMBERS}, path),
            r"a\.pt holds NumPy arrays \(numpy.*\), .* save tensors, such as torch\.save\({name: torch\.from_numpy",
        ),
        (
            "a.pt",
            lambda path: torch.save(Evil(), path),
            r"a\.pt holds objects \(builtins\.print\), .* save tensors alone",
        ),
        (
            "a.pt",
            lambda path: path.write_bytes(pickle.dumps(Evil())),
            r"a\.pt must be a file of tensors that torch\.save",
        ),
        (
            "a.pt",
            lambda path: path.write_bytes(b""),
            r"a\.pt must be a file of tensors that torch\.save wrote, and whole",
        ),
        ("a.pt", _cut_off_pt, r"a\.pt must be a file of tensors that torch\.save wrote, and whole, which it is not"),
        ("a.pt", lambda path: torch.save({"a": 3}, path), r"a\.pt must hold tensors, or lists of tensors .*, got int"),
        ("a.pt", lambda path: torch.save({}, path), r"a\.pt must hold tensors, or lists of tensors .*, got nothing"),
        (
            "a.pt",
            lambda path: torch.save([torch.zeros(2), torch.zeros(3)], path),
            r"a\.pt must hold tensors, or lists of tensors of one width, got list",
        ),
        ("a.h5", lambda path: path.write_bytes(b""), r"arrays are read from \.npy, .*\.pth, got .*a\.h5: save them by"),
    ],
)
def test_what_holds_no_numbers(tmp_path, capsys, name, write, message):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as error:
        [read() for read in read_arrays(tmp_path / name).values()]
    assert "unpickled" not in capsys.readouterr().out
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert "allow_pickle" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.npz", lambda path, a: np.savez(path, a=a)),
        ("a.npz", lambda path, a: np.savez_compressed(path, a=a)),
        ("a.pt", lambda path, a: torch.save({"a": torch.from_numpy(a)}, path)),
    ],
)
def test_no_flipped_bit_gives_other_numbers(tmp_path, name, save):
    path, chance = tmp_path / name, random.Random(0)
    save(path, NUMBERS)
    content = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            found = [read() for read in read_arrays(path).values()]
        except ValueError:
            continue
        assert all(np.array_equal(array.numpy(), NUMBERS) for array in found)
