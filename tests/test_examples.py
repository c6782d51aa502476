"""Every example runs from its comment line, is complete and short."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("datasets")
pytest.importorskip("timm")
pytest.importorskip("scipy")

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    assert len(example.read_text().splitlines()) <= 100
    assert run([sys.executable, str(example)], tmp_path / "cache", tmp_path).strip()


def assert_two_processes_measured(output):
    assert set(re.findall(r"process (\d) of (\d): \d+ steps of 2 x 32 pairs", output)) == {("1", "2"), ("2", "2")}
    names = re.findall(r"^(\S+): -?\d+\.\d+$", output, re.MULTILINE)
    assert {"test/rsum", "test/i2t_ndcg_at_10", "test/t2i_coherent_score_at_10"} < set(names)


def test_several_nodes_under_torchrun(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    example = ROOT / "examples" / "several_nodes.py"
    output = run([*launcher, str(example)], tmp_path / "cache", tmp_path, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
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
