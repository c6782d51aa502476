import pytest
import torch

from vse_lightning.data import ShapesSource
from vse_lightning.data.sources.shapes.scene import SHAPES, SIZES, Scene, Thing, scene_attributes

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def source():
    return ShapesSource(300)


def test_same_arguments_give_the_same_data(source):
    again = ShapesSource(300)
    assert again.captions == source.captions
    assert again.load_image(17).tobytes() == source.load_image(17).tobytes()
    assert source.load_image(17).tobytes() == source.load_image(17).tobytes()


def test_is_the_same_on_every_machine(source):
    assert source.captions[:2] == [
        "There is a huge orange hoop in the bottom right corner.",
        "A big pink diamond near the bottom and a huge orange ring in the bottom right corner, on cyan .",
    ]


def test_another_seed_gives_other_scenes(source):
    other = ShapesSource(300, seed=1)
    assert other.scenes != source.scenes
    assert other.captions != source.captions


def test_larger_source_starts_with_the_same_scenes(source):
    assert ShapesSource(400).scenes[:300] == source.scenes


def test_splits(source):
    assert {name: (int(ids[0]), int(ids[-1])) for name, ids in source.splits.items()} == {
        "train": (0, 239),
        "val": (240, 269),
        "test": (270, 299),
    }
    assert source.captions_per_image.tolist() == [5] * 300


def test_scenes_and_captions_differ(source):
    assert len({frozenset(scene_attributes(scene)) for scene in source.scenes}) == 300
    assert len(set(source.captions)) > 0.95 * len(source.captions)
    for image_id in range(300):
        assert len(set(source.captions[5 * image_id : 5 * image_id + 5])) == 5


def test_captions_say_nothing_wrong(source):
    synonyms = {"disc": "circle", "round spot": "circle", "box": "square", "plus sign": "cross", "rhombus": "diamond"}
    synonyms |= {"hoop": "ring", "crimson": "red", "violet": "purple", "cyan": "turquoise", "gray": "grey"}
    for text_id, caption in enumerate(source.captions):
        scene = source.scenes[text_id // 5]
        said = caption.lower()
        for word, meaning in synonyms.items():
            said = said.replace(word, meaning)
        true = {thing.shape for thing in scene.things} | {thing.colour for thing in scene.things}
        for word in (*SHAPES, "red", "blue", "green"):
            assert word not in said.replace("sign", "").split() or word in true


@pytest.mark.parametrize("image_size", [32, 64, 96])
def test_pictures(image_size):
    picture = ShapesSource(10, image_size).load_image(3)
    assert (picture.mode, picture.size) == ("RGB", (image_size, image_size))
    assert len(picture.getcolors(100_000)) > 1


def test_relevance_by_hand():
    a = Scene("white", (Thing("large", "red", "star", "top", "left"),))
    b = Scene("white", (Thing("small", "red", "star", "top", "right"), Thing("large", "red", "ring", "top", "left")))
    # shared: white, things 1, size large 1, colour red 1, shape star 1, row top 1, column left 1, kind red star: 8 of
    # the 8 of a; b has things 2, size small, colour red 2, shape ring, row top 2, column right, kind red ring besides.
    assert len(scene_attributes(a)) == 8
    assert len(scene_attributes(b)) == 15
    assert len(scene_attributes(a) & scene_attributes(b)) == 8


def test_relevance_is_the_shared_part_of_all_attributes(source):
    image_ids, text_ids = torch.arange(0, 300, 7), torch.arange(3, 1500, 31)
    block = source.relevance_table().block(image_ids, text_ids)
    for row, image_id in enumerate(image_ids.tolist()):
        for column, text_id in enumerate(text_ids.tolist()):
            a, b = (scene_attributes(source.scenes[scene]) for scene in (image_id, text_id // 5))
            assert block[row, column] == pytest.approx(len(a & b) / len(a | b))
            assert (block[row, column] == 1) == (image_id == text_id // 5)


def test_relevance_of_unknown_ids(source):
    table = source.relevance_table()
    assert table.label == "scene attributes"
    with pytest.raises(ValueError, match="image_ids must be in the relevance table, which knows 300; it lacks 300, -1"):
        table.block(torch.tensor([3, 300, -1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="text_ids must be in the relevance table, which knows 1500; it lacks 1500"):
        table.block(torch.tensor([3]), torch.tensor([1500]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_images": 9}, "num_images must be a whole number of at least 10"),
        ({"image_size": 16}, "image_size must be"),
    ],
)
def test_wrong_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        ShapesSource(**wrong)


def test_thing_has_every_size():
    assert {thing.size for scene in ShapesSource(20).scenes for thing in scene.things} == set(SIZES)
