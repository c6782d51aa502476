import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch

from vse_lightning.models.checkpoints.restoring import is_restoring, restoring
from vse_lightning.models.encoders.gru_text import GRUTextEncoder
from vse_lightning.models.encoders.transformer_text import TransformerTextEncoder

# Runs in a fresh process, in another folder, without what the encoders were made from; any connection is an error.
RESTORE = """
import socket, sys
import torch
from vse_lightning.models.encoders.gru_text import GRUTextEncoder
from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.encoders.transformer_text import TransformerTextEncoder

def refuse(*args, **kwargs):
    raise RuntimeError("the network was touched")

socket.socket.connect = refuse
saved = torch.load(sys.argv[1], weights_only=True)
with restoring():
    encoders = {
        "transformer": TransformerTextEncoder(saved["folder"], embed_dim=8, pooling="gpo"),
        "gru": GRUTextEncoder(word_dim=4, embed_dim=8, min_count=1, vectors=saved["vectors"]),
    }
for name, encoder in encoders.items():
    encoder.load_state_dict(saved[name])
    torch.testing.assert_close(encoder.eval()(encoder.transform()(saved["captions"])), saved[name + "_embeds"])
print("restored", *encoders)
"""


def fail_while_restoring():
    with restoring():
        assert is_restoring()
        raise KeyError


def test_is_off_outside_and_after_an_error():
    assert not is_restoring()
    with pytest.raises(KeyError):
        fail_while_restoring()
    assert not is_restoring()


def test_does_not_reach_other_threads():
    seen = []
    with restoring():
        thread = threading.Thread(target=lambda: seen.append(is_restoring()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_checkpoint_needs_neither_network_nor_the_original_files(tiny_bert, tmp_path, captions):
    folder = tmp_path / "first place" / "bert"

    shutil.copytree(tiny_bert, folder)
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("dog 1 2 3 4\n")
    encoders = {
        "transformer": TransformerTextEncoder(str(folder), embed_dim=8, pooling="gpo"),
        "gru": GRUTextEncoder(word_dim=4, embed_dim=8, min_count=1, vectors=str(vectors)),
    }
    encoders["gru"].fit(captions)
    saved = {"folder": str(folder), "vectors": str(vectors), "captions": captions}
    with torch.no_grad():
        for name, encoder in encoders.items():
            saved[name + "_embeds"] = encoder.eval()(encoder.transform()(captions))
            saved[name] = encoder.state_dict()
    torch.save(saved, tmp_path / "saved.pt")
    folder.rename(tmp_path / "elsewhere")
    vectors.unlink()

    result = subprocess.run(
        [sys.executable, "-c", RESTORE, str(tmp_path / "saved.pt")],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "restored transformer gru", result.stderr
