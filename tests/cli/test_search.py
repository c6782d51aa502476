"""Searching with a trained model, from another folder than it was trained in."""

import contextlib
import math
import re
import stat
from argparse import ArgumentError

import numpy as np
import pytest
import torch

from vse_lightning.cli import main
from vse_lightning.cli.search import answers as search_answers
from vse_lightning.cli.search.answers import Query, answer, search_page
from vse_lightning.cli.search.index_file import SearchIndex
from vse_lightning.cli.search.indexing import Pictures, make_index
from vse_lightning.data import ShapesSource
from vse_lightning.models import DualEncoder, FeatureImageEncoder, GRUTextEncoder, load_retriever

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("timm")
pytest.importorskip("scipy")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

DATA = ["--config", "quickstart.yaml", "--data.init_args.source.init_args.num_images=40"]
SOURCE = ShapesSource(num_images=40, image_size=48)
TEST, VAL = range(36, 40), range(32, 36)
TEXTS = ["a red circle on a black background", "two blue squares"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """What fit writes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("trained")
    fit = [*DATA, "--config", "relevance/cider.yaml", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    fit += ["--data.init_args.num_workers=0", "--data.init_args.batch_size=32", "--trainer.enable_progress_bar=false"]
    with contextlib.chdir(folder):
        main(["fit", *fit, "--compare_with=null", "--trainer.callbacks=[]"])
    (path,) = folder.rglob("*.ckpt")
    return path


@pytest.fixture
def search(checkpoint, tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; give what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args, index="test.index", ckpt_path=checkpoint):
        capsys.readouterr()
        main(["search", "--ckpt_path", str(ckpt_path), "--index", index, *map(str, args)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def pictures(tmp_path):
    """A folder with some of the scenes, one of them below, and what is not to be found."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for image_id, name in ((0, "<b>.png"), (1, "below/one.JPG"), (2, "two.webp"), (3, ".hidden/three.png")):
        SOURCE.load_image(image_id).save(folder / name)
    (folder / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    (folder / "notes.txt").write_text("no picture")
    return folder


def cells(printed):
    """The rows of all tables."""
    return [[cell.strip() for cell in line.strip("│ ").split("│")] for line in printed.splitlines() if line[:1] == "│"]


def embeddings(model, texts, image_ids):
    """Each picture and each text alone, as float64."""
    with torch.no_grad():
        prepare = model.image_transform(train=False)
        images = [model.encode_images(prepare(SOURCE.load_image(image_id))[None])[0] for image_id in image_ids]
        texts = [model.encode_texts(model.text_transform()([text]))[0] for text in texts]
    return [image.double().numpy() for image in images], [text.double().numpy() for text in texts]


def cosine(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def test_texts_find_the_pictures_that_a_plain_loop_finds(search, checkpoint):
    printed = search(*DATA, "--text", *TEXTS, "--top_k", 3, "--split", "test", "--split", "val")
    image_ids = [*TEST, *VAL]
    images, texts = embeddings(load_retriever(checkpoint), TEXTS, image_ids)
    rows = cells(printed)
    assert len(rows) == 2 * 3
    for number, text in enumerate(texts):
        scores = [cosine(text, image) for image in images]
        best = sorted(range(len(images)), key=lambda row: -scores[row])[:3]
        for rank, (row, shown) in enumerate(zip(best, rows[3 * number :], strict=False), start=1):
            first = SOURCE.captions[5 * image_ids[row]]
            assert shown == [str(rank), f"{scores[row]:z.3f}", f"image {image_ids[row]}", first]


def test_pictures_find_captions(search, checkpoint, tmp_path):
    query = tmp_path / "query.png"
    SOURCE.load_image(20).save(query)
    rows = cells(search(*DATA, "--image", query, "--top_k", 4))
    captions = [SOURCE.captions[5 * image_id + number] for image_id in TEST for number in range(5)]
    (image,), texts = embeddings(load_retriever(checkpoint), captions, [20])
    scores = [cosine(image, text) for text in texts]
    best = sorted(range(len(captions)), key=lambda row: -scores[row])[:4]
    assert [row[2:] for row in rows] == [[captions[row], f"image {TEST[row // 5]}"] for row in best]
    assert [row[1] for row in rows] == [f"{scores[row]:z.3f}" for row in best]


def test_indexes_once_and_needs_only_the_index_then(search, tmp_path, pictures):
    made = search("--images", pictures, "--text", "a circle")
    assert f"test.index: 3 pictures of {pictures}" in made
    assert "left out, because they cannot be read: 1 of 4: torn.jpg" in made
    names = {row[2] for row in cells(made)}
    assert names == {"<b>.png", "below/one.JPG", "two.webp"}
    written = (tmp_path / "test.index").stat()
    assert stat.S_IMODE(written.st_mode) == stat.S_IMODE((pictures / "notes.txt").stat().st_mode)
    assert not list(tmp_path.glob(".writing-*"))
    assert cells(search("--images", pictures, "--text", "a circle", "--force", "--num_workers", 1)) == cells(made)
    written = (tmp_path / "test.index").stat()
    again = search("--images", pictures, "--text", "a circle")
    assert "indexed before; --force indexes again" in again
    assert cells(again) == cells(made)
    (pictures / "two.webp").unlink()
    pictures.rename(tmp_path / "moved")
    alone = search("--text", "a circle", "--html", "page.html")
    assert cells(alone) == cells(made)
    assert (tmp_path / "page.html").read_text().count('src="data:image/jpeg;base64,') == 3
    assert (tmp_path / "test.index").stat().st_mtime_ns == written.st_mtime_ns
    assert "2 pictures" in search("--images", tmp_path / "moved", "--force")


def test_pictures_find_pictures_where_there_are_no_captions(search, pictures):
    rows = cells(search("--images", pictures, "--image", pictures / "<b>.png", "--top_k", 50))
    assert rows[0] == ["1", "1.000", "<b>.png"]
    assert len(rows) == 3
    with pytest.raises(ValueError, match="--find captions needs captions, got an index without any"):
        search("--text", "a circle", "--find", "captions")


def test_texts_find_captions_like_them(search):
    rows = cells(search(*DATA, "--text", SOURCE.captions[5 * TEST[2]], "--find", "captions", "--top_k", 1))
    assert rows == [["1", "1.000", SOURCE.captions[5 * TEST[2]], f"image {TEST[2]}"]]


def test_page_escapes_everything_and_asks_for_nothing(search, pictures, tmp_path):
    evil = "<script>alert('x')</script>"
    SOURCE.load_image(5).save(tmp_path / "<img src=x>.png")
    printed = search("--images", pictures, "--text", evil, "--image", tmp_path / "<img src=x>.png", "--html", "p.html")
    assert f"“{evil}” → images" in printed
    assert "page: p.html" in printed
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;.png" in page
    assert "content=\"default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("<article") == 2
    assert page.count("<li>") == 6


def test_text_is_no_markup_in_the_terminal(search):
    assert "“[bold]a[/bold] circle” → images" in search(*DATA, "--text", "[bold]a[/bold] circle")


def test_index_is_of_one_checkpoint(search, checkpoint, tmp_path):
    search(*DATA)
    other = torch.load(checkpoint, weights_only=True)
    torch.save({**other, "epoch": 7}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"made with another checkpoint, .*epoch=0.*got .*other\.ckpt .*--force"):
        search("--text", "a circle", ckpt_path="other.ckpt")
    assert cells(search(*DATA, "--text", "a circle", "--force", ckpt_path="other.ckpt"))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["--text", "a"], FileNotFoundError, "--index: there is no 'none.index' yet: give --images or --config"),
        (["--text", "a", "--force"], ValueError, "--force indexes again: give --images or --config"),
        ([], ValueError, "nothing to do: give --images or --config to index, --text or --image to search"),
        (["--text", " "], ValueError, "--text must not be empty, got ' '"),
        (["--text", "a", "--top_k", "0"], ValueError, "--top_k must be a whole number of at least 1, got 0"),
        (["--images", ".", "--batch_size", "0"], ValueError, "--batch_size must be a whole number of at least 1"),
        (["--image", "none.jpg"], FileNotFoundError, "--image: nothing at 'none.jpg'"),
        (["--image", "text.jpg"], ValueError, r"--image text\.jpg cannot be read as a picture: it is trunc"),
        (["--images", "none"], FileNotFoundError, "--images: nothing at 'none'"),
        (["--images", "text.jpg"], ValueError, "--images must be a folder, got"),
        (["--images", "empty"], ValueError, r"--images must hold pictures \(\.jpg, .*\), got none in"),
        (["--images", "torn"], ValueError, "pictures must be readable, got 1 that are not"),
        (["--images", ".", *DATA], ValueError, "--images and --config are two things to index"),
        (["--images", ".", "--split", "val"], ValueError, "--split is for the data of --config"),
        (["--images", ".", "--html", "p.html"], ValueError, "--html shows what is found: give --text or --image"),
        (["--text", "a", "--html", "no/p.html"], ValueError, "--html must be in a folder that exists, got no/p"),
        ([*DATA, "--split", "dev"], ValueError, r"split must be one of \['test', 'train', 'val'\], got 'dev'"),
    ],
)
def test_errors_name_the_option(search, tmp_path, args, error, message):
    (tmp_path / "text.jpg").write_text("no picture")
    for folder in ("empty", "torn"):
        (tmp_path / folder).mkdir()
    (tmp_path / "torn" / "torn.png").write_bytes(b"torn")
    with pytest.raises(error, match=message):
        search(*args, index="none.index")
    assert not (tmp_path / "none.index").exists()


def test_checkpoint_and_index_must_be_usable(search, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path: nothing at 'none\.ckpt'"):
        search("--images", ".", ckpt_path="none.ckpt")
    (tmp_path / "test.index").write_text("no index")
    with pytest.raises(ValueError, match=r"--index .*test\.index cannot be used: .*; give another --index"):
        search("--text", "a")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "test.index")
    with pytest.raises(ValueError, match="cannot be used: it must be a 'vse_lightning search index 1'"):
        search("--text", "a")
    with pytest.raises(ValueError, match="--index must be in a folder that exists"):
        search("--text", "a", index="no/where.index")
    with pytest.raises(ValueError, match="--index must be a file, got the folder"):
        search("--text", "a", index=str(tmp_path))


@pytest.mark.parametrize("part", [b"image_embeds", b"origin", b"", b"["], ids=["header", "facts", "pictures", "texts"])
def test_a_damaged_index_is_noticed(search, tmp_path, part):
    search(*DATA)
    index = tmp_path / "test.index"
    content = bytearray(index.read_bytes())
    content[content.rindex(part) + len(part) - 1 if part else len(content) // 2] ^= 1
    index.write_bytes(content)
    with pytest.raises(ValueError, match=r"--index .*test.index cannot be used: .*; --force makes it again"):
        search("--text", "a circle")


def test_only_its_own_files_are_overwritten(search, pictures, tmp_path):
    for name in ("notes.html", "notes.index"):
        (tmp_path / name).write_text("of the user")
    asked = ("--images", pictures, "--text", "a circle")
    with pytest.raises(ValueError, match=r"--html: notes\.html is there already, and not of this command"):
        search(*asked, "--html", "notes.html")
    with pytest.raises(ValueError, match=r"--index: notes\.index is there already, and not of this command"):
        search(*asked, "--force", index="notes.index")
    assert {(tmp_path / name).read_text() for name in ("notes.html", "notes.index")} == {"of the user"}
    search(*asked, "--html", "page.html")
    search(*asked, "--force", "--html", "page.html")


def test_index_of_another_folder_is_not_searched_in_its_place(search, pictures, tmp_path):
    search("--images", pictures)
    with pytest.raises(ValueError, match=r"--index holds .*/pictures, not --images .*: give another --index"):
        search("--images", tmp_path, "--text", "a circle")


def test_unknown_options_are_refused(search):
    with pytest.raises(ArgumentError, match="unrecognized arguments: --imagez"):
        search("--imagez", ".")
    with pytest.raises(ArgumentError, match="Option 'batch_size' is not accepted"):
        search("--images", ".", "--data.init_args.batch_size=3")


@pytest.mark.parametrize("count", [1, 4, 40])
def test_chunks_rank_as_one_list_with_ties_in_order(monkeypatch, count):
    monkeypatch.setattr(search_answers, "_ROWS_AT_A_TIME", 7)
    candidates = torch.randint(0, 4, (30, 1), generator=torch.Generator().manual_seed(0)).float()
    queries = torch.tensor([[1.0], [-1.0]])
    lists = search_answers.rank(lambda some, others: some @ others.T, queries, candidates, count)
    for query, hits in zip(queries, lists, strict=True):
        scores = [float(query * value) for value in candidates[:, 0]]
        best = sorted(range(30), key=lambda row: (-scores[row], row))[:count]
        assert hits == [(row, scores[row]) for row in best]


class Nearest(DualEncoder):
    """Compares by distance."""

    def retrieval_similarity(self, image_embeds, text_embeds):
        return -torch.cdist(image_embeds, text_embeds)


@pytest.fixture
def features():
    """Three images that are features, with two captions for the first and one for each other."""
    rows = torch.eye(3)
    captions = ["a red <ball>", "a ball", "two dogs", "a black cat"]
    return Pictures("features", ["first", "<second>", "third"], rows, captions, torch.tensor([0, 0, 1, 2]))


def model_of_features(kind):
    torch.manual_seed(0)
    text = GRUTextEncoder(word_dim=4, embed_dim=5, min_count=1)
    text.fit(["a red ball", "two dogs", "a black cat"])
    return kind(FeatureImageEncoder(3, embed_dim=5), text).eval()


def index_of(model, collection, tmp_path):
    """An index that was written and read."""
    make_index(model, tmp_path / "model.ckpt", "0" * 64, collection, batch_size=2).save(tmp_path / "some.index")
    return SearchIndex.load(tmp_path / "some.index")


def test_similarity_of_the_model_ranks(features, tmp_path):
    model = model_of_features(Nearest)
    index = index_of(model, features, tmp_path)
    (found,) = answer(model, index, [Query("two dogs")], None, 3)
    with torch.no_grad():
        images = model.encode_images(torch.eye(3)).double().numpy()
        text = model.encode_texts(model.text_transform()(["two dogs"]))[0].double().numpy()
    distances = np.linalg.norm(images - text, axis=1)
    assert [hit.row for hit in found.hits] == distances.argsort().tolist()
    assert [hit.score for hit in found.hits] == pytest.approx(sorted(-distances, reverse=True), abs=1e-5)
    message = "--find must be images: Nearest has a similarity of its own, .* so it cannot compare a text with captions"
    with pytest.raises(ValueError, match=message):
        answer(model, index, [Query("two dogs")], "captions", 3)


def test_features_are_found_by_texts_and_described(features, tmp_path):
    model = model_of_features(DualEncoder)
    index = index_of(model, features, tmp_path)
    answers = answer(model, index, [Query("a cat")], None, 3)
    page = search_page(answers, index)
    assert "a red &lt;ball&gt; <small>first</small>" in page
    assert "<small>&lt;second&gt;</small>" in page
    assert "<img" not in page
    with pytest.raises(ValueError, match="pictures need a model of pictures, but the image encoder of this one"):
        answer(model, index, [Query("query.png", Image.new("RGB", (8, 8)))], None, 3)
    pictures = Pictures("pictures", ["one"], [Image.new("RGB", (8, 8))], [], torch.arange(0))
    with pytest.raises(ValueError, match="pictures need a model of pictures, but the image encoder of this one"):
        make_index(model, tmp_path / "model.ckpt", "", pictures)


def test_captions_of_unreadable_pictures_are_left_out(features, tmp_path):
    class Torn:
        def __getitem__(self, row):
            if row == 0:
                raise OSError("torn")
            return torch.eye(3)[row]

    torn = Pictures("features", features.names, Torn(), features.captions, features.text_image_rows)
    index = index_of(model_of_features(DualEncoder), torn, tmp_path)
    assert index.names == ["<second>", "third"]
    assert index.captions == ["two dogs", "a black cat"]
    assert index.text_image_rows.tolist() == [0, 1]
    assert index.captions_of(1) == ["a black cat"]


def test_embeddings_that_are_no_numbers_are_refused(features, tmp_path):
    broken = Pictures("features", ["nan"], torch.full((1, 3), torch.nan), [], torch.arange(0))
    with pytest.raises(ValueError, match="the model must give finite embeddings"):
        make_index(model_of_features(DualEncoder), tmp_path / "model.ckpt", "", broken)
