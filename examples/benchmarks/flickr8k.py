"""Every loss on Flickr8k: one training per loss, label source and seed, and the tables of what came out.

VSE_DATA=... python examples/benchmarks/flickr8k.py                                  # whatever has no result yet
VSE_DATA=... python examples/benchmarks/flickr8k.py --losses infonce listwise --seeds 0 1 2 --jobs 2
VSE_DATA=... python examples/benchmarks/flickr8k.py --trials examples/benchmarks/flickr8k_trials.yaml --jobs 2
VSE_DATA=... python examples/benchmarks/flickr8k.py --base configs/flickr8k_pretrained.yaml \\
    --trials examples/benchmarks/flickr8k_pretrained.yaml --results examples/benchmarks/results/flickr8k_pretrained
python examples/benchmarks/flickr8k.py --render                                      # tables, from the results

A training is ``vse-lightning fit`` with ``--base``, ``configs/loss/{loss}.yaml`` and a seed: the best of
its epochs by rsum on the validation split is measured on both splits. Its result is one JSON file; a training that has
one is not run again, so that an interrupted sweep goes on where it stood. Trials are settings that are only compared on
the validation split; what is shipped in ``configs/loss`` is the best of them.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import yaml

from vse_lightning import __version__
from vse_lightning.callbacks import WeightInterpolation
from vse_lightning.cli.training import RetrievalCLI
from vse_lightning.metrics import HierarchicalAP, RetrievalMetrics

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
RESULTS = Path(__file__).parent / "results" / "flickr8k"
LOSS = "--model.init_args.relevance_loss"
SEEDS = (0, 1, 2)

VARIANTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "triplet_all": ("triplet", {"mining": "all"}),
    "triplet_soft": ("triplet", {"mining": "soft"}),
    "ladder_3": ("ladder", {"margins": [0.2, 0.01, 0.01], "thresholds": [0.63, 0.45], "weights": [0.25, 0.05]}),
    "kendall": (
        None,
        {
            "class_path": "WeightedSumLoss",
            "losses": {"triplet": {"class_path": "TripletLoss"}, "kendall": {"class_path": "KendallLoss"}},
            "weights": {"triplet": 1.0, "kendall": 0.1},
        },
    ),
    "smooth_ndcg_alone": (None, {"class_path": "SmoothNDCGLoss"}),
    "smooth_ndcg_bound_alone": (None, {"class_path": "SmoothNDCGLoss", "surrogate": "bound"}),
    "hierarchical_ap_alone": (None, {"class_path": "HierarchicalAPLoss"}),
}
"""Settings beside the shipped ones: a config of ``configs/loss`` with other arguments, or a loss of its own."""


def options_of(config: str | None, arguments: dict[str, Any]) -> list[str]:
    """The options of ``fit`` that choose a loss; ``options`` among the arguments are further options."""
    arguments = dict(arguments)
    further = arguments.pop("options", [])
    if config is None:
        loss = {"class_path": f"vse_lightning.losses.{arguments.pop('class_path')}", "init_args": arguments}
        return [f"{LOSS}={json.dumps(loss)}", *further]
    changed = [f"{LOSS}.init_args.{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in arguments.items()]
    return [f"--config={CONFIGS / 'loss' / config}.yaml", *changed, *further]


def losses() -> list[str]:
    """All shipped losses, then the variants."""
    return [*sorted(path.stem for path in (CONFIGS / "loss").glob("*.yaml")), *VARIANTS]


class Training(RetrievalCLI):
    """A ``fit`` that ends with the values of the best epoch on both splits."""

    def after_fit(self) -> None:
        """Measure the best epoch, by H-AP too."""
        extra = [HierarchicalAP("i2t"), HierarchicalAP("t2i")]
        self.model.retrieval_metrics = RetrievalMetrics(coherent_ks=(100, 1000), extra=extra)
        best = self.trainer.checkpoint_callback.best_model_path
        self.values = self.measured(ckpt_path=best, weights_only=True)
        for callback in self.trainer.callbacks:
            if isinstance(callback, WeightInterpolation):
                with callback.applied(self.model):
                    self.values["interpolated"] = self.measured()

    def measured(self, **options: Any) -> dict[str, Any]:
        """Values on both splits."""
        values = {}
        for stage, measure in (("val", self.trainer.validate), ("test", self.trainer.test)):
            (logged,) = measure(self.model, self.datamodule, verbose=False, **options)
            values[stage] = {name.removeprefix(f"{stage}/"): value for name, value in logged.items()}
        return values


def train(file: Path, description: dict[str, Any], options: list[str]) -> None:
    """One training, whose result is a file."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run = file.parent / "runs" / file.stem
    quiet = [f"--trainer.logger.init_args.save_dir={run}", "--trainer.enable_progress_bar=false"]
    start = perf_counter()
    training = Training(["fit", *options, f"--seed_everything={description['seed']}", *quiet])
    with (Path(training.trainer.log_dir) / "metrics.csv").open(newline="") as rows:
        epochs = [float(row["val/rsum"]) for row in csv.DictReader(rows) if row.get("val/rsum")]
    result = {
        **description,
        "config": [option.replace(f"{CONFIGS}{os.sep}", "configs/") for option in options],
        "versions": {
            "vse-lightning": __version__,
            **{name: version(name) for name in ("torch", "lightning", "torchmetrics")},
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "git": os.environ.get("GIT_COMMIT") or commit(),
        "seconds": round(perf_counter() - start, 1),
        "val_rsum_by_epoch": epochs[: training.trainer.max_epochs],  # then the best is measured again
        **training.values,
    }
    partly = file.with_suffix(".part")
    partly.write_text(json.dumps(result, indent=1) + "\n")
    partly.rename(file)


def best_trials(folder: Path) -> dict[str, list[str]]:
    """By loss, the options of its best trial: recall and order on the validation split weigh about the same."""
    found: dict[str, tuple[float, list[str]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        value = score(result["val"])
        if value > found.get(result["loss"], (-1.0, []))[0]:
            found[result["loss"]] = value, result["config"]
    return {
        loss: [option.replace("=configs/", f"={CONFIGS}/", 1) for option in best] for loss, (_, best) in found.items()
    }


def score(values: dict[str, float]) -> float:
    """What a trial is chosen by."""
    graded = (("ndcg_at_10", 200), ("coherent_score_at_100", 200), ("coherent_score_at_1000", 100))
    return values["rsum"] + sum(
        weight * values[f"{direction}_{name}"] for name, weight in graded for direction in ("i2t", "t2i")
    )


def commit() -> str:
    """What is checked out, with ``-dirty`` where files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run_missing(jobs: dict[Path, tuple[dict[str, Any], list[str]]], workers: int) -> None:
    """Train what has no result yet, each in a process of its own."""
    missing = {file: job for file, job in jobs.items() if not file.exists()}
    print(f"{len(jobs) - len(missing)} of {len(jobs)} trainings have a result")

    def run(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--one", str(file), json.dumps(missing[file])]
        start = perf_counter()
        with file.with_suffix(".log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        said = "done" if code == 0 else f"failed, see {file.with_suffix('.log')}"
        print(f"{file.stem}: {said} ({perf_counter() - start:.0f} s)", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, missing))


def main() -> None:
    """Run or render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=losses(), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--labels", nargs="+", default=["sbert"], help="configs/relevance/{labels}.yaml")
    parser.add_argument("--trials", type=Path, nargs="+", help="YAML: arguments by loss and name of the trial")
    parser.add_argument("--best", action="store_true", help="every loss with the arguments of its best trial")
    parser.add_argument("--base", type=Path, default=CONFIGS / "flickr8k.yaml", help="the config of all trainings")
    parser.add_argument(
        "--config", action="append", default=[], help="a further config for each, before its loss and labels"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each with OMP_NUM_THREADS threads")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true", help="print the tables")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return train(Path(options.one[0]), *json.loads(options.one[1]))
    if options.render:
        from flickr8k_tables import render

        return print(render(options.results))
    base, extra = f"--config={options.base.resolve()}", [f"--config={path}" for path in options.config]
    jobs: dict[Path, tuple[dict[str, Any], list[str]]] = {}
    if options.trials:
        for loss, trials in (pair for path in options.trials for pair in yaml.safe_load(path.read_text()).items()):
            for name, arguments in trials.items():
                file = options.results / "trials" / f"{loss}-{name}.json"
                chosen = options_of(None if "class_path" in arguments else loss, arguments)
                jobs[file] = {"loss": loss, "trial": name, "labels": "sbert", "seed": 0}, [base, *extra, *chosen]
    else:
        best = best_trials(options.results / "trials") if options.best else {}
        for seed, labels, loss in product(options.seeds, options.labels, options.losses):
            chosen = best.get(loss, options_of(*VARIANTS.get(loss, (loss, {}))))
            chosen = [option for option in chosen if option not in (base, *extra)]
            source = [] if labels == "sbert" else [f"--config={CONFIGS / 'relevance' / labels}.yaml"]
            file = options.results / f"{loss}-{labels}-{seed}.json"
            jobs[file] = {"loss": loss, "labels": labels, "seed": seed}, [base, *extra, *chosen, *source]
    return run_missing(jobs, options.jobs)


if __name__ == "__main__":
    main()
