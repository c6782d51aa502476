"""A folder of files that somebody could give, none of which is right, and the command as a shell runs it."""

import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vse_lightning.cli import main

RAW = (
    "Traceback",
    "usage:",
    "KeyError",
    "IndexError",
    "AttributeError",
    "SafetensorError",
    "Misconfiguration",
    "Errno",
)
RAW += ("RecursionError", "NoneType", "Namespace(", "codec", "Weights only", "\x1b")
DOG = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}
SPLIT_FILES = {
    "no_split": {"filename": "a.jpg", "sentences": []},
    "split_none": DOG | {"split": None},
    "blank": DOG | {"sentences": [{"raw": " "}]},
    "no_sentence": DOG | {"sentences": []},
    "raw_number": DOG | {"sentences": [{"raw": 3}]},
    "words": DOG | {"sentences": "a dog"},
    "no_object": [1],
    "name": DOG | {"filename": 3},
    "imgid": DOG | {"imgid": "x"},
    "outside": DOG | {"filename": "../a.jpg"},
    "half": DOG | {"sentences": [{"raw": "a \ud83d"}]},
    "right": DOG,
}
TEXTS = {
    "empty.txt": "",
    "blank.txt": "a dog\n\na cat\na bus\n",
    "three.txt": "a dog\na cat\na bus\n",
    "number.json": "3",
    "null.json": "null",
    "cut.json": '{"images": [1,',
    "deep.json": "[" * 100_000,
    "empty.json": "",
    "ids.json": '[1, 1, 2, "x"]',
    "ids_null.json": "[1, 1, 2, null]",
    "ids_object.json": '{"a": 1}',
    "ragged.csv": "image,caption\na.jpg,a dog\nb.jpg\n",
    "twice.csv": "image,image\na,b\n",
    "head.csv": "image,caption\n",
    "quote.csv": 'image,caption\n"a.jpg,a dog\n',
    "no_head.csv": "a dog runs\n",
    "no_caption.csv": "image,caption\na.jpg,\n",
    "cut.jsonl": '{"image": "a.jpg", "caption": "a dog"}\n{cut\n',
    "lists.jsonl": "[1]\n[2]\n",
    "rating.csv": "image,text,rating\n0,0,high\n0,1,2\n",
    "rated_nan.csv": "image,text,rating\n0,0,nan\n0,1,2\n",
    "rated_other.csv": "image,text,rating\n99,0,1\n0,1,2\n",
    "no_column.csv": "image,words,rating\n0,0,1\n",
    "text.npy": "hello",
    "cut.yaml": "a: [1,",
    "tab.yaml": "a:\n\tb: 1\n",
    "list.yaml": "- 1\n",
    "code.yaml": 'a: !!python/object/apply:os.system ["true"]\n',
    "alias.yaml": "a: *b\n",
    "key.yaml": "101: 3\n",
    "unknown.yaml": "modle: 3\n",
    "text.ckpt": "hello",
    "empty.ckpt": "",
    "text.zip": "hello",
    "text.index": "hello",
    "text.safetensors": "hello, this is no such file",
    "broken.parquet": "PAR1 and no more",
    "vectors.txt": "dog 0.1 nan\n",
}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The folder."""
    folder = tmp_path_factory.mktemp("wrong")
    draw = np.random.default_rng(0)
    floats = lambda *shape: draw.normal(size=shape).astype("float32")  # noqa: E731
    for name, content in TEXTS.items():
        (folder / name).write_text(content, encoding="utf-8")
    for name, entry in SPLIT_FILES.items():
        (folder / f"{name}.json").write_text(json.dumps({"images": [entry]}))
    (folder / "twice.json").write_text(json.dumps({"images": [DOG, DOG]}))
    (folder / "latin.txt").write_bytes("café\n".encode("latin-1") * 4)
    (folder / "latin.csv").write_bytes("image,caption\na.jpg,café\n".encode("latin-1"))
    (folder / "latin.json").write_bytes('{"images": ["é"]}'.encode("latin-1"))
    (folder / "utf16.csv").write_bytes("image,caption\na.jpg,a dog\n".encode("utf-16"))
    (folder / "binary.yaml").write_bytes(bytes([0, 1, 2, 255]))
    arrays = {
        "right": floats(2, 4),
        "nan": np.full((2, 4), np.nan, "float32"),
        "vector": floats(4),
        "none": floats(0, 4),
        "complex": np.ones((2, 4), complex),
        "words": np.array(["a", "b"]),
        "whole": np.ones((2, 4), int),
        "objects": np.array([{}, 1], dtype=object),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "right.npy").read_bytes()[:100])
    (folder / "empty.npy").touch()
    pair = {"image_embeds": floats(2, 3), "text_embeds": floats(4, 3)}
    np.savez(folder / "pair.npz", **pair)
    np.savez(folder / "widths.npz", **pair | {"text_embeds": floats(4, 5)})
    np.savez(folder / "nan.npz", **pair | {"image_embeds": np.full((2, 3), np.nan, "float32")})
    np.savez(folder / "keys.npz", a=floats(2, 3))
    (folder / "cut.npz").write_bytes((folder / "pair.npz").read_bytes()[:200])
    torch.save({"a": 1}, folder / "numbers.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "module.pt")
    (folder / "pickled.pt").write_bytes(pickle.dumps({"a": np.ones(3)}))
    torch.save(torch.nn.Linear(2, 2), folder / "module.ckpt")
    torch.save(torch.ones(3), folder / "tensor.ckpt")
    torch.save({"weights": {}}, folder / "other.ckpt")
    torch.save({"state_dict": {}}, folder / "bare.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": 3}, folder / "parameters.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": "os.system"}}, folder / "code.ckpt")
    missing = {"_class_path": "vse_lightning.models.Nothing"}
    torch.save({"state_dict": {}, "hyper_parameters": missing}, folder / "missing.ckpt")
    (folder / "cut.ckpt").write_bytes((folder / "bare.ckpt").read_bytes()[:300])
    save_file({"a": torch.ones(3)}, folder / "other.index")
    for name, members in {"without.zip": ["x.jpg"], "pictures.zip": ["a.jpg"]}.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in members:
                archive.writestr(member, "no picture")
    (folder / "cut.zip").write_bytes((folder / "pictures.zip").read_bytes()[:60])
    for name in ("empty", "folder.npy", "folder.ckpt", "pictures", "pipes", "embeddings"):
        (folder / name).mkdir()
    (folder / "pictures" / "a.jpg").write_text("no picture")
    (folder / "embeddings" / "rank0of2.json").write_text("{}")
    os.mkfifo(folder / "pipe.json")
    os.mkfifo(folder / "pipe.npy")
    os.mkfifo(folder / "pipes" / "a.jpg")
    precomp = {"short": ("a\nb\nc\n", floats(2, 4)), "gap": ("a\n\nb\nc\n", floats(2, 4))}
    precomp |= {"holes": ("a\nb\n", arrays["nan"]), "ints": ("a\nb\n", arrays["whole"]), "flat": ("a\nb\n", floats(4))}
    for name, (captions, features) in precomp.items():
        (folder / name).mkdir()
        (folder / name / "train_caps.txt").write_text(captions)
        np.save(folder / name / "train_ims.npy", features)
    (folder / "lone").mkdir()
    (folder / "lone" / "train_caps.txt").write_text("a\n")
    return folder


@pytest.fixture
def said(files, monkeypatch, capsys):
    """What the command prints of something wrong: one line after its name, with exit code 2, and nothing raw."""
    monkeypatch.chdir(files)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["vse-lightning", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr().err
        message = printed[printed.index("vse-lightning: ") :]
        assert caught.value.code == 2
        assert len(message.splitlines()) == 1
        assert not [word for word in RAW if word in message]
        return message.removeprefix("vse-lightning: ").rstrip()

    return run
