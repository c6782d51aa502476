"""Time and extra memory of every loss, forward and backward in both directions, beside its plain formulation.

python examples/benchmarks/losses.py                         # the CPU, and the GPU if there is one; some minutes
python examples/benchmarks/losses.py --sizes 256 --threads 1

The plain formulations are the equations of the papers written down with broadcasting, for one caption per image; for
Smooth-NDCG and Kendall that is a table of (queries, candidates, candidates), left out where it would not fit. Memory is
what a call adds to scores and relevance at its peak; on a CPU that of a process of its own, by the kernel of Linux.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vse_lightning.losses import ContrastiveLoss, KendallLoss, LadderLoss, LSEHLoss, SmoothNDCGLoss, TripletLoss

Loss = Callable[[Tensor, Tensor], Tensor]


def diagonal(scores: Tensor) -> Tensor:
    """The positives of pairs."""
    return torch.eye(len(scores), dtype=torch.bool, device=scores.device)


def hinges(scores: Tensor, margin: float | Tensor = 0.2) -> Tensor:
    """Of each query's negatives."""
    return (margin + scores - scores.diag()[:, None]).clamp(min=0).masked_fill(diagonal(scores), 0)


def plain_soft(scores: Tensor, relevance: Tensor) -> Tensor:
    """Soft maximum over the negatives."""
    gaps = (0.2 + scores - scores.diag()[:, None]).masked_fill(diagonal(scores), -torch.inf)
    return (0.01 * torch.logsumexp(gaps / 0.01, 1)).clamp(min=0).mean()


def plain_ladder(scores: Tensor, relevance: Tensor) -> Tensor:
    """Hardest negative, and one rung."""
    above = relevance >= 0.63
    lowest, highest = scores.masked_fill(~above, torch.inf).amin(1), scores.masked_fill(above, -torch.inf).amax(1)
    return hinges(scores).amax(1).mean() + 0.25 * (0.01 - lowest + highest).clamp(min=0).mean()


def plain_smooth_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    """A sigmoid for each pair of candidates of each query."""
    above = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / 0.01)
    ranks = 1 + (above * ~diagonal(scores)).sum(2)
    gains = 2**relevance - 1
    discounts = torch.log2(torch.arange(len(scores), device=scores.device) + 2.0)
    ideal = (gains.sort(1, descending=True).values / discounts).sum(1)
    return (1 - (gains / torch.log2(1 + ranks)).sum(1) / ideal).mean()


def plain_kendall(scores: Tensor, relevance: Tensor) -> Tensor:
    """A hinge for each pair of candidates of each query."""
    ordered = relevance[:, :, None] - relevance[:, None, :] > 0.3
    discord = (scores[:, None, :] - scores[:, :, None]).clamp(min=0)
    return (discord * ordered).sum() / ordered.sum()


def plain_windows(scores: Tensor, relevance: Tensor) -> Tensor:
    """Every window written out."""
    order = relevance.argsort(dim=1, descending=True)
    windows, labels = scores.gather(1, order).unfold(1, 8, 1), relevance.gather(1, order).unfold(1, 8, 1)
    apart = labels[:, :-8].amin(2) - labels[:, 8:].amax(2) > 0.3
    discord = (windows[:, 8:].amax(2) - windows[:, :-8].amin(2)).clamp(min=0)
    return (discord * apart).sum() / apart.sum().clamp(min=1)


class Case(NamedTuple):
    """Maker of a loss, its plain formulation in one direction, and whether that one is cubic."""

    ours: Callable[[], nn.Module]
    plain: Loss
    cubic: bool = False


CASES = {
    "Triplet, hardest": Case(TripletLoss, lambda s, r: hinges(s).amax(1).mean()),
    "Triplet, all": Case(lambda: TripletLoss(mining="all"), lambda s, r: hinges(s).sum(1).mean() / (len(s) - 1)),
    "Triplet, soft": Case(lambda: TripletLoss(mining="soft"), plain_soft),
    "Ladder": Case(LadderLoss, plain_ladder),
    "LSEH": Case(LSEHLoss, lambda s, r: hinges(s, 0.185 + 0.025 * r).amax(1).mean()),
    "Contrastive": Case(ContrastiveLoss, lambda s, r: cross_entropy(20 * s, torch.arange(len(s), device=s.device))),
    "Kendall, window 8": Case(lambda: KendallLoss(window=8), plain_windows),
    "Kendall": Case(KendallLoss, plain_kendall, cubic=True),
    "Smooth-NDCG": Case(SmoothNDCGLoss, plain_smooth_ndcg, cubic=True),
}


def formulation(name: str, plain: bool, device: str) -> Loss:
    """Our loss or the plain one, in both directions."""
    if not plain:
        return CASES[name].ours().to(device)
    one_way = CASES[name].plain
    return lambda scores, relevance: (one_way(scores, relevance) + one_way(scores.T, relevance.T)) / 2


def batch(size: int, device: str) -> tuple[Tensor, Tensor]:
    """Scores spread like cosines, and relevance that is mostly low."""
    generator = torch.Generator().manual_seed(0)
    scores = 0.1 * torch.randn(size, size, generator=generator)
    relevance = torch.rand(size, size, generator=generator) ** 3
    return scores.to(device), relevance.fill_diagonal_(1).to(device)


def run(loss: Loss, scores: Tensor, relevance: Tensor) -> None:
    """Forward and backward."""
    loss(scores.detach().requires_grad_(), relevance).backward()


def seconds(name: str, variants: list[bool], size: int, device: str, threads: int) -> list[float]:
    """Best time of each variant, plain or not; in turns, so that a busy machine slows all of them."""
    torch.set_num_threads(threads)
    losses, data = [formulation(name, plain, device) for plain in variants], batch(size, device)
    best = [torch.inf] * len(losses)
    for turn in range(10):
        for place, loss in enumerate(losses):
            if turn < 3 or best[place] < 0.2:
                best[place] = min(best[place], elapsed(lambda loss=loss: run(loss, *data), device))
    return best


def elapsed(work: Callable[[], None], device: str) -> float:
    """Seconds until the device has done the work."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def memory(name: str, plain: bool, size: int, device: str, threads: int) -> float:
    """Bytes at the peak of a run, less those held before it; NaN where the system does not tell."""
    torch.set_num_threads(threads)
    loss, data = formulation(name, plain, device), batch(size, device)
    run(loss, *batch(8, device))  # what is loaded on first use is not counted
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, *data)
        return torch.cuda.max_memory_allocated() - before
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        return torch.nan
    peak.write_text("5")  # the high-water mark starts again
    before = resident("VmRSS")
    run(loss, *data)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Bytes of this process in memory, now or at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def fits(name: str, size: int, device: str) -> bool:
    """Whether the plain formulation does: the cubic ones hold up to eight tables at a time."""
    if device == "cuda":
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info()[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return not CASES[name].cubic or 8 * 4 * size**3 < free


def clip_step(size: int) -> float:
    """Seconds of a training step of two towers as large as those of CLIP ViT-B/32, in bfloat16, without a loss."""
    total = 0.0
    for width, length in ((768, 50), (512, 77)):
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        tower = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False).cuda()
        tokens = torch.randn(size, length, width, device="cuda")

        def step(tower: nn.Module = tower, tokens: Tensor = tokens) -> None:
            with torch.autocast("cuda", torch.bfloat16):
                tower(tokens).float().mean().backward()

        total += min(elapsed(step, "cuda") for _ in range(5))
    return total


def show(device: str, sizes: list[int], threads: int, call: Callable[..., Any]) -> Table:
    """One line per loss and size; ``call`` runs a measurement where it belongs."""
    name_of_device = f"CPU, {threads} threads" if device == "cpu" else torch.cuda.get_device_name()
    steps = {size: clip_step(size) for size in sizes} if device == "cuda" else {}
    table = Table("loss", title=f"{name_of_device}, torch {torch.__version__}", min_width=100)
    for column in ("batch", "ms", "plain ms", "faster", "MiB", "plain MiB", *["CLIP step"] * bool(steps)):
        table.add_column(column, justify="right")
    for name in track(CASES, name_of_device, transient=True):
        for size in sizes:
            variants = [False, True] if fits(name, size, device) else [False]
            ours, *plain = call(seconds, name, variants, size, device, threads)
            cells = [f"{1e3 * ours:.1f}", *([f"{1e3 * plain[0]:.1f}", f"{plain[0] / ours:.1f}x"] if plain else "--")]
            extra = [call(memory, name, variant, size, device, threads) / 2**20 for variant in variants]
            cells += [f"{mebibytes:.1f}" for mebibytes in extra] + ["-"] * (2 - len(extra))
            cells += [f"{ours / steps[size]:.1%}"] if steps else []
            table.add_row(name if size == sizes[0] else "", str(size), *cells, end_section=size == sizes[-1])
    return table


def main() -> None:
    """Measure on all devices there are, or on the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="batch sizes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="only this one")
    arguments = parser.parse_args()
    console = Console()
    if arguments.device != "cuda":
        # each measurement in a new process: memory that one has freed must not serve the next
        server = get_context("forkserver")
        server.set_forkserver_preload(["torch", "vse_lightning.losses"])
        with ProcessPoolExecutor(1, mp_context=server, max_tasks_per_child=1) as pool:

            def in_a_process(*work: Any) -> Any:
                return pool.submit(*work).result()

            console.print(show("cpu", arguments.sizes, arguments.threads, in_a_process))
    if arguments.device != "cpu" and torch.cuda.is_available():
        console.print(show("cuda", arguments.sizes, arguments.threads, lambda work, *options: work(*options)))


if __name__ == "__main__":
    main()
