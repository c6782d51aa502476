"""Files of a data set: the reader names what is wrong and where, or reads what is right; none hangs."""

import json
import socket

import pytest
import torch

from vse_lightning.cli import main
from vse_lightning.data import HuggingFaceSource, KarpathySource, PrecompSource
from vse_lightning.data.files.text_files import read_table
from vse_lightning.embedding_files import read_embeddings
from vse_lightning.models import load_retriever
from vse_lightning.models.encoders import GRUTextEncoder
from vse_lightning.relevance import PrecomputedRelevance, SparseTable
from vse_lightning.report import printable

CASES = [
    ("karpathy", "cut.json", "captions must be a JSON file, got '.*cut.json': Expecting value"),
    ("karpathy", "deep.json", "captions must be a JSON file, got '.*deep.json': it is nested too deeply"),
    ("karpathy", "latin.json", "captions must be a JSON file, got '.*latin.json': it holds the byte 0xe9"),
    ("karpathy", "empty", "captions must be a JSON file, got '.*empty': is a directory"),
    ("karpathy", "pipe.json", "captions must be a file or a folder, got a pipe, a socket or a device: .*pipe.json"),
    ("karpathy", "number.json", "captions: a Karpathy split file has a list 'images' .*number.json has none"),
    ("karpathy", "no_split.json", r"captions: images\[0\] of .*no_split.json lacks \['split'\]"),
    (
        "karpathy",
        "split_none.json",
        r"captions: images\[0\] of .*split_none.json must have a string as split, got None",
    ),
    (
        "karpathy",
        "blank.json",
        r"images\[0\] of .*blank.json \(a.jpg\) must have sentences that are not blank, got ' '",
    ),
    ("karpathy", "no_sentence.json", r"images\[0\] of .*no_sentence.json \(a.jpg\) must have at least one sentence"),
    (
        "karpathy",
        "raw_number.json",
        r"images\[0\] of .*raw_number.json \(a.jpg\) must have a list of sentences with tex",
    ),
    ("karpathy", "words.json", r"images\[0\] of .*words.json \(a.jpg\) must have a list of sentences with text"),
    ("karpathy", "no_object.json", r"captions: images\[0\] of .*no_object.json must be an object, got list"),
    ("karpathy", "name.json", r"images\[0\] of .*name.json must have strings as filename and filepath, got 3"),
    ("karpathy", "twice.json", r"captions: images\[0\] and images\[1\] of .*twice.json are both a.jpg"),
    ("karpathy", "outside.json", r"a picture's name must be a path inside '.*pictures', got '../a.jpg'"),
    ("karpathy", "half.json", "captions must be text that can be written as UTF-8, got half of a character"),
    ("pictures", "nowhere", "images: nothing at "),
    ("pictures", "empty", r"images: 1 of 1 pictures are not in .*empty: a.jpg"),
    ("pictures", "text.zip", "images must be a folder or a zip file, got '.*text.zip'"),
    ("pictures", "cut.zip", "images must be a folder or a zip file, got '.*cut.zip'"),
    ("pictures", "without.zip", r"images: 1 of 1 pictures are not in .*without.zip: a.jpg"),
    ("pictures", "pictures", "a.jpg cannot be read as a picture: it is truncated, or of no format"),
    ("pictures", "pictures.zip", "a.jpg cannot be read as a picture"),
    ("pictures", "pipes", "a.jpg cannot be read: .*a.jpg must be a file, got a folder, a pipe, a socket or a device"),
    ("features", "nan.npy", "features must have one row for each of the 1 images, got 2 in .*nan.npy"),
    ("features", "vector.npy", r"features must be floats, .* got float32 of shape \(4,\) in .*vector.npy"),
    ("features", "whole.npy", r"features must be floats, .* got int64 of shape \(2, 4\) in .*whole.npy"),
    ("features", "cut.npy", "features: .*cut.npy is damaged, as a file that was cut off"),
    ("features", "text.npy", "features: .*text.npy must be an .npy file that np.save wrote"),
    ("features", "pair.npz", "features: .*pair.npz must be an .npy file .*, but a zip of several: call it .npz"),
    ("features", "empty", "features: .*empty must be a file, got a folder"),
    ("features", "pipe.npy", "features must be a file or a folder, got a pipe"),
    (
        "precomp",
        "short",
        "train_caps.txt and train_ims.npy in .*short do not fit: 3 captions are no multiple of 2 rows",
    ),
    ("precomp", "gap", "train_caps.txt must have a caption on each line, line 2 in .*gap is empty"),
    ("precomp", "holes", "features must be finite, got NaN or infinity in row 0 of .*train_ims.npy"),
    ("precomp", "ints", "features must be floats, .* got int64"),
    ("precomp", "flat", r"features must be floats, .* got float32 of shape \(4,\)"),
    ("precomp", "lone", "features: nothing at '.*train_ims.npy'"),
    ("precomp", "empty", "root: no files named .*_caps.txt. in .*empty"),
    ("table", "ragged.csv", "path: line 3 of .*ragged.csv must have 2 cells, as many as the first line, got 1"),
    ("table", "twice.csv", r"path must name each column once, got \['image', 'image'\] in .*twice.csv"),
    ("table", "head.csv", "path must have at least one row of values, .*head.csv has none"),
    ("table", "quote.csv", "path: .*quote.csv cannot be read as a table: line 2"),
    ("table", "no_head.csv", "path must be a table whose first line names at least two columns, .*no_head.csv"),
    (
        "table",
        "no_caption.csv",
        "caption_column: a caption must not be blank, got '' in 'caption' of line 2 of no_caption",
    ),
    ("table", "latin.csv", "path must be a text file in UTF-8, got .*latin.csv: it holds the byte 0xe9"),
    ("table", "utf16.csv", "path must be a text file in UTF-8, got .*utf16.csv: it holds the byte 0xff"),
    ("table", "cut.jsonl", "path: line 2 of .*cut.jsonl must be a JSON object"),
    ("table", "lists.jsonl", "path: .*lists.jsonl must be a JSON object, got list"),
    ("table", "broken.parquet", "path: .*broken.parquet cannot be loaded"),
    (
        "labels",
        "whole.npy",
        r"path must hold a floating-point array \(rows, dimensions\), got torch.int64 .* in .*whole.npy",
    ),
    ("labels", "text.npy", "path must be an .npy file of floating-point numbers, got .*text.npy"),
    ("labels", "empty", "path must be an .npy file, got the folder .*empty"),
    ("sparse", "text.npy", "features must be an .npz file that scipy.sparse.save_npz wrote, got .*text.npy"),
    ("vectors", "vectors.txt", "line 1 of .*vectors.txt must hold finite numbers, got NaN or infinity"),
    ("vectors", "nothing.txt", "vectors must be a text file of word vectors, found no file '.*nothing.txt'"),
    (
        "checkpoint",
        "text.ckpt",
        "checkpoint .*text.ckpt cannot be read without unpickling: it must be a file of tensors",
    ),
    ("checkpoint", "empty", "checkpoint must be a file, got the folder .*empty"),
    ("embeddings", "empty", "empty must hold embeddings of one run of predict, got files of none"),
    ("embeddings", "embeddings", "embeddings holds embeddings of a run that did not finish: there is no rank1of2.json"),
    ("embeddings", "nothing", "folder: nothing at "),
]


def vectors_of(path):
    GRUTextEncoder(word_dim=2, embed_dim=2, min_count=1, vectors=str(path)).fit(["a dog"])


READERS = {
    "karpathy": lambda path: KarpathySource(path, images=path.parent / "pictures"),
    "pictures": lambda path: KarpathySource(path.parent / "right.json", images=path).load_image(0),
    "features": lambda path: KarpathySource(path.parent / "right.json", features=path),
    "precomp": PrecompSource,
    "table": lambda path: HuggingFaceSource(path, "image", "caption"),
    "labels": PrecomputedRelevance,
    "sparse": lambda path: SparseTable(path, [0], label="sparse"),
    "vectors": vectors_of,
    "checkpoint": load_retriever,
    "embeddings": read_embeddings,
}


@pytest.mark.parametrize(("reader", "name", "message"), CASES)
def test_wrong_files(files, reader, name, message):
    if reader == "table":
        pytest.importorskip("datasets")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        READERS[reader](files / name)


def test_a_socket_and_a_device_are_no_files(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        with pytest.raises(ValueError, match="captions must be a file or a folder, got a pipe, a socket or a device"):
            KarpathySource(tmp_path / "s", images=tmp_path)
    with pytest.raises(ValueError, match=r"captions must be a file or a folder, .* a device: /dev/zero"):
        KarpathySource("/dev/zero", images=tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_marks_line_ends_and_blank_lines_change_nothing(tmp_path, end, mark):
    table = f"{mark}image,caption{end}{end}a.jpg,a dog{end}a.jpg,two dogs{end}{end}"
    (tmp_path / "captions.csv").write_text(table, encoding="utf-8", newline="")
    lines = f"{mark}a dog{end}two dogs{end}a cat{end}two cats{end}"
    (tmp_path / "captions.txt").write_text(lines, encoding="utf-8", newline="")
    (tmp_path / "ids.txt").write_text(f"{mark}7{end}7{end}9{end}9{end}", encoding="utf-8", newline="")
    torch.save({"image_embeds": torch.eye(2), "text_embeds": torch.eye(2).repeat_interleave(2, 0)}, tmp_path / "m.pt")
    args = ["evaluate", str(tmp_path / "m.pt"), "--captions", str(tmp_path / "captions.txt"), "--resamples", "9"]
    main([*args, "--image_ids", str(tmp_path / "ids.txt"), "--output", str(tmp_path / "out.json")])
    values = json.loads((tmp_path / "out.json").read_text())["models"]["m"]
    assert values["i2t_recall_at_1"]["value"] == values["t2i_recall_at_1"]["value"] == 1
    columns = read_table("path", tmp_path / "captions.csv").columns
    assert columns == {"image": ["a.jpg", "a.jpg"], "caption": ["a dog", "two dogs"]}


def test_escape_codes_in_names_are_written_out(tmp_path, capsys):
    name = "dog\x1b[2J\x07"
    torch.save({"scores": torch.eye(2)}, tmp_path / f"{name}.pt")
    main(["evaluate", str(tmp_path / f"{name}.pt"), "--captions_per_image", "1", "--resamples", "9"])
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert r"\x1b[2J\x07" in printed
    assert printable("Häuser, 狗\n") == "Häuser, 狗\n"


def test_pipes_among_pictures_are_left_out_of_an_index(files):
    from vse_lightning.cli.search.indexing import pictures_of_folder

    (files / "pipes" / "notes.txt").touch()
    pictures = pictures_of_folder(files / "pipes")
    assert pictures.names == ["a.jpg"]
    with pytest.raises(ValueError, match="must be a file, got a folder, a pipe, a socket or a device"):
        pictures.images[0]
