"""Every host in several real processes: what one of them logs of the loss and of the metrics, as JSON."""

import json
import logging
import sys
import warnings
from pathlib import Path

import lightning
import pytorch_lightning
import torch

sys.path.insert(0, str(Path(__file__).parent))

from integrations import INTEGRATIONS

from vse_lightning import ContrastiveLoss, RetrievalMetrics


def model_and_trainer(integration, folder, processes):
    torch.manual_seed(1)
    model = integration.mixed(
        relevance_loss=ContrastiveLoss(learnable=False), retrieval_metrics=RetrievalMetrics((1, 5), (), ())
    )
    old = issubclass(integration.host, pytorch_lightning.LightningModule)
    return model, (pytorch_lightning if old else lightning).Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
        max_steps=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def logged(integration, folder, processes, batch_size):
    model, trainer = model_and_trainer(integration, folder, processes)
    loader = integration.loader(batch_size)
    trainer.validate(model, loader, verbose=False)  # before hosts whose own loss knows only their process have learnt
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if "recall" in name}
    trainer.fit(model, loader)
    return metrics | {"train/relevance_loss": trainer.callback_metrics["train/relevance_loss"].item()}


def warnings_of_repeats(name, folder, pictures):
    """What is said where a distributed sampler repeats items to fill up two processes."""
    model, trainer = model_and_trainer(INTEGRATIONS[name], folder, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.validate(model, INTEGRATIONS[name].loader(6, pictures=pictures), verbose=False)
    return [str(warning.message) for warning in caught if "sampler repeats" in str(warning.message)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    output, processes, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    results = {name: logged(one, output.parent, processes, batch_size) for name, one in INTEGRATIONS.items()}
    cases = {"no ids": ("TupleCLIP", 23), "no text ids": ("DictOutput", 23), "text ids": ("SeveralCaptions", 23)}
    cases["even"] = ("TupleCLIP", 22)
    repeats = {case: warnings_of_repeats(name, output.parent, pictures) for case, (name, pictures) in cases.items()}
    results["repeats"] = repeats
    if torch.distributed.get_rank() == 0:
        output.write_text(json.dumps(results))
