"""``examples/human_agreement.py``: small files in the formats of the public ones."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "human_agreement.py"
EXPERTS = "a.jpg\ta.jpg#1\t4\t3\t4\na.jpg\tb.jpg#0\t1\t1\t2\n"
CROWD = "a.jpg\tb.jpg#0\t0.333333333333\t1\t2\nb.jpg\ta.jpg#1\t1\t3\t0\nb.jpg\tb.jpg#0\t0\t0\t3\n"
SITS = "caption,image,agg_score,sampling_method\nCOCO_val2014:sentid:30,a.jpg,1.8,c2i_intrasim\n"
SITS += "COCO_val2014:sentid:11,a.jpg,4.99,c2i_original\n"
STS = "caption1,caption2,agg_score,sampling_method\nCOCO_val2014:sentid:10,COCO_val2014:sentid:30,0.15,c2c_isim\n"


@pytest.fixture
def convert(tmp_path, monkeypatch):
    spec = spec_from_file_location("human_agreement", EXAMPLE)
    example = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "human_agreement", example)
    spec.loader.exec_module(example)
    sentences = {"a.jpg": [(10, "a dog"), (11, "the dog runs")], "b.jpg": [(30, "a red bus")]}
    images = [
        {"filename": name, "split": "test", "sentences": [{"raw": text, "sentid": sentid} for sentid, text in of]}
        for name, of in sentences.items()
    ]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))

    def converted(content):
        (tmp_path / "ratings").write_text(content)
        command = ["human_agreement.py", tmp_path / "ratings", tmp_path / "split.json", tmp_path / "people.csv"]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        example.main()
        return (tmp_path / "people.csv").read_text().splitlines()

    return converted


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (EXPERTS, [f"a.jpg,{rated}" for rated in ("11,4.0", "11,3.0", "11,4.0", "30,1.0", "30,1.0", "30,2.0")]),
        (CROWD, ["a.jpg,30,0.333333333333", "b.jpg,11,1.0", "b.jpg,30,0.0"]),
        (SITS, ["a.jpg,30,1.8", "a.jpg,11,4.99"]),
        (STS, ["b.jpg,10,0.15"]),
    ],
    ids=["experts", "crowd", "sits", "sts"],
)
def test_public_formats(convert, content, rows):
    first, *found = convert(content)
    assert first == "image,sentid,rating"
    assert found == rows


def test_its_table_is_what_evaluate_reads(convert, evaluate, tmp_path):
    convert(SITS)
    np.save(tmp_path / "scores.npy", np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.7]]))
    asked = "--captions", tmp_path / "split.json", "--judgements", tmp_path / "people.csv"
    found = evaluate(tmp_path / "scores.npy", *asked)
    assert found["agreement"]["scores"]["kendall_b"] == 1
