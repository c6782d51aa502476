"""Which module may import which: arrows run one way."""

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import vse_lightning

ROOT = Path(vse_lightning.__file__).parent


def modules():
    """By dotted name, the path of every module."""
    paths = {path: path.relative_to(ROOT.parent).with_suffix("").parts for path in ROOT.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in paths.items()}


def imports_of(path, known=(), typing=True):
    """Full names of what a file imports, also inside a function and, with ``typing``, for the type checker only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not typing:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in inner)


def circle(rooms=("",), **options):
    """Modules of the rooms that import each other, directly or through others."""
    prefixes = tuple(f"vse_lightning.{room}" for room in rooms)
    known = {name: path for name, path in modules().items() if name.startswith(prefixes)}
    graph = {
        name: {other for other in imports_of(path, known, **options) if other in known} - {name}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]


def test_no_circle():
    assert circle(typing=False) is None
    assert circle(("functional", "ranking", "metrics", "targets", "distributed", "checks", "argument_types")) is None


def test_the_engine_room_knows_neither_torchmetrics_nor_lightning():
    for path in (ROOT / "ranking").glob("*.py"):
        tops = {name.split(".")[0] for name in imports_of(path)}
        assert not tops & {"torchmetrics", "lightning", "pytorch_lightning"}, path


def test_what_lies_below_does_not_look_up():
    rooms = {
        "functional": {"functional", "checks", "argument_types"},
        "losses": {"functional", "losses", "checks", "argument_types", "targets", "distributed"},
        "ranking": {"functional", "ranking", "checks", "argument_types", "targets", "distributed"},
        "metrics": {"functional", "ranking", "metrics", "checks", "argument_types", "targets", "distributed", "report"},
        "mixins": {"functional", "losses", "metrics", "mixins", "checks", "argument_types", "targets", "distributed"},
        "relevance": {
            "functional",
            "relevance",
            "checks",
            "argument_types",
            "targets",
            "words",
            "array_files",
            "paths",
            "digests",
            "whole_files",
        },
    }
    for room, allowed in rooms.items():
        for path in (ROOT / room).rglob("*.py"):
            inside = {name.split(".")[1] for name in imports_of(path) if name.startswith("vse_lightning.")}
            assert inside <= allowed, path


def test_one_file_talks_to_other_processes():
    for name, path in modules().items():
        talks = any(imported.startswith("torch.distributed") for imported in imports_of(path, {"torch.distributed"}))
        assert not talks or name == "vse_lightning.distributed", path


def test_public_files_of_a_room_are_what_it_offers():
    for room in ("relevance", "data", "data.sources"):
        offered = set(importlib.import_module(f"vse_lightning.{room}").__all__)
        for path in (ROOT / room.replace(".", "/")).glob("[!_]*.py"):
            defined = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")}
            assert defined & offered, path


def test_losses_metrics_and_mixins_are_at_the_top():
    for room in ("losses", "metrics", "mixins"):
        offered = importlib.import_module(f"vse_lightning.{room}")
        doors = {"ALL", "MissingRelevanceError", "Reading", "RetrievalMetric"}  # for who writes metrics
        for name in set(offered.__all__) - doors:
            assert getattr(vse_lightning, name) is getattr(offered, name), name
