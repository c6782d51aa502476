"""Pictures of the results of ``flickr8k.py``: how fast each loss converges, and how much its settings matter.

python examples/benchmarks/flickr8k_pictures.py
"""

from pathlib import Path
from typing import Any

from flickr8k_tables import Result, read, shipped
from loss_pictures import COLOURS, INK, look
from matplotlib import pyplot

RESULTS = Path(__file__).parent / "results" / "flickr8k"
EPOCHS = 6
SHOWN = ("triplet", "lseh", "infonce", "ladder", "listwise", "bcls", "recommended")


def convergence(trials: list[Result], axis: Any) -> None:
    """Validation rsum by epoch, of the losses as shipped; those of the papers in colour."""
    for trial in sorted(shipped(trials), key=lambda each: each["loss"] in SHOWN):
        values, loss = trial["val_rsum_by_epoch"], trial["loss"]
        epochs = [EPOCHS * (1 + place) / len(values) for place in range(len(values))]  # some validated every other one
        known = loss in SHOWN
        look = {"color": COLOURS[SHOWN.index(loss)], "label": loss} if known else {"color": INK, "alpha": 0.35}
        axis.plot(epochs, values, linewidth=2 if known else 1, **look)
    axis.set(title="convergence", xlabel="epoch", ylabel="rsum, validation", ylim=(140, None))
    handles, names = axis.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda place: SHOWN.index(names[place]))
    axis.legend([handles[place] for place in order], [names[place] for place in order], loc="lower right")


def sensitivity(trials: list[Result], axis: Any) -> None:
    """Validation rsum of every setting that was tried; what is shipped is filled."""
    chosen = {each["loss"]: each for each in shipped(trials)}
    losses = sorted(chosen, key=lambda loss: chosen[loss]["val"]["rsum"])
    for row, loss in enumerate(losses):
        values = [each["val"]["rsum"] for each in trials if each["loss"] == loss]
        axis.plot([min(values), max(values)], [row, row], color=INK, alpha=0.4, linewidth=1)
        axis.plot(values, [row] * len(values), "o", markersize=4, markerfacecolor="none", color=COLOURS[0])
        axis.plot([chosen[loss]["val"]["rsum"]], [row], "o", markersize=5, color=COLOURS[1])
    axis.set(title="settings tried (filled: shipped)", xlabel="rsum, validation")
    axis.set_yticks(range(len(losses)), losses)


def main() -> None:
    """Draw both."""
    trials = read(RESULTS / "trials")
    with look("flickr8k"):
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for draw, axis in zip((convergence, sensitivity), axes, strict=True):
            draw(trials, axis)
            axis.grid(color=INK, alpha=0.25, linewidth=0.5)
        figure.savefig(RESULTS / "training.svg", transparent=True, metadata={"Date": None})
    print(RESULTS / "training.svg")


if __name__ == "__main__":
    main()
