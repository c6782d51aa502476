"""What the package uses of others beyond what they document: so much and no more, and it is still there.

``mixins/host/lightning_internals.py`` has a test of its own.
"""

import ast
from importlib import import_module
from pathlib import Path

import lightning.pytorch.cli
import pytest
import torch
import torchmetrics
from torch import nn

import vse_lightning

PACKAGE = Path(vse_lightning.__file__).parent
INTERNALS = "mixins/host/lightning_internals.py"

USED = {
    INTERNALS: {
        *("_combined_loader", "_compiler_ctx", "_current_fx_name", "_given_hyperparameters", "_mode", "_results"),
        "_trainer",
    },
    "callbacks/loss_schedule.py": {"_generate_state_key"},
    "cli/export/formats.py": {"_dispatch_cache", "_patches"},
    "metrics/_state_metric.py": {"_is_synced", "_to_sync", "_update_count"},
    "metrics/collection.py": {"_modules", "_set_name"},
}
OVERRIDDEN = {
    "cli/training.py": {"_parse_ckpt_path"},
    "metrics/_state_metric.py": {"_copy_state_dict", "_sync_dist"},
    "metrics/collection.py": {"_compute_groups_create_state_ref"},
}
THEIRS = {
    lightning.pytorch.cli.LightningCLI: OVERRIDDEN["cli/training.py"],
    lightning.Callback: {"_generate_state_key"},
    torchmetrics.Metric: OVERRIDDEN["metrics/_state_metric.py"],
    torchmetrics.MetricCollection: OVERRIDDEN["metrics/collection.py"] | {"_set_name"},
}
OF_INSTANCES = {
    torchmetrics.SumMetric: USED["metrics/_state_metric.py"] | {"_forward_cache", "_modules"},
}
DOCUMENTED = {"_asdict", "_replace"}


def nodes():
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(PACKAGE).as_posix(), list(ast.walk(tree))


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names():
    """What the package itself defines, the keys of a host's ``__dict__`` included."""
    for _, found in nodes():
        for node in found:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                    yield name
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    yield name
                case ast.Subscript(value=ast.Attribute(attr="__dict__"), slice=ast.Constant(value=str(name))):
                    yield name


def names_read(found):
    for node in found:
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name
            case ast.ImportFrom(module=str(module), level=0, names=names) if not module.startswith("vse_lightning"):
                yield from (*module.split("."), *(each.name for each in names))


def test_nothing_else_is_used():
    own = set(own_names()) - {name for names in OVERRIDDEN.values() for name in names} | DOCUMENTED
    used = {path: {name for name in names_read(found) if is_private(name)} - own for path, found in nodes()}
    overridden = {name for names in OVERRIDDEN.values() for name in names}
    assert {path: names - overridden for path, names in used.items() if names - overridden} == USED


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_nothing_else_is_overridden():
    overridden = {}
    for path, found in nodes():
        for node in found:
            if isinstance(node, ast.ClassDef) and node in found[0].body:
                module = import_module("vse_lightning." + path.removesuffix(".py").replace("/", "."))
                theirs = [base for base in getattr(module, node.name).__mro__ if base.__module__[:13] != PACKAGE.name]
                own = {each.name for each in node.body if isinstance(each, ast.FunctionDef) and is_private(each.name)}
                names = {name for name in own if any(name in vars(base) for base in theirs)}
                if names:
                    overridden.setdefault(path, set()).update(names)
    assert overridden == OVERRIDDEN


def test_it_is_still_there():
    for cls, names in THEIRS.items():
        assert {name for name in names if not hasattr(cls, name)} == set(), cls
    for cls, names in OF_INSTANCES.items():
        assert {name for name in names if not hasattr(cls(), name)} == set(), cls
    assert isinstance(nn.Linear(1, 1)._modules, dict)


def test_export_of_a_gru():
    patches = pytest.importorskip("torch.export._patches")
    assert callable(patches.register_gru_while_loop_decomposition)
    assert isinstance(torch.ops.aten.gru.input._dispatch_cache, dict)
