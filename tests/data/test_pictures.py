import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from zipfile import ZipFile

import pytest
from PIL import Image

from vse_lightning.data.pictures import decode_rgb, open_pictures

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def png(colour=(250, 0, 0), mode="RGB", size=(4, 3)):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for row, colour in enumerate(COLOURS):
        path = tmp_path / "pictures" / ("deep/er" if row else ".") / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(colour))
    return tmp_path / "pictures"


@pytest.fixture
def zipped(tmp_path, folder):
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"top/{path.relative_to(folder)}")
    return tmp_path / "pictures.zip"


def colours_of(store):
    return [store[row].getpixel((0, 0)) for row in range(3)]


def test_folder_takes_the_first_name_present(folder):
    store = open_pictures(folder, [["deep/0.png", "0.png"], ["deep/er/1.png", "1.png"], ["deep/er/2.png"]])
    assert colours_of(store) == COLOURS
    assert store[0].mode == "RGB"
    assert store[0].size == (4, 3)


def test_zip_finds_members_by_path_or_by_name(zipped):
    assert (
        colours_of(open_pictures(zipped, [["0.png"], ["top/deep/er/1.png"], ["elsewhere/2.png", "2.png"]])) == COLOURS
    )


def test_ambiguous_name_in_a_zip_is_not_guessed(tmp_path):
    with ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a/0.png", png())
        archive.writestr("b/0.png", png((0, 250, 0)))
    with pytest.raises(FileNotFoundError, match=r"1 of 1 pictures are not in .*twice\.zip: 0\.png"):
        open_pictures(tmp_path / "twice.zip", [["0.png"]])


def test_zip_is_opened_by_each_forked_process(zipped):
    store = open_pictures(zipped, [["0.png"], ["1.png"], ["2.png"]])
    store[0]
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        pictures = list(pool.map(store.__getitem__, [0, 1, 2] * 5))
    assert [picture.getpixel((0, 0)) for picture in pictures] == COLOURS * 5


def test_pickle_holds_no_open_file(zipped):
    store = open_pictures(zipped, [["0.png"], ["1.png"], ["2.png"]])
    assert colours_of(pickle.loads(pickle.dumps(store))) == COLOURS


def test_missing_pictures_are_counted_and_named(folder):
    with pytest.raises(FileNotFoundError, match=r"images: 7 of 8 pictures are not in .*: x0\.png, .* and 2 more"):
        open_pictures(folder, [*([f"x{k}.png"] for k in range(7)), ["0.png"]])


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png"])
def test_no_path_leads_outside(folder, zipped, name):
    for images in (folder, zipped):
        with pytest.raises(ValueError, match="must be a path inside"):
            open_pictures(images, [[name]])


def test_images_must_be_a_folder_or_a_zip(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="images must be a folder or a zip file"):
        open_pictures(tmp_path / "notes.txt", [["0.png"]])
    with pytest.raises(FileNotFoundError, match=r"images: nothing at .* did you mean '.*notes\.txt'"):
        open_pictures(tmp_path / "note.txt", [["0.png"]])


@pytest.mark.parametrize(("mode", "colour"), [("L", 250), ("RGBA", (250, 250, 250, 0)), ("P", 1), ("1", 1)])
def test_every_mode_becomes_rgb(mode, colour):
    assert decode_rgb(io.BytesIO(png(colour, mode))).mode == "RGB"


def test_palette_with_transparency_does_not_warn():
    buffer = io.BytesIO()
    Image.new("P", (4, 3), 1).save(buffer, "PNG", transparency=b"\x00\x80")
    assert decode_rgb(io.BytesIO(buffer.getvalue())).mode == "RGB"


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, "JPEG", exif=exif)
    assert decode_rgb(io.BytesIO(buffer.getvalue())).size == (3, 4)
