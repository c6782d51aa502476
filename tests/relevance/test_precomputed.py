import pickle

import numpy as np
import pytest
import torch

from vse_lightning.relevance import CaptionEnsemble, FeatureTable, LSARelevance, PrecomputedRelevance

CAPTIONS = ["a", "b", "c", "d", "e"]
IMAGE_IDS = torch.tensor([0, 0, 1, 2, 2])


@pytest.fixture
def save(tmp_path):
    def write(array):
        path = tmp_path / "vectors.npy"
        np.save(path, array)
        return str(path)

    return write


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rescale", ["clip", "shift"])
def test_text_side_is_a_feature_table_of_the_file(save, vectors, dtype, rescale):
    vectors = vectors.astype(dtype)
    table = PrecomputedRelevance(save(vectors), rescale=rescale).table(CAPTIONS, IMAGE_IDS)
    expected = FeatureTable(torch.from_numpy(vectors), IMAGE_IDS, label="", rescale=rescale)
    ids = torch.arange(5)
    assert torch.equal(table.block(ids[:3], ids), expected.block(ids[:3], ids))
    assert table.label == "precomputed vectors.npy"


@pytest.mark.parametrize("dtype", [">f4", "V2"])
def test_floats_of_other_programs(save, vectors, dtype):
    exact = torch.from_numpy(vectors).bfloat16()
    written = exact.view(torch.int16).numpy().view("V2") if dtype == "V2" else exact.float().numpy().astype(dtype)
    table = PrecomputedRelevance(save(written)).table(CAPTIONS, IMAGE_IDS)
    expected = FeatureTable(exact.float(), IMAGE_IDS, label="")
    ids = torch.arange(5)
    torch.testing.assert_close(
        table.block(ids[:3], ids).float(), expected.block(ids[:3], ids), atol=1e-2 if dtype == "V2" else 0, rtol=0
    )


def test_a_split_reads_its_own_rows(save, vectors):
    source = PrecomputedRelevance(save(vectors))
    images, texts = torch.tensor([1, 2]), torch.tensor([2, 4])
    whole, split = source.table(CAPTIONS, IMAGE_IDS), source.table(["c", "e"], images, texts)
    cosine = vectors[2] @ vectors[4] / np.linalg.norm(vectors[2]) / np.linalg.norm(vectors[4])
    torch.testing.assert_close(split.block(images, texts)[0, 1].item(), float(max(cosine, 0)), atol=1e-6, rtol=0)
    assert whole.block(images, texts)[1, 0] >= split.block(images, texts)[1, 0]  # it knows a caption more


def test_image_side_compares_the_pictures(save, vectors):
    pictures = vectors[:3]
    source = PrecomputedRelevance(save(pictures), side="image", rescale="shift")
    normal = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    expected = torch.from_numpy((1 + normal @ normal.T) / 2)[:, IMAGE_IDS]
    expected[torch.arange(3)[:, None] == IMAGE_IDS] = 1
    for captions_per_image in (None, 1):
        block = source.table(CAPTIONS, IMAGE_IDS).block(torch.arange(3), torch.arange(5), captions_per_image)
        torch.testing.assert_close(block, expected)


def test_pickling_reopens_the_file_from_anywhere(save, vectors, tmp_path, monkeypatch):
    save(vectors)
    monkeypatch.chdir(tmp_path)
    table = PrecomputedRelevance("vectors.npy").table(CAPTIONS, IMAGE_IDS)
    pickled = pickle.dumps(table)
    monkeypatch.chdir("/")
    ids = torch.arange(3)
    assert torch.equal(pickle.loads(pickled).block(ids, ids), table.block(ids, ids))


def test_a_missing_file_is_noticed_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path: nothing at '.*none.npy'"):
        PrecomputedRelevance(str(tmp_path / "none.npy"))
    with pytest.raises(ValueError, match=r"path must be an .npy file, got the folder"):
        PrecomputedRelevance(tmp_path)


def test_a_path_may_start_with_a_variable(tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", np.eye(3, dtype=np.float32))
    monkeypatch.setenv("VSE_DATA", str(tmp_path))
    table = PrecomputedRelevance("${VSE_DATA}/rows.npy").table(["a", "b", "c"], [0, 1, 2])
    assert torch.equal(table.block([0, 1, 2], [0, 1, 2]), torch.eye(3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.float32), r"floating-point array \(rows, dimensions\), got torch.float32 \(5,\)"),
        (np.zeros((5, 2, 2), np.float32), r"got torch.float32 \(5, 2, 2\)"),
        (np.zeros((5, 2), np.int64), r"got torch.int64 \(5, 2\)"),
        (np.array([["a", "b"]]), "must be an .npy file of floating-point numbers"),
        (np.array([[None]]), "must be an .npy file of floating-point numbers"),
    ],
)
def test_a_file_of_the_wrong_kind(save, array, message):
    with pytest.raises(ValueError, match=message):
        PrecomputedRelevance(save(array))


@pytest.mark.parametrize("content", ["1 2 3", ""])
def test_a_file_that_is_no_array(tmp_path, content):
    (tmp_path / "x.npy").write_text(content)
    with pytest.raises(ValueError, match=r"path must be an \.npy file of floating-point numbers, got .*x\.npy"):
        PrecomputedRelevance(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(("side", "rows", "needed"), [("text", 4, 5), ("text", 6, 5), ("image", 2, 3), ("image", 5, 3)])
def test_the_wrong_number_of_rows(save, side, rows, needed):
    pytest.importorskip("sklearn")
    source = PrecomputedRelevance(save(np.ones((rows, 2), np.float32)), side=side)
    what = "captions" if side == "text" else "images"
    message = rf"each of the {needed} {what} of the data set, got {rows} rows in /.*vectors\.npy"
    with pytest.raises(ValueError, match=message):
        source.table(CAPTIONS, IMAGE_IDS)
    with pytest.raises(ValueError, match=message):
        source.check_size(num_captions=5, num_images=3)
    with pytest.raises(ValueError, match=message):
        CaptionEnsemble([LSARelevance(), source], [1.0, 1.0]).check_size(num_captions=5, num_images=3)


def test_the_right_number_of_rows(save, vectors):
    PrecomputedRelevance(save(vectors)).check_size(num_captions=5, num_images=3)
    PrecomputedRelevance(save(vectors), side="image").check_size(num_captions=9, num_images=5)


def test_too_few_rows_for_the_ids_of_a_split(save, vectors):
    with pytest.raises(ValueError, match=r"a row for every caption of the data set, .* got 5 rows in .* and the id 8"):
        PrecomputedRelevance(save(vectors)).table(["a"], torch.tensor([0]), torch.tensor([8]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(save, vectors, value):
    vectors[3, 2] = value
    source = PrecomputedRelevance(save(vectors))
    with pytest.raises(
        ValueError, match=r"features must be finite numbers, got NaN or infinity in row 3 of .*vectors\.npy"
    ):
        source.table(CAPTIONS, IMAGE_IDS)
    source.table(["a"], torch.tensor([0]), torch.tensor([0]))  # other rows are of no concern


def test_wrong_arguments(save, vectors):
    path = save(vectors)
    with pytest.raises(ValueError, match="side must be one of 'text', 'image', got 'both'"):
        PrecomputedRelevance(path, side="both")
    with pytest.raises(ValueError, match="rescale must be 'clip' or 'shift', got 'no'"):
        PrecomputedRelevance(path, rescale="no")
