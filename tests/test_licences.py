"""What is asked for is needed, and its licence is listed."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTED = ROOT / ".github" / "LICENCES.md"
MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn", "pillow": "PIL"}
OF_OTHERS = {"onnx", "onnxscript"}  # which torch.onnx.export imports
OPEN = r"Apache|BSD|MIT|Python Software Foundation|PSF|ISC|MPL"


def needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = [extra for extra in extras if extra not in ("test", "oracles", "docs", "dev")]
    texts = [*project["dependencies"], *(text for extra in users for text in extras[extra])]
    names = {re.match(r"[\w.-]+", text)[0] for text in texts}
    return sorted(names - {"vse-lightning"})


@pytest.mark.skipif(not LISTED.exists(), reason="an installed package has no .github")
def test_every_dependency_is_listed_with_an_open_licence():
    row = re.compile(r"^\| \*{0,2}([\w.-]+?)\*{0,2} \| (.+) \|$", re.MULTILINE)
    rows = dict(row.findall(LISTED.read_text(encoding="utf-8")))
    assert set(needs()) <= set(rows), "run .ci/licences"
    assert not {name: licence for name, licence in rows.items() if name != "package" and not re.search(OPEN, licence)}


@pytest.mark.parametrize("name", sorted(set(needs()) - OF_OTHERS))
def test_no_dependency_without_need(name):
    module = MODULES.get(name, name.replace("-", "_"))
    imported = re.compile(rf"""^\s*(?:import|from) {module}\b|import_module\(\w*{module}|"{module}\"""", re.MULTILINE)
    sources = (ROOT / "vse_lightning").rglob("*.py")
    assert any(imported.search(path.read_text(encoding="utf-8")) for path in sources)
