"""Tables over sparse rows: the same labels as over dense ones, and similarities that are not symmetric."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from vse_lightning.relevance import FeatureTable, SparseTable, sparse_table

scipy_sparse = pytest.importorskip("scipy.sparse")

# Images 7, 2 and 40 with three, one and two captions; text ids neither dense nor sorted.
IMAGE_IDS = [7, 2, 40, 7, 40, 7]
TEXT_IDS = [100, 11, 3, 5, 9, 12]


@pytest.fixture
def dense():
    draw = np.random.default_rng(0)
    features = draw.random((6, 40)) * (draw.random((6, 40)) < 0.3)
    features[:, 0] = 1  # a frequent column
    return features


@pytest.fixture
def sparse(dense):
    return scipy_sparse.csr_matrix(dense)


def relevance_loop(dense, texts, value, reduce, captions_per_image=None):
    """One pair of captions at a time."""
    images = sorted(set(IMAGE_IDS))
    result = np.empty((len(images), 6))
    for i, image in enumerate(images):
        rows = sorted((row for row in range(6) if IMAGE_IDS[row] == image), key=lambda row: TEXT_IDS[row])
        for j in range(6):
            values = [value(dense, texts, row, j) for row in rows[:captions_per_image]]
            result[i, j] = 1 if IMAGE_IDS[j] == image else reduce(values)
    return torch.from_numpy(result).float()


def cosine(dense, texts, row, j):
    return dense[row] @ texts[j] / np.linalg.norm(dense[row]) / np.linalg.norm(texts[j])


def relative(dense, texts, row, j):
    return dense[row] @ texts[j] / (dense[j] @ texts[j])


def all_pairs(table, captions_per_image=None):
    return table.block(sorted(set(IMAGE_IDS)), TEXT_IDS, captions_per_image)


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("captions_per_image", [None, 1, 2])
@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_array", "csr_array"])
def test_equals_the_table_of_dense_features(dense, sparse, share, captions_per_image, kind, monkeypatch):
    monkeypatch.setattr(sparse_table, "FREQUENT_SHARE", share)
    table = SparseTable(getattr(scipy_sparse, kind)(sparse), IMAGE_IDS, TEXT_IDS, label="both")
    expected = FeatureTable(dense, IMAGE_IDS, TEXT_IDS, label="both")
    block = all_pairs(table, captions_per_image)
    assert block.dtype == torch.float32
    torch.testing.assert_close(block, all_pairs(expected, captions_per_image))
    torch.testing.assert_close(block, relevance_loop(dense, dense, cosine, max, captions_per_image))
    texts, images = (table.between_texts(), table.between_images())
    torch.testing.assert_close(
        texts.block(TEXT_IDS, TEXT_IDS), expected.between_texts().block(TEXT_IDS, TEXT_IDS), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(images.block([7, 2], [40, 7]), expected.between_images().block([7, 2], [40, 7]))


@pytest.mark.parametrize("pairs_per_step", [1, 13, 1000])
@pytest.mark.parametrize(("captions", "reduce"), [("best", max), ("mean", np.mean)])
def test_texts_may_have_rows_of_their_own(dense, sparse, captions, reduce, pairs_per_step, monkeypatch):
    monkeypatch.setattr(sparse_table, "PAIRS_PER_STEP", pairs_per_step)
    texts = sparse.copy()
    texts.data = np.random.default_rng(1).random(texts.nnz) * 30
    table = SparseTable(sparse, IMAGE_IDS, TEXT_IDS, label="own", text_features=texts, captions=captions)
    torch.testing.assert_close(all_pairs(table), relevance_loop(dense, texts.toarray(), relative, reduce).clamp(max=1))
    raw = SparseTable(
        sparse, IMAGE_IDS, TEXT_IDS, label="raw", text_features=texts / 1000, captions=captions, normalize=False
    )
    plain = relevance_loop(dense, texts.toarray() / 1000, lambda dense, texts, row, j: dense[row] @ texts[j], reduce)
    torch.testing.assert_close(all_pairs(raw), plain)


def halve_the_first(captions, texts):
    return torch.where(captions == 0, 0.5, 1.0)[:, None].expand(-1, len(texts))


def test_pairs_may_be_weighted(dense, sparse):
    table = SparseTable(sparse, IMAGE_IDS, TEXT_IDS, label="weighted", pair_weight=halve_the_first)
    expected = relevance_loop(
        dense, dense, lambda dense, texts, row, j: cosine(dense, texts, row, j) / (1 + (row == 0)), max
    )
    torch.testing.assert_close(all_pairs(table), expected)


def test_captions_may_share_a_row(sparse):
    shared = SparseTable(sparse[:3], IMAGE_IDS, TEXT_IDS, [0, 1, 2, 0, 1, 2], label="x")
    spelt_out = SparseTable(sparse[[0, 1, 2, 0, 1, 2]], IMAGE_IDS, TEXT_IDS, label="x")
    torch.testing.assert_close(all_pairs(shared), all_pairs(spelt_out))


@pytest.mark.parametrize("kind", [np.int8, np.bool_, np.float16, np.float64])
def test_features_may_be_any_numbers(kind):
    ones = np.eye(6, 200, dtype=np.float32) + np.tri(6, 200)
    expected = SparseTable(scipy_sparse.csr_matrix((ones > 0) * 100.0), IMAGE_IDS, label="x")
    features = scipy_sparse.csr_matrix(((ones > 0) * (1 if kind is np.bool_ else 100)).astype(np.float32))
    features.data = features.data.astype(kind)
    ids = range(6)
    torch.testing.assert_close(
        SparseTable(features, IMAGE_IDS, label="x").block([7, 2, 40], ids), expected.block([7, 2, 40], ids)
    )


def test_a_block_may_be_empty(sparse):
    table = SparseTable(sparse, IMAGE_IDS, TEXT_IDS, label="x")
    assert table.block([], TEXT_IDS).shape == (0, 6)
    assert table.block([7], []).shape == (1, 0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))])
def test_copies_share_and_a_pickle_reopens_the_file(sparse, duplicate, tmp_path):
    scipy_sparse.save_npz(tmp_path / "features.npz", sparse)
    tables = [SparseTable(features, IMAGE_IDS, label="x") for features in (sparse, tmp_path / "features.npz")]
    for table in tables:
        twin = duplicate(table)
        assert torch.equal(twin.block([7, 2], range(6)), tables[0].block([7, 2], range(6)))
        if duplicate in (copy.copy, copy.deepcopy):
            assert twin._products is table._products
    assert len(pickle.dumps(tables[1])) < len(pickle.dumps(tables[0]))


def test_nothing_to_compare():
    with pytest.warns(UserWarning, match=r"^words finds nothing to compare, .*: no two of the 2 captions of different"):
        table = SparseTable(scipy_sparse.csr_matrix((2, 5)), [0, 1], label="words")
    assert torch.equal(table.block([0, 1], [0, 1]), torch.eye(2))


def test_wrong_features(sparse, dense, tmp_path):
    wrong = partial(SparseTable, image_ids=IMAGE_IDS, label="x")
    with pytest.raises(ValueError, match=r"features must be a scipy sparse matrix .rows, width. .*got ndarray"):
        wrong(dense)
    with pytest.raises(ValueError, match="got complex128"):
        wrong(sparse.astype(complex))
    with pytest.raises(ValueError, match="features must have 6 rows, one per caption, got 5"):
        wrong(sparse[:5])
    with pytest.raises(
        ValueError, match=r"text_features must be of the shape of features, got \(5, 40\) and \(6, 40\)"
    ):
        wrong(sparse, text_features=sparse[:5])
    with pytest.raises(ValueError, match="captions must be one of 'best', 'mean', got 'sum'"):
        wrong(sparse, captions="sum")
    (tmp_path / "words.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"features must be an .npz file that scipy.sparse.save_npz wrote, got /"):
        wrong(tmp_path / "words.npz")
    with pytest.raises(ValueError, match=r"x: products of features must not exceed 1, got \d.*or give normalize=True"):
        all_pairs(SparseTable(sparse, IMAGE_IDS, TEXT_IDS, label="x", normalize=False))
    sparse[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"features must be finite numbers, got NaN or infinity in row 3$"):
        wrong(sparse)
