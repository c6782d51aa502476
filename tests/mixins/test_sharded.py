"""Two processes of a Trainer against one, with DDP and FSDP2 (sharded towers), whole batches and in chunks."""

from pathlib import Path

import pytest
import torch
from worker_processes import assert_same, load, result_of

WORKER = Path(__file__).with_name("sharded_worker.py")


@pytest.mark.filterwarnings("ignore")
def test_weights_equal_those_of_one_process(tmp_path):
    worker = load(WORKER)
    expected = worker.weights_after_training(0, 1)
    assert_same(expected, dict.fromkeys(expected, expected["ddp, chunks of None"]))
    begun = worker.Mixed(relevance_loss=worker.ContrastiveLoss())
    assert not torch.allclose(expected["ddp, chunks of None"]["image.0.weight"], begun.image[0].weight, atol=1e-3)
    assert_same(result_of(WORKER, 2, tmp_path), expected)
