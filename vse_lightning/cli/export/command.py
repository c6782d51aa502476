"""The command: from a checkpoint to files that were checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

import vse_lightning
from vse_lightning.checks import require, require_extra, require_positive
from vse_lightning.cli.export.formats import write_program
from vse_lightning.cli.export.hugging_face import write_hugging_face
from vse_lightning.cli.export.model_card import CARD, model_card
from vse_lightning.cli.export.preprocessing import write_preprocessing
from vse_lightning.cli.export.towers import Tower, towers_of
from vse_lightning.cli.overwriting import require_new, require_own
from vse_lightning.models import CLIPRetriever, load_retriever
from vse_lightning.models.retriever import Retriever
from vse_lightning.report import print_line
from vse_lightning.whole_files import whole_files

FACTS = "export.json"
_MARK = "vse-lightning export"


def export(
    ckpt_path: Path,
    format: tuple[Literal["pt2", "onnx", "hf"], ...] = ("pt2",),  # noqa: A002
    output: Path | None = None,
    regions: bool = False,
    tolerance: float = 1e-4,
    trust: tuple[str, ...] = (),
) -> None:
    """Write both towers of a checkpoint as torch.export programs, ONNX or for Hugging Face, checked for equality.

    They are for deployment, and need neither vse_lightning nor the training data:

      vse-lightning export --ckpt_path best.ckpt
      vse-lightning export --ckpt_path best.ckpt --format pt2 onnx --output deployed
      vse-lightning export --ckpt_path best.ckpt --format hf --output my-clip

    The folder gets image.pt2 and text.pt2 (torch.export; torch.export.load("image.pt2").module()), or image.onnx and
    text.onnx; export.json with the inputs, the width of the embeddings and the preprocessing; and the tokenizer or the
    vocabulary. Batches may be of any size, captions of any length up to the model's. Each file is read back and run on
    pictures and captions that went through the model's own preprocessing, in batches of several sizes; where embeddings
    differ from the model's, nothing is kept.

    With hf a CLIPRetriever becomes a folder that transformers (AutoModel, AutoProcessor) and sentence-transformers (5.4
    or newer: SentenceTransformer(folder)) open and embed identically with, adapters merged, and that CLIPRetriever
    starts from again; README.md is its model card. In place of the best checkpoint take that of WeightInterpolation.

    Args:
        ckpt_path: the trained model, as fit writes it.
        format: one or both of pt2 and onnx, which needs the extra export; or hf alone.
        output: folder, made if need be; files of an earlier export are replaced, and no others. By default beside the
            checkpoint, .exported for .ckpt.
        regions: for precomputed features, take (batch, regions, width), any number of regions, instead of
            (batch, width).
        tolerance: largest difference allowed, as a share of the largest value of the embeddings.
        trust: modules whose classes the checkpoint may name.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ModuleNotFoundError: if a format needs packages that are not installed.
        ValueError: if a tower cannot be exported, or what was written embeds differently.
    """
    formats = _checked(format)
    require_positive("--tolerance", tolerance)
    checkpoint = ckpt_path.expanduser()
    retriever = load_retriever(checkpoint, trust)
    folder = output or checkpoint.with_suffix(".exported")
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _files_of_earlier_export(folder)
    names = [f"{tower}.{file_format}" for tower in ("image", "text") for file_format in formats]
    names = ["config.json", "model.safetensors", CARD] if formats == ["hf"] else names
    require_new("--output", [folder / name for name in names if name not in earlier])
    facts: dict[str, Any] = {
        "written_by": _MARK,
        "model": type(retriever).__name__,
        "checkpoint": str(checkpoint.absolute()),
    }
    facts |= {"similarity": "cosine", "normalized": False}
    facts["versions"] = {"vse_lightning": vse_lightning.__version__, "torch": torch.__version__}
    with whole_files(folder, last=FACTS) as writing:
        if formats == ["hf"]:
            facts |= _folder_for_hugging_face(retriever, checkpoint, writing, tolerance)
        else:
            facts |= _programs(retriever, regions, formats, writing, tolerance)
        written = {FACTS, *(file.name for file in writing.iterdir())}
        require_new("--output", [folder / name for name in sorted(written - earlier)])
        facts["files"] = sorted(written)
        (writing / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for name in earlier - written:
        (folder / name).unlink(missing_ok=True)
    _print(facts, folder)


def _checked(formats: Sequence[str]) -> list[str]:
    different = list(dict.fromkeys(formats))
    alone = "hf" not in different or different == ["hf"]
    require(alone, "--format hf makes a folder of its own and stands alone, got {}", " ".join(different))
    if "onnx" in different:
        require_extra("--format onnx", "export", "onnx", "onnxscript", "onnxruntime")
    return different


def _folder_for_hugging_face(retriever: Retriever, checkpoint: Path, folder: Path, tolerance: float) -> dict[str, Any]:
    if not isinstance(retriever, CLIPRetriever):
        name = type(retriever).__name__
        raise ValueError(f"--format hf needs a CLIPRetriever, whose model Hugging Face knows, got a {name}")
    facts = write_hugging_face(retriever, folder, tolerance)
    (folder / CARD).write_text(model_card(checkpoint, retriever), encoding="utf-8")
    return facts


def _programs(
    retriever: Retriever, regions: bool, formats: Sequence[str], folder: Path, tolerance: float
) -> dict[str, Any]:
    if isinstance(retriever, CLIPRetriever):
        retriever.backbone.merge_adapters()
    facts: dict[str, Any] = {
        tower.name: _export(tower, formats, folder, tolerance) for tower in towers_of(retriever, regions)
    }
    widths = [facts[name]["embed_dim"] for name in ("image", "text")]
    require(widths[0] == widths[1], "the towers must embed in one space, got widths {} and {}", *widths)
    return facts


def _export(tower: Tower, formats: Sequence[str], folder: Path, tolerance: float) -> dict[str, Any]:
    files = {}
    for file_format in formats:
        path, difference = write_program(tower, file_format, folder, tolerance)
        files[file_format] = {"file": path.name, "largest_difference": difference}
    return {**tower.describe(), "files": files, "preprocessing": write_preprocessing(tower.transform, folder)}


def _files_of_earlier_export(folder: Path) -> set[str]:
    """Names of the files that an export wrote into the folder before, as its facts tell."""
    facts = folder / FACTS
    require_own("--output", facts, _MARK)
    names = json.loads(facts.read_text(encoding="utf-8"))["files"] if facts.exists() else []
    require(all(Path(name).name == name for name in names), "{} must list files of its folder, got {}", facts, names)
    return set(names)


def _print(facts: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "takes", "gives", title_justify="left")
    table.add_column("size", justify="right")
    table.add_column("largest difference", justify="right")
    for name, kind in (("image", "pictures"), ("text", "captions")):
        takes = "\n".join(f"{i['name']} {_shape(i['shape'])} {i['dtype']}" for i in facts[name]["inputs"]) or kind
        gives = f"embeds {_shape(['batch', facts[name]['embed_dim']])} float32"
        for written in facts[name]["files"].values():
            path = folder / written["file"]
            difference = f"{written['largest_difference']:.1e}"
            table.add_row(path.name, takes, gives, f"{path.stat().st_size / 1e6:.1f} MB", difference)
    Console().print(table)
    prepared = f"{FACTS} says how to prepare pictures and captions"
    opened = f'for AutoModel.from_pretrained("{folder}") or SentenceTransformer("{folder}"); {CARD} is its card'
    print_line(f"exported: {folder} ({prepared if facts['image']['inputs'] else opened})")


def _shape(shape: list[Any]) -> str:
    return f"({', '.join(map(str, shape))})"
