import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from zipfile import ZipFile

import pytest

from vse_lightning.data.files.decoding import UnreadableImageError
from vse_lightning.data.files.pictures import open_pictures

Image = pytest.importorskip("PIL.Image")

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
    with pytest.raises(
        ValueError, match=r"'0\.png' must mean one picture in .*twice\.zip, got 'a/0\.png' and 'b/0\.png'"
    ):
        open_pictures(tmp_path / "twice.zip", [["x/0.png", "0.png"]])
    assert open_pictures(tmp_path / "twice.zip", [["b/0.png", "0.png"]])[0].getpixel((0, 0)) == (0, 250, 0)


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


def test_a_picture_that_cannot_be_decoded_is_named_with_its_folder_or_zip(folder, tmp_path):
    (folder / "0.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(
        UnreadableImageError, match=rf"^{folder}/0\.png cannot be read as a picture: it is a page of HTML"
    ):
        open_pictures(folder, [["0.png"]])[0]
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("top/0.png", png()[:40])
    with pytest.raises(
        UnreadableImageError, match=r"pictures\.zip/top/0\.png cannot be read as a picture: .*truncated"
    ):
        open_pictures(tmp_path / "pictures.zip", [["0.png"]])[0]


def test_a_zip_member_whose_bytes_changed_is_named(tmp_path):
    path = tmp_path / "pictures.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("0.png", png())
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDAX", 1))
    with pytest.raises(UnreadableImageError, match=r"pictures\.zip/0\.png cannot be read"):
        open_pictures(path, [["0.png"]])[0]


@pytest.mark.parametrize("lead", ["", "top/", "some/top/"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_zip_with_leading_folders_and_backslashes(tmp_path, lead, separator):
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for row, colour in enumerate(COLOURS):  # names alone say nothing
            archive.writestr(f"{lead}{row}/same.png".replace("/", separator), png(colour))
        archive.writestr("__MACOSX/" + lead + "._0", b"a shadow")
        archive.writestr(f"{lead}empty/".replace("/", separator), b"")
    store = open_pictures(tmp_path / "pictures.zip", [[f"{row}/same.png"] for row in range(3)])
    assert colours_of(pickle.loads(pickle.dumps(store))) == COLOURS
    store = open_pictures(tmp_path / "pictures.zip", [[f"{row}\\same.png"] for row in range(3)])
    assert colours_of(store) == COLOURS


def test_names_with_backslashes_are_found_in_a_folder(folder):
    assert colours_of(open_pictures(folder, [["./0.png"], ["deep\\er\\1.png"], ["deep//er/2.png"]])) == COLOURS
    with pytest.raises(ValueError, match="must be a path inside"):
        open_pictures(folder, [["..\\pictures\\0.png"]])


def test_a_whole_path_in_a_zip_goes_before_a_name(tmp_path):
    with ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a/0.png", png(COLOURS[1]))
        archive.writestr("0.png", png(COLOURS[0]))
    assert open_pictures(tmp_path / "twice.zip", [["0.png"]])[0].getpixel((0, 0)) == COLOURS[0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_picture_twice_in_a_zip_is_one_picture(tmp_path):
    with ZipFile(tmp_path / "twice.zip", "w") as archive:
        for name in ("a/0.png", "a/0.png", "b/0.png"):
            archive.writestr(name, png())
    assert open_pictures(tmp_path / "twice.zip", [["0.png"]])[0].size == (4, 3)
    with ZipFile(tmp_path / "twice.zip", "a") as archive:
        archive.writestr("a/0.png", png(COLOURS[1]))
    with pytest.raises(ValueError, match=r"images: 'a/0\.png' must mean one picture in .*, got 'a/0\.png' and 'a/0"):
        open_pictures(tmp_path / "twice.zip", [["a/0.png"]])
