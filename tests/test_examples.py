"""Every example runs from its comment line, is complete and short."""

import copy
import math
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jsonargparse import auto_cli
from lightning import LightningDataModule

from vse_lightning.words import words_of

pytest.importorskip("datasets")
pytest.importorskip("timm")
pytest.importorskip("scipy")

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OWN = {  # what is logged, and the row of the table that names it
    "own_loss": ({"train/triplet", "train/correlation", "val/rsum"}, "NDCG@10 (scene attributes)"),
    "own_metric": ({"val/i2t_err_at_10", "test/t2i_err_at_10"}, "ERR@10 (scene attributes)"),
}

# What SLURM's srun does with a job of two tasks on one node.
SRUN = """#!/usr/bin/env bash
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
  tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit; done
"""
SLURM_JOB = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "example",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
}


def run(command, cache, cwd, **variables):
    environment = {**os.environ, "VSE_LIGHTNING_CACHE": str(cache), "HF_HUB_OFFLINE": "1", **variables}
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_examples_are_short():
    assert all(len(example.read_text().splitlines()) <= 100 for example in EXAMPLES)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.stem not in OWN], ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    assert run([sys.executable, str(example)], tmp_path / "cache", tmp_path).strip()


def own_data(data: LightningDataModule) -> LightningDataModule:
    return data


def test_labels_of_your_own_in_yaml(monkeypatch):
    """Named like any other, fitted on the training captions, with labels in every direction."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    config = """
        class_path: vse_lightning.data.ImageTextDataModule
        init_args:
          source: {class_path: vse_lightning.data.ShapesSource, init_args: {num_images: 40, image_size: 32}}
          relevance: {class_path: own_labels.BM25Relevance, init_args: {b: 0.5}}
          eval_relevance:
            nouns: {class_path: own_labels.NounRelevance, init_args: {nouns: [star, circle]}}
            words: {class_path: own_labels.BM25Relevance}
          num_workers: 0
          batch_size: 32
    """
    data = auto_cli(own_data, args=[f"--data={config}"], as_positional=False, exit_on_error=False)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    own = batch["image_ids"][:, None] == batch["text_image_ids"]
    assert batch["relevance"][own].eq(1).all()
    graded = batch["relevance"][~own]
    assert 0.1 < graded.mean() < 0.9
    assert [table.label for table in data.eval_relevance_tables.values()] == ["2 nouns", "BM25"]
    assert data.eval_relevance["words"].words.vocabulary_.keys() <= set(words_of(" ".join(data.train_captions)))
    images, texts = data.source.split("val"), data.source.text_ids(data.source.split("val"))
    for table in data.eval_relevance_tables.values():
        twin = pickle.loads(pickle.dumps(copy.deepcopy(table)))
        assert torch.equal(twin.block(images, texts), table.block(images, texts))
        assert twin.between_texts().block(texts, texts).diagonal().eq(1).all()
        assert twin.between_images().block(images, images).diagonal().eq(1).all()


def test_bm25_is_that_of_its_equation(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    from own_labels import BM25Relevance

    captions = ["a dog runs", "a dog and a cat and a bird", "the cat sleeps", "a bird"]
    block = BM25Relevance().fit(captions, range(4)).table(captions, range(4)).block(range(4), range(4))
    documents = [words_of(caption) for caption in captions]

    def bm25(query, document):
        length = len(document) / (sum(map(len, documents)) / 4)
        frequency = {word: sum(word in other for other in documents) for word in query}
        return sum(
            math.log(1 + (4 - frequency[word] + 0.5) / (frequency[word] + 0.5))
            * document.count(word) * 2.2 / (document.count(word) + 1.2 * (0.25 + 0.75 * length))
            for word in query
        )  # fmt: skip

    for i, document in enumerate(documents):
        for j, query in enumerate(documents):
            expected = 1 if i == j else min(1, bm25(query, document) / bm25(query, query))
            assert block[i, j].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("example", OWN)
def test_own_parts_are_logged_and_in_the_table(example, tmp_path):
    logged, row = OWN[example]
    output = run([sys.executable, str(ROOT / "examples" / f"{example}.py")], tmp_path / "cache", tmp_path)
    (log,) = tmp_path.rglob("metrics.csv")
    assert logged <= set(log.read_text().splitlines()[0].split(","))
    assert re.search(rf"│ {re.escape(row)} +│ +-?\d\.\d+ \(\S+ to [\d.]+\) │ +-?\d\.\d+ \(\S+ to [\d.]+\) │", output)


def assert_two_processes_measured(output):
    assert set(re.findall(r"process (\d) of (\d): \d+ steps of 2 x 32 pairs", output)) == {("1", "2"), ("2", "2")}
    names = re.findall(r"^(\S+): -?\d+\.\d+$", output, re.MULTILINE)
    assert {"test/rsum", "test/i2t_ndcg_at_10", "test/t2i_coherent_score_at_10"} < set(names)


def test_several_nodes_under_torchrun(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    example = ROOT / "examples" / "several_nodes.py"
    command = [*launcher, str(example), "--sharded", "--chunk_size", "8"]  # the other test does without
    output = run(command, tmp_path / "cache", tmp_path, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    assert_two_processes_measured(output)


def test_several_nodes_under_slurm(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    job = {**SLURM_JOB, "MASTER_PORT": str(free_port()), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    output = run(["bash", "examples/several_nodes.sbatch"], tmp_path / "cache", ROOT, PATH=path, **job)
    assert_two_processes_measured(output)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
