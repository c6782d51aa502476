"""What labels and loss cost in a training step of configs/flickr8k.yaml, for every shipped loss.

VSE_DATA=... python examples/benchmarks/training_step.py               # needs the Flickr8k files of the README
VSE_DATA=... python examples/benchmarks/training_step.py --steps 100 --threads 1

Each step looks the relevance of its pairs up, embeds them, computes scores and loss with the gradient of the embeddings
(timed together as "loss"), passes it back through the encoders and updates the weights. Loading features and tokenising
captions, which the loaders' workers do, is not counted: it would make the shares smaller.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vse_lightning.cli.training import RetrievalCLI

CONFIGS = Path(__file__).parents[2] / "configs"
PHASES = ("labels", "embed", "loss", "backward", "update")


class Parts(RetrievalCLI):
    """Model and data of a config, and nothing run."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def make_parts(loss: str):
    """The model, ready to train, the data module and the optimizer of one loss."""
    configs = ["--config", str(CONFIGS / "flickr8k.yaml"), "--config", str(CONFIGS / "loss" / f"{loss}.yaml")]
    parts = Parts(["fit", *configs, "--data.init_args.num_workers=0", "--trainer.accelerator=cpu"])
    parts.datamodule.setup("fit")
    parts.model.fit_text(parts.datamodule.train_captions)
    parts.datamodule.text = parts.model.text_transform()
    return parts.model.train(), parts.datamodule, parts.model.make_optimizer()


def measure(loss: str, steps: int) -> dict[str, float]:
    """Median seconds of each phase of a step."""
    model, datamodule, optimizer = make_parts(loss)
    table, batches = datamodule.relevance_table, iter(datamodule.train_dataloader())
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for _ in track(range(steps), loss, console=Console(stderr=True)):
        batch = next(batches)
        times = [perf_counter()]
        relevance = table.block(batch["image_ids"], batch["text_ids"])
        times.append(perf_counter())
        embeds = model.retrieval_embeds(batch)
        times.append(perf_counter())
        leaves = [embedding.detach().requires_grad_() for embedding in embeds]
        positives = batch["image_ids"][:, None] == batch["text_image_ids"]
        model.relevance_loss(model.retrieval_similarity(*leaves), relevance, positives).backward()
        times.append(perf_counter())
        torch.autograd.backward(embeds, [leaf.grad for leaf in leaves])
        times.append(perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        times.append(perf_counter())
        for phase, start, end in zip(PHASES, times[:-1], times[1:], strict=True):
            seconds[phase].append(end - start)
    return {phase: median(of_phase) for phase, of_phase in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table("loss", *(f"{phase} ms" for phase in PHASES), "step ms", "labels + loss")
    for column in table.columns[1:]:
        column.justify = "right"
    for loss in sorted(path.stem for path in (CONFIGS / "loss").glob("*.yaml")):
        seconds = measure(loss, options.steps)
        step = sum(seconds.values())
        cells = [f"{1e3 * of_phase:.1f}" for of_phase in (*seconds.values(), step)]
        table.add_row(loss, *cells, f"{(seconds['labels'] + seconds['loss']) / step:.1%}")
    table.title = (
        f"batch 128, CPU, {options.threads} threads, torch {torch.__version__}, median of {options.steps} steps"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
