import copy
import math
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vse_lightning.relevance import FeatureTable
from vse_lightning.relevance.relevance_table import RelevanceTable

# Images 7, 2 and 40 with three, one and two captions; text ids neither dense nor sorted.
IMAGE_IDS = torch.tensor([7, 2, 40, 7, 40, 7])
TEXT_IDS = torch.tensor([100, 11, 3, 5, 9, 12])


@pytest.fixture
def features():
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def table(features):
    return FeatureTable(features, IMAGE_IDS, TEXT_IDS, label="random")


def loop(features, image_ids, text_ids, captions_per_image=None, rescale="clip"):
    """The best cosine over the captions of the image, one pair at a time, in float64."""
    vectors = features.double().numpy()
    result = np.empty((len(image_ids), len(text_ids)))
    for i, image in enumerate(image_ids.tolist()):
        rows = sorted((r for r in range(6) if IMAGE_IDS[r] == image), key=lambda r: TEXT_IDS[r])[:captions_per_image]
        for j, text in enumerate(text_ids.tolist()):
            other = TEXT_IDS.tolist().index(text)
            cosines = [
                vectors[r] @ vectors[other] / np.linalg.norm(vectors[r]) / np.linalg.norm(vectors[other]) for r in rows
            ]
            value = max(cosines)
            result[i, j] = max(value, 0) if rescale == "clip" else (1 + value) / 2
            if IMAGE_IDS[other] == image:
                result[i, j] = 1
    return torch.from_numpy(result).float()


@pytest.mark.parametrize("rescale", ["clip", "shift"])
@pytest.mark.parametrize("captions_per_image", [None, 1, 2])
def test_block_is_the_best_cosine_over_the_captions_of_the_image(features, rescale, captions_per_image):
    table = FeatureTable(features, IMAGE_IDS, TEXT_IDS, label="random", rescale=rescale)
    images, texts = torch.tensor([40, 7, 2, 7]), torch.tensor([3, 100, 12, 11, 5, 9, 3])
    block = table.block(images, texts, captions_per_image)
    assert block.dtype == torch.float32
    torch.testing.assert_close(block, loop(features, images, texts, captions_per_image, rescale))


def test_captions_outside_the_batch_are_references(table):
    images = torch.tensor([7, 2, 40])
    whole = table.block(images, TEXT_IDS)
    for position, text in enumerate(TEXT_IDS):
        torch.testing.assert_close(table.block(images, text[None])[:, 0], whole[:, position])


def test_own_captions_have_relevance_exactly_1_whatever_their_features(features):
    features[0] = 0
    table = FeatureTable(features.half(), IMAGE_IDS, TEXT_IDS, label="random")
    block = table.block(IMAGE_IDS, TEXT_IDS, captions_per_image=1)
    own = IMAGE_IDS[:, None] == IMAGE_IDS
    assert (block[own] == 1).all()
    assert (block[:, 0][~own[:, 0]] == 0).all()  # a zero vector is like nothing else
    assert ((block >= 0) & (block <= 1)).all()


@pytest.mark.parametrize("length", [1e-300, 1e-30, 1e-6, 1.0, 1e6, 1e30, 1e300])
def test_only_the_direction_of_a_vector_counts(features, table, length):
    lengths = torch.tensor([length, 1, 2, 3, 4, 5], dtype=torch.float64)[:, None]
    scaled = FeatureTable(features.double() * lengths, IMAGE_IDS, TEXT_IDS, label="random")
    torch.testing.assert_close(scaled.block(IMAGE_IDS, TEXT_IDS), table.block(IMAGE_IDS, TEXT_IDS))
    if 1e-37 < length < 1e37:
        scaled = FeatureTable((features.double() * lengths).float(), IMAGE_IDS, TEXT_IDS, label="random")
        torch.testing.assert_close(scaled.block(IMAGE_IDS, TEXT_IDS), table.block(IMAGE_IDS, TEXT_IDS))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int8, np.bool_])
def test_features_may_be_an_array_of_any_numbers(tmp_path, kind):
    array = np.eye(6, 4, dtype=kind)
    expected = FeatureTable(torch.eye(6, 4), IMAGE_IDS, TEXT_IDS, label="").block(IMAGE_IDS, TEXT_IDS)
    np.save(tmp_path / "array.npy", array)
    for features in (array, torch.from_numpy(array), tmp_path / "array.npy", str(tmp_path / "array.npy")):
        assert torch.equal(FeatureTable(features, IMAGE_IDS, TEXT_IDS, label="").block(IMAGE_IDS, TEXT_IDS), expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_that_are_no_numbers(features, value, dtype):
    features[4, 2] = value
    with pytest.raises(ValueError, match=r"features must be finite numbers, got NaN or infinity in row 4$"):
        FeatureTable(features.to(dtype), IMAGE_IDS, TEXT_IDS, label="random")
    FeatureTable(features.to(dtype), [7, 2], rows=[0, 5], label="random")  # other rows are of no concern


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (torch.zeros(6), r"torch.float32 of shape \(6,\)"),
        (torch.zeros(6, 2, 2), r"torch.float32 of shape \(6, 2, 2\)"),
        (torch.zeros(6, 0), r"torch.float32 of shape \(6, 0\)"),
        (torch.zeros(6, 2, dtype=torch.complex64), "torch.complex64"),
        (np.array([["a", "b"]] * 6), "ndarray: can't convert"),
        ([[1.0], [1.0, 2.0]], "list: setting an array element"),
    ],
)
def test_features_of_the_wrong_kind(features, found):
    with pytest.raises(ValueError, match=f"features must be numbers .rows, width., got {found}"):
        FeatureTable(features, IMAGE_IDS, label="x")


def test_features_that_are_all_zero():
    with pytest.warns(UserWarning, match=r"^colours finds nothing to compare, .* all 6 captions are zero vectors"):
        FeatureTable(torch.zeros(6, 2), IMAGE_IDS, TEXT_IDS, label="colours")
    FeatureTable(torch.zeros(2, 2), [3, 3], label="colours")  # of one image


def test_captions_may_share_a_feature_row(features):
    rows = torch.tensor([0, 1, 2, 0, 1, 2])
    shared = FeatureTable(features[:3], IMAGE_IDS, TEXT_IDS, rows, label="random")
    spelt_out = FeatureTable(features[rows], IMAGE_IDS, TEXT_IDS, label="random")
    torch.testing.assert_close(shared.block(IMAGE_IDS, TEXT_IDS), spelt_out.block(IMAGE_IDS, TEXT_IDS))


def test_float16_storage_is_accurate(features, table):
    half = FeatureTable(features.half(), IMAGE_IDS, TEXT_IDS, label="random")
    expected = table.block(IMAGE_IDS, TEXT_IDS)
    torch.testing.assert_close(half.block(IMAGE_IDS, TEXT_IDS), expected, atol=1e-3, rtol=0)


def test_mixed_precision_does_not_reach_the_labels(table):
    expected = table.block(IMAGE_IDS, TEXT_IDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(table.block(IMAGE_IDS, TEXT_IDS), expected)


def test_default_text_ids_are_the_rows(features):
    table = FeatureTable(features, IMAGE_IDS, label="random")
    expected = FeatureTable(features, IMAGE_IDS, torch.arange(6), label="random")
    assert torch.equal(
        table.block(IMAGE_IDS, torch.arange(6)),
        expected.block(IMAGE_IDS, torch.arange(6)),
    )


def test_a_block_may_be_empty(table):
    none = torch.empty(0, dtype=torch.long)
    assert table.block(none, TEXT_IDS).shape == (0, 6)
    assert table.block(IMAGE_IDS, none).shape == (6, 0)


def test_unknown_ids_are_named(table):
    with pytest.raises(ValueError, match=r"image_ids .* knows 3; it lacks 1, 3, 4, 5, 6 and 2 more"):
        table.block(torch.tensor([1, 2, 3, 4, 5, 6, 8, 9]), TEXT_IDS)
    with pytest.raises(ValueError, match=r"text_ids .* knows 6; it lacks -1, 101$"):
        table.block(IMAGE_IDS, torch.tensor([-1, 3, 101]))


@pytest.mark.parametrize(
    ("image_ids", "text_ids", "message"),
    [
        (
            torch.tensor([7.0]),
            TEXT_IDS,
            r"image_ids must be integers or strings, one a row, got torch.float32 \(1,\)",
        ),
        (torch.tensor([[7, 2]]), TEXT_IDS, r"image_ids must be .*, one a row, got torch.int64 \(1, 2\)"),
        (IMAGE_IDS, torch.tensor(3), r"text_ids must be .*, one a row, got torch.int64 \(\)"),
    ],
)
def test_ids_of_the_wrong_kind(table, image_ids, text_ids, message):
    with pytest.raises(ValueError, match=message):
        table.block(image_ids, text_ids)


def test_captions_per_image_of_zero(table):
    with pytest.raises(ValueError, match="captions_per_image must be a whole number of at least 1, got 0"):
        table.block(IMAGE_IDS, TEXT_IDS, captions_per_image=0)


def test_wrong_construction(features):
    with pytest.raises(ValueError, match="text_ids must be all different, got 3 more than once"):
        FeatureTable(features, IMAGE_IDS, torch.tensor([3, 1, 2, 3, 4, 5]), label="x")
    with pytest.raises(ValueError, match="one entry per caption, got 6, 2 and 6"):
        FeatureTable(features, IMAGE_IDS, torch.tensor([3, 1]), label="x")
    with pytest.raises(ValueError, match="features must have 6 rows, one per caption, got 5"):
        FeatureTable(features[:5], IMAGE_IDS, label="x")
    with pytest.raises(ValueError, match="one entry per caption, got 6, 6 and 2"):
        FeatureTable(features, IMAGE_IDS, rows=torch.tensor([3, 1]), label="x")
    with pytest.raises(ValueError, match="rows must not be negative, got -2"):
        FeatureTable(features, IMAGE_IDS, rows=torch.arange(6) - 2, label="x")
    with pytest.raises(ValueError, match="rescale must be 'clip' or 'shift', got 'cosine'"):
        FeatureTable(features, IMAGE_IDS, label="x", rescale="cosine")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda table: table.to("cpu")])
def test_copies_share_the_features(features, table, duplicate):
    twin = duplicate(table)
    features.zero_()
    assert (twin.block(torch.tensor([2]), torch.tensor([3])) == 0).all()


def test_a_table_without_features_goes_to_any_device_as_it_is():
    class Constant(RelevanceTable):
        label = "constant"

        def block(self, image_ids, text_ids, captions_per_image=None):
            return torch.ones(len(image_ids), len(text_ids))

    table = Constant()
    assert table.to("cuda") is table


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_features_on_the_gpu(table):
    expected = table.block(IMAGE_IDS, TEXT_IDS)
    moved = table.to("cuda")
    torch.testing.assert_close(moved.block(IMAGE_IDS, TEXT_IDS), expected)
    block = moved.block(IMAGE_IDS.cuda(), TEXT_IDS.cuda())
    assert block.is_cuda
    torch.testing.assert_close(block.cpu(), expected)
    torch.testing.assert_close(table.block(IMAGE_IDS.cuda(), TEXT_IDS).cpu(), expected)


@pytest.fixture
def mapped(tmp_path):
    features = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    return FeatureTable(tmp_path / "features.npy", torch.arange(5000) // 5, label="mapped")


def test_pickling_a_mapped_table_reopens_its_file(mapped, tmp_path):
    ids = torch.arange(200)
    pickled = pickle.dumps(mapped)
    file_size = (tmp_path / "features.npy").stat().st_size
    assert len(pickled) < file_size / 2  # ids only
    assert torch.equal(pickle.loads(pickled).block(ids, ids), mapped.block(ids, ids))


def test_pickling_a_table_in_memory(table):
    twin = pickle.loads(pickle.dumps(table))
    assert torch.equal(twin.block(IMAGE_IDS, TEXT_IDS), table.block(IMAGE_IDS, TEXT_IDS))


def test_the_file_is_never_written(mapped, tmp_path):
    before = (tmp_path / "features.npy").read_bytes()
    mapped._features.zero_()
    assert (tmp_path / "features.npy").read_bytes() == before


def test_blocks_in_forked_workers(mapped):
    def collate(ids):
        ids = torch.stack(ids)
        return mapped.block(ids, ids)

    loader = DataLoader(torch.arange(8), 4, collate_fn=collate, num_workers=1, multiprocessing_context="fork")
    ids = torch.arange(8)
    for part, block in zip(ids.split(4), loader, strict=True):
        torch.testing.assert_close(block, mapped.block(part, part))


def test_blocks_in_spawned_processes(mapped, table):
    ids = torch.arange(100)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        torch.testing.assert_close(pool.apply(mapped.block, (ids, ids)), mapped.block(ids, ids))
        block = pool.apply(table.block, (IMAGE_IDS, TEXT_IDS))
        torch.testing.assert_close(block, table.block(IMAGE_IDS, TEXT_IDS))
