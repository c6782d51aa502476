import pickle

import numpy as np
import pytest
import torch

from vse_lightning.data.files import feature_file
from vse_lightning.data.files.feature_file import FeatureFile


def saved(path, array):
    np.save(path / "features.npy", array)
    return path / "features.npy"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_rows_come_as_float32(tmp_path, dtype, shape):
    array = np.random.default_rng(0).random(shape).astype(dtype)
    file = FeatureFile(saved(tmp_path, array), rows=4)
    assert len(file) == 4
    assert file[2].dtype == torch.float32
    np.testing.assert_allclose(file[2].numpy(), array[2].astype(np.float32))


def test_rows_are_copies(tmp_path):
    file = FeatureFile(saved(tmp_path, np.ones((2, 3), np.float32)))
    file[0].zero_()
    assert file[0].tolist() == [1.0, 1.0, 1.0]


def test_pickles_its_path_not_its_content(tmp_path):
    file = FeatureFile(saved(tmp_path, np.ones((1000, 100), np.float32)))
    pickled = pickle.dumps(file)
    assert len(pickled) < 1000
    assert pickle.loads(pickled)[999].sum() == 100


def test_wrong_number_of_rows(tmp_path):
    with pytest.raises(ValueError, match=r"one row for each of the 5 images, got 4 in .*features\.npy"):
        FeatureFile(saved(tmp_path, np.ones((4, 3))), rows=5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, bad, monkeypatch):
    monkeypatch.setattr(feature_file, "CHUNK_BYTES", 40)  # several chunks
    array = np.ones((7, 3), np.float32)
    array[5, 1] = bad
    with pytest.raises(ValueError, match="features must be finite, got NaN or infinity in row 5"):
        FeatureFile(saved(tmp_path, array))


def test_not_finite_in_a_file_too_large_to_search(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "SCANNED_BYTES", 10)
    array = np.ones((4, 3), np.float32)
    array[1, 0] = np.nan
    file = pickle.loads(pickle.dumps(FeatureFile(saved(tmp_path, array))))
    assert file[0].sum() == 3
    with pytest.raises(ValueError, match="in row 1"):
        file[1]


@pytest.mark.parametrize("array", [np.ones(4), np.ones((4, 3), np.int64), np.ones((1, 2, 3, 4)), np.array("text")])
def test_wrong_kind_of_array(tmp_path, array):
    with pytest.raises(ValueError, match=r"features must be floats, .* got .* of shape"):
        FeatureFile(saved(tmp_path, array))


def test_not_an_array(tmp_path):
    (tmp_path / "features.npy").write_text("not an array")
    with pytest.raises(ValueError, match=r"features: .*features\.npy must be an \.npy file that np\.save wrote"):
        FeatureFile(tmp_path / "features.npy")
    np.savez(tmp_path / "features.npz", a=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"features\.npz must be an \.npy file .* but a zip of several: call it \.npz"):
        FeatureFile(tmp_path / "features.npz")


def _bfloat16(array):
    """As ml_dtypes writes it."""
    return torch.from_numpy(array).bfloat16().view(torch.int16).numpy().view("V2")


@pytest.mark.parametrize(
    "convert",
    [_bfloat16, np.asfortranarray, lambda array: array.astype(">f4"), lambda array: array.astype(np.longdouble)],
)
@pytest.mark.parametrize("shape", [(7, 3), (7, 2, 3)])
def test_other_ways_to_write_floats(tmp_path, convert, shape, monkeypatch):
    monkeypatch.setattr(feature_file, "CHUNK_BYTES", 40)
    array = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)  # exact in all, and with equal rows
    file = pickle.loads(pickle.dumps(FeatureFile(saved(tmp_path, convert(array)))))
    np.testing.assert_array_equal(torch.stack([file[row] for row in range(7)]).numpy(), array)
    first = array.reshape(7, -1)[:, :3]
    np.testing.assert_array_equal(file.runs().numpy(), np.cumsum([False, *(first[1:] != first[:-1]).any(1)]))
    array[5] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in row 5"):
        FeatureFile(saved(tmp_path, convert(array)))


def test_values_of_ml_dtypes(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.random.default_rng(0).normal(size=(4, 3)).astype(ml_dtypes.bfloat16)
    file = FeatureFile(saved(tmp_path, array))
    np.testing.assert_array_equal(torch.stack([file[row] for row in range(4)]).numpy(), array.astype(np.float32))


def test_missing_file(tmp_path):
    saved(tmp_path, np.ones((2, 2)))
    with pytest.raises(FileNotFoundError, match=r"features: nothing at .* did you mean"):
        FeatureFile(tmp_path / "feature.npy")
