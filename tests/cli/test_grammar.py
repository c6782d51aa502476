"""How a command line becomes the arguments of a function."""

import re
from argparse import ArgumentError
from pathlib import Path
from typing import Literal

import pytest
import yaml

from vse_lightning.cli.grammar import run_command

CALLS = []


class Shape:
    def __init__(self, size: int = 1):
        self.size = size

    def __eq__(self, other):
        return type(self) is type(other) and self.size == other.size

    __hash__ = None


def measure(
    files: list[str],
    names: tuple[str, ...] = (),
    sizes: tuple[int, ...] = (1, 5),
    formats: tuple[Literal["a", "b"], ...] = ("a",),
    shapes: list[Shape] | None = None,
    sure: float | bool = False,
    fast: bool = False,
    folder: Path | None = None,
    count: int = 3,
) -> None:
    """Measure something.

    Long and
      indented.

    Args:
        files: to measure.
        names: of them.
        sizes: in metres.
        formats: of what is written.
        shapes: to cut out.
        sure: how sure.
        fast: in a hurry.
        folder: to write to.
        count: of tries.
    """
    CALLS.append({name: value for name, value in locals().items() if value != DEFAULTS.get(name, "")})


DEFAULTS = {"names": (), "sizes": (1, 5), "formats": ("a",), "sure": False, "fast": False, "count": 3}
DEFAULTS |= {"shapes": None, "folder": None}


def parsed(*args, command=measure):
    run_command(command, list(args))
    return CALLS.pop()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["x", "y=z,w"], {"files": ["x", "y=z,w"]}),
        (["--names", "one", "x", "--names=two", "y"], {"files": ["x", "y"], "names": ("one", "two")}),
        (["x", "--names", "12", "--names", "a, b: [c]"], {"files": ["x"], "names": ("12", "a, b: [c]")}),
        (["x", "--names=[one,two]"], {"files": ["x"], "names": ("one", "two")}),
        (["x", "--sizes", "2,3"], {"files": ["x"], "sizes": (2, 3)}),
        (["x", "--sizes=2", "--sizes=4"], {"files": ["x"], "sizes": (2, 4)}),
        (["--formats", "b", "--formats", "a", "x"], {"files": ["x"], "formats": ("b", "a")}),
        (["--fast", "x", "--sure"], {"files": ["x"], "fast": True, "sure": True}),
        (["--fast=true", "--sure", "0.9", "x"], {"files": ["x"], "fast": True, "sure": 0.9}),
        (["--fast", "false", "x"], {"files": ["x"]}),
        (["--folder", "there", "--count", "-1", "x"], {"files": ["x"], "folder": Path("there"), "count": -1}),
        (["--files=[x,y]"], {"files": ["x", "y"]}),
    ],
)
def test_words_become_arguments(args, expected):
    assert parsed(*args) == expected


def test_objects_are_named_by_their_class():
    args = ["x", f"--shapes={__name__}.Shape", "--shapes.size=4", "--shapes", f"{__name__}.Shape"]
    assert parsed(*args) == {"files": ["x"], "shapes": [Shape(4), Shape()]}


def test_the_command_line_counts_more_than_configs_wherever_they_stand(tmp_path):
    (tmp_path / "a.yaml").write_text("{files: [x, y], names: [of, config], count: 7, fast: true}")
    (tmp_path / "b.yaml").write_text("count: 8")
    configs = ["--config", str(tmp_path / "a.yaml"), "-c", str(tmp_path / "b.yaml")]
    assert parsed(*configs) == {"files": ["x", "y"], "names": ("of", "config"), "count": 8, "fast": True}
    found = parsed("--names", "mine", "--count=9", *configs, "--fast=false")
    assert found == {"files": ["x", "y"], "names": ("mine",), "count": 9}


def test_print_config_is_a_config(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parsed("x", "--names", "one", "--sure", "--print_config")
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["names"] == ["one"]
    (tmp_path / "printed.yaml").write_text(printed)
    assert parsed("--config", str(tmp_path / "printed.yaml")) == {"files": ["x"], "names": ("one",), "sure": True}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: files"),
        (["x", "--nothing", "y"], "unrecognized arguments: --nothing y"),
        (["x", "--count", "many"], r"Parser key \"count\"(?s:.*)Expected a <class 'int'>"),
        (["x", "--sizes", "2,many"], "Expected a <class 'int'>"),
        (["x", "--formats", "c"], "Expected a typing.Literal"),
        (["x", "--folder"], "expected one argument"),
        (["x", "--fast", "--count"], "expected one argument"),
    ],
)
def test_what_cannot_be_parsed_is_said(args, message):
    with pytest.raises(ArgumentError, match=message):
        parsed(*args)


def test_help_comes_from_the_docstring(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    printed = capsys.readouterr().out
    assert printed.startswith("usage: vse-lightning measure FILES ... [--OPTION VALUE ...]\n\nMeasure something.\n")
    assert "Long and\n  indented." in printed
    assert re.search(r"--sizes \[ITEM,\.\.\.\].* +in metres", printed)


def look(data: Shape, words: tuple[str, ...] = ()) -> None:
    """Look at a shape."""
    CALLS.append({"data": data, "words": words})


def test_a_config_of_training_will_do_where_only_its_data_is_wanted(tmp_path):
    (tmp_path / "fit.yaml").write_text(f"""
seed_everything: 1
model: {{class_path: nowhere.Model}}
trainer: {{max_epochs: 3}}
ckpt_path: null
data: {{class_path: {__name__}.Shape, init_args: {{size: 5}}}}
""")
    config = ["--config", str(tmp_path / "fit.yaml")]
    assert parsed(*config, "--words", "a b", "c", command=look) == {"data": Shape(5), "words": ("a b", "c")}
    assert parsed(*config, "--data.init_args.size=6", command=look)["data"] == Shape(6)
    (tmp_path / "own.yaml").write_text("words: [x]")
    assert parsed(*config, "--config", str(tmp_path / "own.yaml"), command=look)["words"] == ("x",)
    (tmp_path / "typo.yaml").write_text("dta: 3")
    with pytest.raises(ArgumentError, match="Option 'dta' is not accepted"):
        parsed(*config, "--config", str(tmp_path / "typo.yaml"), command=look)
