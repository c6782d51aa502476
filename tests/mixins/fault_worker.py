"""Two processes that train together, for each fault anew: how they end, and what they say, as JSON.

python fault_worker.py OUTPUT_FILE. Processes are forked, since importing takes longer than training.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from vse_lightning import RetrievalMetrics, TripletLoss
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin, RetrievalTargets

PATIENCE = 60
FAULTS = {
    "none": {},
    "fewer batches of validation": {"validation": (8, 4)},
    "fewer batches": {"training": (16, 12)},
    "fewer batches and buffers": {"training": (16, 12), "buffers": True},
    "fewer batches of a stream": {"training": (16, 12), "stream": True, "buffers": True},
    "no fault of a stream": {"stream": True},
    "no fault of a stream of validation": {"stream": True, "stage": "validation", "lenient": True},
    "no batch": {"training": (16, 0)},
    "no batch of validation": {"validation": (8, 0)},
    "an error in the second": {"fails": (1, "error")},
    "an error in the first": {"fails": (0, "error")},
    "a kill": {"fails": (1, "kill")},
}


class Stream(IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


class Host(LightningModule):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.image, self.text = torch.nn.Linear(5, 4), torch.nn.Linear(5, 4)
        self.norm = torch.nn.BatchNorm1d(4) if fault.get("buffers") else torch.nn.Identity()
        lenient = fault.get("lenient") or 0 in (*self.rows("training"), *self.rows("validation"))
        self.allow_zero_length_dataloader_with_multiple_devices = bool(lenient)

    def rows(self, stage):
        return self.fault.get(stage, {"training": (16, 16), "validation": (8, 8)}[stage])

    def loader(self, stage):
        count = self.rows(stage)[int(os.environ["LOCAL_RANK"])]
        rows = [{"x": torch.randn(5), "image_ids": row} for row in range(count)]
        streams = self.fault.get("stream") and stage == self.fault.get("stage", "training")
        return DataLoader(Stream(rows) if streams else rows, batch_size=4)

    def train_dataloader(self):
        return self.loader("training")

    def val_dataloader(self):
        return self.loader("validation")

    def training_step(self, batch, batch_idx):
        rank, way = self.fault.get("fails", (None, None))
        if rank == self.global_rank and batch_idx == 2:
            if way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyError("the cause")
        return self.image(batch["x"]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def retrieval_embeds(self, batch):
        return self.norm(self.image(batch["x"])), self.text(batch["x"])

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch["image_ids"], batch["image_ids"], text_ids=batch["image_ids"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Mixed(RelevanceLossMixin, RetrievalMetricsMixin, Host):
    pass


def train(fault):
    model = Mixed(fault, relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics((1,), (), ()))
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False, max_epochs=2,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model)


def start(fault, rank, port, output):
    """A process that ends with 0, with 1 and a traceback, or as something kills it."""
    process = os.fork()
    if process == 0:
        known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": rank}
        os.environ.update({name: str(value) for name, value in known.items()})
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 2)
        try:
            train(fault)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return process


def ends(fault, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outputs = [Path(folder) / str(rank) for rank in range(2)]
    processes = {start(fault, rank, port, output): output for rank, output in enumerate(outputs)}
    codes, until = {}, time.monotonic() + PATIENCE
    while len(codes) < len(processes):
        for process in processes.keys() - codes.keys():
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                codes[process] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    said = [output.read_text(errors="replace") for output in outputs]
    for output in outputs:
        output.unlink()
    return [{"code": codes[process], "said": text} for process, text in zip(processes, said, strict=True)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: ends(fault, scratch) for name, fault in FAULTS.items()}
    Path(sys.argv[1]).write_text(json.dumps(found))
