"""The model card of an export: where the model comes from, what it was trained on, and what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from vse_lightning.cli.results_file import is_mean, of_run, results_of
from vse_lightning.models import CLIPRetriever
from vse_lightning.models.checkpoints.trust import hyper_parameters_of
from vse_lightning.report import BASELINES_NOTE, DIRECTIONS, table_columns

CARD = "README.md"
_UNKNOWN = "Not recorded: the checkpoint was exported without the folder of its run."
_UNTESTED = "Not recorded: the last test of the run was not of this checkpoint."
_OF_MEAN = " Its weights are the mean of those before and after (WiSE-FT)."


def model_card(checkpoint: Path, retriever: CLIPRetriever) -> str:
    """The text of the card; what the folder of the run says of data and results, if it is still there.

    Args:
        checkpoint: what was exported.
        retriever: made of it.
    """
    made = hyper_parameters_of(checkpoint)
    base, pretrained = str(made.get("model", "")), made.get("pretrained", True)
    done = "fine-tuned" if pretrained else "trained"
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", base) is not None and not Path(base).exists()
    head: dict[str, Any] = {"library_name": "sentence-transformers", "pipeline_tag": "zero-shot-image-classification"}
    head |= {"tags": [retriever.backbone.model.config.model_type, "image-text-retrieval", "vse-lightning"]}
    head |= {"base_model": base} if on_hub and pretrained else {}
    return f"""---
{yaml.safe_dump(head, sort_keys=False)}---

# {Path(base).name or "Image-text retrieval"}, {done}

Embeds images and texts in one space, where the cosine is their score. {done.capitalize()} with vse_lightning.\
{_OF_MEAN if is_mean(checkpoint) else ""}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH OR NAME OF THIS FOLDER")
images, texts = model.encode([image]), model.encode(["a caption"])
scores = model.similarity(images, texts)
```

`transformers.AutoModel` and `AutoProcessor` open it too, and `vse_lightning.models.CLIPRetriever` goes on from it.

## Training

{_training(checkpoint)}

## Results

{_measured(checkpoint)}
"""


def _training(checkpoint: Path) -> str:
    path = of_run(checkpoint, "config.yaml")
    config = None if path is None else yaml.safe_load(path.read_text(encoding="utf-8"))
    if not (isinstance(config, Mapping) and {"model", "data"} <= config.keys()):  # somebody else's has other parts
        return _UNKNOWN
    model, data = (config[part].get("init_args") or {} for part in ("model", "data"))
    told = {name: model.get(name) for name in ("model", "relevance_loss", "freeze", "lora", "optimizer")}
    told |= {name: data.get(name) for name in ("source", "relevance", "eval_relevance", "eval_sources", "batch_size")}
    if is_mean(checkpoint):
        callbacks = (config.get("trainer") or {}).get("callbacks") or []
        told["weights"] = next((each for each in callbacks if "WeightInterpolation" in each["class_path"]), None)
    shown = {name: value for name, value in _public(told).items() if value != "none"}
    return f"```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```"


def _public(value: Any) -> Any:
    """Without what is not given, and of paths the name alone: the rest is nobody's business."""
    if isinstance(value, Mapping):
        return {name: _public(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_public(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _measured(checkpoint: Path) -> str:
    table = results_of(checkpoint)
    if not table:
        return _UNKNOWN if of_run(checkpoint, "config.yaml") is None else _UNTESTED
    columns = table_columns(table) or [""]
    lines = ["| metric | " + " | ".join(DIRECTIONS.get(column, "value") for column in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for label, cells in table.items():
        shown = [cells.get(column, cells.get("", "") if column == columns[0] else "") for column in columns]
        lines.append(f"| {label} | " + " | ".join(shown) + " |")
    return "\n".join([f"On the test split; {BASELINES_NOTE}.", "", *lines])
