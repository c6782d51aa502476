"""Time and memory of every loss, forward and backward in both directions, beside its plain formulation and its peers.

python examples/benchmarks/losses.py                            # a CPU with one thread; under ten minutes
python examples/benchmarks/losses.py --device cuda              # a GPU, and the share of a CLIP training step
python examples/benchmarks/losses.py --show FILE.json ...       # table (.md) and picture (.svg) beside each file
python examples/benchmarks/losses.py --quick --output /tmp      # whether it runs

Peers (pytorch-metric-learning, sentence-transformers) are measured where they are installed. Memory is what a call adds
to scores and relevance at its peak; on a CPU that of a process of its own, by the kernel of Linux. A formulation that
took longer than --limit is not measured on larger batches, nor is one whose tables would not fit.
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from loss_formulations import CASES, installed_peers, of_both_directions
from loss_step import training_steps
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vse_lightning import RetrievalTargets

RESULTS = Path(__file__).parent / "results" / "losses"
PACKAGES = ("torch", "numpy", "transformers", "pytorch-metric-learning", "sentence-transformers")
PEERS_IN_PYTHON = ("pytorch_metric_learning.losses", "sentence_transformers.losses")
SECTIONS = ("slope", "losses", "step")  # the last one wants a GPU, or --quick
WIDTH = 512  # of embeddings


class Work(NamedTuple):
    """One formulation of one loss: ``ours``, ``ours, bf16``, ``plain`` or the name of a peer."""

    loss: str
    formulation: str
    batch: int
    device: str

    def prepared(self) -> Callable[[], None]:
        """Forward and backward."""
        leaves, labels, function = self._of_peer() if self.loss in installed_peers() else self._of_case()

        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            function(*leaves, *labels).backward()

        return run

    def _of_case(self) -> tuple[list[Tensor], list[Tensor], Callable[..., Tensor]]:
        """Scores spread like cosines, and relevance that is mostly low."""
        case, size = CASES[self.loss], (self.batch, self.batch)
        generator = torch.Generator(self.device).manual_seed(0)
        scores = 0.1 * torch.randn(size, generator=generator, device=self.device)
        relevance = torch.rand(size, generator=generator, device=self.device).pow_(3).fill_diagonal_(1)
        if self.formulation == "ours, bf16":
            scores = scores.bfloat16()
        plain = self.formulation == "plain"
        function = of_both_directions(case.plain) if plain else case.ours().to(self.device)
        return [scores.requires_grad_()], [relevance], function

    def _of_peer(self) -> tuple[list[Tensor], list[Tensor], Callable[..., Tensor]]:
        peer = installed_peers()[self.loss]
        generator = torch.Generator(self.device).manual_seed(0)
        embeds = torch.randn(2, self.batch, WIDTH, generator=generator, device=self.device)
        leaves = [matrix.clone().requires_grad_() for matrix in embeds]
        if self.formulation != "ours":
            return leaves, [], peer.theirs()
        loss, places = peer.ours().to(self.device), torch.arange(self.batch)
        labels = torch.eye(self.batch, device=self.device) if loss.needs_relevance else None
        targets = RetrievalTargets(places, places, relevance=labels)
        return leaves, [], lambda images, texts: loss.from_embeddings(images, texts, targets)

    def measured(self) -> tuple[float | None, float]:
        """Bytes at the peak of a run, less those held before it (``None`` where the system does not tell); seconds.

        Of up to ten runs the best counts, of fewer where they take long.
        """
        self._replace(batch=8).prepared()()  # what is loaded on first use is not counted
        run, peak = self.prepared(), Peak(self.device)
        best = spent = elapsed(run, self.device)
        extra = peak.risen()
        for _ in range(9):
            if spent > 0.2:
                break
            seconds = elapsed(run, self.device)
            best, spent = min(best, seconds), spent + seconds
        return extra, best

    def fits(self) -> bool:
        """Whether its tables do: the cubic ones hold up to eight at a time."""
        cubic = CASES[self.loss].cubic if self.loss in CASES else installed_peers()[self.loss].cubic
        if self.formulation.startswith("ours") or not cubic:
            return True
        if self.device == "cuda":
            torch.cuda.empty_cache()
            free = torch.cuda.mem_get_info()[0]
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return 8 * 4 * self.batch**3 * (1 if self.loss in CASES else 8) < free


class Peak:
    """Memory in use at its highest since this was made, less what was in use then."""

    def __init__(self, device: str) -> None:
        self.device, mark = device, Path("/proc/self/clear_refs")
        self.known = device == "cuda" or mark.exists()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        elif self.known:
            mark.write_text("5")  # the high-water mark starts again
            self.before = resident("VmRSS")

    def risen(self) -> float | None:
        if not self.known:
            return None
        return (torch.cuda.max_memory_allocated() if self.device == "cuda" else resident("VmHWM")) - self.before


def elapsed(run: Callable[[], object], device: str) -> float:
    """Seconds until a GPU has done the work, or that the threads of a CPU spent on it, however busy the machine."""
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if device == "cuda" else (lambda: None, time.process_time)
    wait()
    start = clock()
    run()
    wait()
    return clock() - start


def resident(field: str) -> int:
    """Bytes of this process in memory, now or at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def formulations(device: str) -> Iterator[tuple[str, str]]:
    for loss in CASES:
        for formulation in ("ours", "plain", *["ours, bf16"] * (device == "cuda")):
            yield loss, formulation
    for name, peer in installed_peers().items():
        yield name, "ours"
        yield name, peer.library


def measure(device: str, batches: list[int], limit: float) -> Iterator[dict[str, Any]]:
    """A row per formulation and batch; on a CPU each in a process of its own: freed memory must not serve the next."""
    server = get_context("forkserver")
    server.set_forkserver_preload(["torch", "vse_lightning.losses", *PEERS_IN_PYTHON])
    with ProcessPoolExecutor(1, server, torch.set_num_threads, (1,), max_tasks_per_child=1) as pool:
        for loss, formulation in track(
            list(formulations(device)), device, transient=True, console=Console(stderr=True)
        ):
            for batch in batches:
                work = Work(loss, formulation, batch, device)
                if not work.fits():
                    break
                try:
                    extra, seconds = work.measured() if device == "cuda" else pool.submit(work.measured).result()
                except torch.OutOfMemoryError:
                    break
                yield {**work._asdict(), "seconds": seconds, "extra_bytes": extra}
                if seconds > limit:
                    break


def slope(device: str, lengths: list[int]) -> Iterator[dict[str, Any]]:
    """Time per query against the length of its list, of the losses that rank whole lists."""
    for name in ("Smooth-NDCG", "Hierarchical AP", "Kendall"):
        loss = CASES[name].ours().to(device)
        for candidates in lengths:
            scores = 0.1 * torch.randn(64, candidates, device=device)
            relevance, positives = torch.rand_like(scores).pow_(3), torch.zeros_like(scores, dtype=torch.bool)
            scores.requires_grad_()

            def run(loss: Any = loss, lists: tuple[Tensor, ...] = (scores, relevance, positives)) -> None:
                ((total, _),) = loss.query_terms(*lists).values()
                total.sum().backward()

            run()
            seconds = min(elapsed(run, device) for _ in range(3)) / 64
            yield {"loss": name, "candidates": candidates, "seconds_per_query": seconds}


def circumstances(device: str) -> dict[str, Any]:
    """Machine and versions."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    gpu = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if device == "cuda" else {}
    machine = {"cpu": models[0] if models else platform.machine(), "threads": torch.get_num_threads(), **gpu}
    return {"date": time.strftime("%Y-%m-%d"), "machine": machine, "versions": versions}


def write(results: dict[str, Any], file: Path) -> None:
    """As JSON, a row of a section on a line."""
    text = re.sub(r"\n {3}|\n {2}(?=})", " ", json.dumps(results, indent=1))
    file.write_text(f"{text}\n")


def batches_of(device: str, quick: bool) -> list[int]:
    return [16, 32] if quick else [2**power for power in range(7, 15 if device == "cuda" else 13)]


def main() -> None:
    """Measure on one device, or show what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file (default: %(default)s)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="measure these anew")
    parser.add_argument("--limit", type=float, default=0.5, help="seconds of the longest run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny batches and towers, on any machine")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="measure nothing, show these files")
    options = parser.parse_args()
    if options.show:
        from loss_pictures import show

        for file in options.show:
            show(file)
        return
    torch.set_num_threads(1)
    file = options.output / f"{options.device}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(file.read_text()) if file.exists() else {}
    results |= circumstances(options.device)
    batches = batches_of(options.device, options.quick)
    lengths = batches if options.quick else [2**power for power in range(8, 15)]
    makers = {
        "slope": lambda: slope(options.device, lengths),
        "losses": lambda: measure(options.device, batches, options.limit),
        "step": lambda: training_steps(options.device, options.quick),
    }
    for section in options.sections:
        if section == "step" and options.device == "cpu" and not options.quick:
            continue
        results[section] = []
        for row in makers[section]():
            results[section].append(row)
            write(results, file)  # a time limit loses only the rest
    print(file)


if __name__ == "__main__":
    main()
