"""Tables in text files, against those that wrote them: pandas and Python's csv and json."""

import csv
import json

import pytest

from vse_lightning.data.files.text_files import read_table

pd = pytest.importorskip("pandas")

ROWS = {
    "image": ["0.jpg", "1.jpg", "a, b.jpg", "3.jpg", "4.jpg"],
    "caption": ["null", "NA", 'A sign says "Stop" , here', "7", "two\nlines | of; café"],
    "split": ["train", "true", "1.0", "", "2020-01-01"],
}


def as_lists(table):
    return {name: list(values) for name, values in table.columns.items()}


@pytest.mark.parametrize(
    ("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("csv", "|"), ("tsv", "\t"), ("txt", ",")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_cell_of_pandas_comes_back_as_text(tmp_path, suffix, delimiter, encoding, end):
    path = tmp_path / f"captions.{suffix}"
    pd.DataFrame(ROWS).to_csv(path, sep=delimiter, index=False, encoding=encoding, lineterminator=end)
    table = read_table("path", path)
    assert as_lists(table) == ROWS
    assert table.row_names[1] == f"line 3 of captions.{suffix}"


def test_upper_case_suffix_and_index_of_pandas(tmp_path):
    path = tmp_path / "CAPTIONS.CSV"
    pd.DataFrame(ROWS).to_csv(path)
    assert as_lists(read_table("path", path)) == {"": list("01234"), **ROWS}


def test_quotes_of_csv_in_every_style(tmp_path):
    path = tmp_path / "captions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([list(ROWS), *zip(*ROWS.values(), strict=True)])
    assert as_lists(read_table("path", path)) == ROWS


def test_tabs_without_a_thought_of_quotes(tmp_path):
    path = tmp_path / "captions.tsv"
    path.write_text('image\tcaption\n0.jpg\t"Stop" sign\n1.jpg\ta 12" disc\n')
    assert read_table("path", path).columns["caption"] == ['"Stop" sign', 'a 12" disc']


def test_flickr30k_as_kaggle_has_it(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text('image_name| comment_number| comment\n1.jpg| 0| Two , "young" guys .\n1.jpg| 1| Two men .\n\n')
    expected = {
        "image_name": ["1.jpg"] * 2,
        "comment_number": ["0", "1"],
        "comment": ['Two , "young" guys .', "Two men ."],
    }
    assert as_lists(read_table("path", path)) == expected


@pytest.mark.parametrize("suffix", ["txt", "token"])
def test_flickr8k_token(tmp_path, suffix):
    path = tmp_path / f"Flickr8k.{suffix}"
    path.write_text("1_a.jpg#0\tA dog , running .\n1_a.jpg#1\tA #1 dog\n2_b.jpg.1#10\tNA\n\n")
    table = read_table("path", path)
    assert as_lists(table) == {
        "image": ["1_a.jpg", "1_a.jpg", "2_b.jpg.1"],
        "caption": ["A dog , running .", "A #1 dog", "NA"],
    }
    assert table.row_names[2] == f"line 3 of Flickr8k.{suffix}"


OBJECTS = [
    {"image": "0.jpg", "caption": ["a", "null"], "sentences": [{"raw": "a"}]},
    {"image": "1.jpg", "caption": ["7"]},
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(OBJECTS)),
        ("a.json", json.dumps({"version": 1, "images": OBJECTS})),
        ("a.json", "\n".join(map(json.dumps, OBJECTS))),
        ("a.jsonl", "\n".join(map(json.dumps, OBJECTS)) + "\n\n"),
    ],
)
def test_json(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert as_lists(read_table("path", tmp_path / name)) == {
        "image": ["0.jpg", "1.jpg"],
        "caption": [["a", "null"], ["7"]],
        "sentences": [[{"raw": "a"}], None],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "path must be a table, got an empty file: .*a.csv"),
        ("a.csv", "image,caption\n", "path must have at least one row of values, .*a.csv has none"),
        (
            "a.csv",
            "caption\na dog\n",
            "path must be a table whose first line names at least two columns, .* is 'caption'",
        ),
        ("a.txt", "A dog .\nA cat .\n", "lines name#number<TAB>caption; the first line of .*a.txt is 'A dog .'"),
        ("a.csv", "image,caption;x\n0,a;b\n", "divided by a tab, a comma, | or ; alone"),
        (
            "a.csv",
            "image,caption\n0.jpg,a\n1.jpg,a, b\n",
            r"line 3 of .*a.csv must have 2 cells, .*got 3: \['1.jpg', 'a', 'b'\]",
        ),
        ("a.csv", "image,caption,caption\n0,a,b\n", "must name each column once"),
        ("a.csv", 'image,caption\n0,"Stop" sign\n', "path: .*a.csv cannot be read as a table: line 2: ',' expected"),
        ("a.csv", 'image,caption\n0,a\n1,"open\n', "path: .*a.csv cannot be read as a table: line 3: unexpected end"),
        (
            "a.txt",
            "0.jpg#0\ta\n1.jpg#0\n",
            "line 2 of .*a.txt must be name#number<TAB>caption as line 1 is, got '1.jpg#0'",
        ),
        ("a.json", "{", "path must be a JSON file, got .*a.json"),
        ("a.json", "7", "path must be a JSON list of objects, or an object with one list"),
        ("a.json", '{"a": [], "b": []}', "path must be a JSON list of objects, or an object with one list"),
        ("a.json", "[]", "path must have at least one row of values"),
        ("a.json", '[{"a": 1}, 3]', "entry 1 of .*a.json must be a JSON object, got int"),
        ("a.jsonl", '{"a": 1}\n\n{"a":\n', "line 3 of .*a.jsonl must be a JSON object, got Expecting value"),
        ("a.jsonl", '{"a": 1}\n"b"\n', "line 2 of .*a.jsonl must be a JSON object, got str"),
    ],
)
def test_what_is_no_table(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table("path", tmp_path / name)


def test_other_encodings_are_named(tmp_path):
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "a.csv").write_text("image,caption\n0,café\n", encoding=encoding)
        with pytest.raises(ValueError, match=r"path must be a text file in UTF-8, got .*a\.csv"):
            read_table("path", tmp_path / "a.csv")
