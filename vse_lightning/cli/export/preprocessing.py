"""What a deployer must do to pictures and captions before a program takes them, as plain values and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vse_lightning.models.preprocessing.captions import FIRST_WORD, PADDING, UNKNOWN, SubwordTokenizer, WordNumberer
from vse_lightning.models.preprocessing.pictures import PictureTransform, ProcessorTransform
from vse_lightning.words import tokenizer_name

TOKENIZER = "tokenizer.json"
VOCABULARY = "vocabulary.json"
WORDS = (
    "vse_lightning.words.words_of: lower-cased runs of letters, digits, apostrophes and combining marks after NFC; "
    "each character of a script without spaces; each emoji"
)


def write_preprocessing(transform: Any, folder: Path) -> dict[str, Any]:
    """Describe a transform of pictures or captions.

    Args:
        transform: of an encoder; of others than ours there is no more than the text of their ``repr``.
        folder: gets ``tokenizer.json`` (as ``tokenizers.Tokenizer.from_file`` reads it) or ``vocabulary.json``.

    Returns:
        Plain values for a JSON file.
    """
    if transform is None:
        return {"kind": "features"}
    if isinstance(transform, PictureTransform):
        steps = [str(step) for step in getattr(transform.transform, "transforms", ())]
        return {"kind": "timm", **transform.settings, "steps": steps}
    if isinstance(transform, ProcessorTransform):
        return {"kind": "transformers", **json.loads(transform.text())}
    if isinstance(transform, SubwordTokenizer):
        transform.tokenizer.save(str(folder / TOKENIZER))
        facts = {name: value for name, value in transform.state().items() if name != "tokenizer_json"}
        return {"kind": "tokenizers", "file": TOKENIZER, **facts}
    if isinstance(transform, WordNumberer):
        words = json.dumps(list(transform.numbers), ensure_ascii=False, indent=0)
        (folder / VOCABULARY).write_text(words + "\n", encoding="utf-8")
        return {
            "kind": "words",
            "file": VOCABULARY,
            "words": WORDS if transform.tokenizer is None else tokenizer_name(transform.tokenizer),
            "number_of_first_word": FIRST_WORD,
            "number_of_unknown_words": UNKNOWN,
            "padding_id": PADDING,
            "padding_side": "right",
            "max_length": transform.max_length,
        }
    return {"kind": "custom", "transform": repr(transform)}
