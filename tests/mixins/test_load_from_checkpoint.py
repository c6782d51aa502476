"""Checkpoints and hyper-parameters of hosts that save them in other ways than ours."""

import argparse

import pytest
import torch
from hosts import PairHost, pairs
from torchmetrics import MeanMetric

from vse_lightning import ContrastiveLoss, RelevanceLossMixin, RetrievalMetrics, RetrievalMetricsMixin
from vse_lightning.relevance import FeatureTable

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

TABLE = FeatureTable(torch.randn(16, 4), torch.arange(16), label="random vectors")


class OneConfig(PairHost):
    def __init__(self, config):
        super().__init__(config["width"])
        self.save_hyperparameters(config)


class Noted(PairHost):
    def __init__(self, width=4):
        super().__init__(width)
        self.save_hyperparameters({"commit": "abc"})  # not an argument: Lightning leaves it out when loading


def mixed(host):
    return type(f"Mixed{host.__name__}", (RelevanceLossMixin, RetrievalMetricsMixin, host), {})


@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize(("host", "argument"), [(OneConfig, {"width": 3, "lr": 0.1}), (Noted, 3)])
def test_checkpoints_load_both_ways_however_the_host_saves_its_hyperparameters(
    trainer, tmp_path, host, argument, configured
):
    cls, run, path = mixed(host), trainer(), tmp_path / "mixed.ckpt"
    options = {"relevance_loss": ContrastiveLoss(), "relevance_weight": 0.5, "retrieval_metrics": RetrievalMetrics()}
    options = options if configured else {}
    constructor = cls.__init__
    model = cls(argument, **options)
    run.fit(model, pairs())
    run.save_checkpoint(path)
    alone = trainer()
    alone.fit(host(argument), pairs())
    alone.save_checkpoint(tmp_path / "alone.ckpt")
    assert torch.equal(host.load_from_checkpoint(path).image.weight, model.image.weight)
    assert torch.equal(cls.load_from_checkpoint(path, **options).image.weight, model.image.weight)
    assert dict(cls.load_from_checkpoint(tmp_path / "alone.ckpt", **options).hparams) == dict(model.hparams)
    assert cls.__init__ is constructor
    assert "__init__" not in vars(cls)


def test_a_subclass_that_takes_a_table_loads_too(trainer, tmp_path):
    class WithTable(mixed(OneConfig)):
        def __init__(self, table, **kwargs):
            super().__init__(**kwargs)
            self.table = table

    run = trainer()
    run.fit(WithTable(TABLE, config={"width": 3, "lr": 0.1}), pairs())
    run.save_checkpoint(tmp_path / "table.ckpt")
    assert WithTable.load_from_checkpoint(tmp_path / "table.ckpt", table=TABLE).image.out_features == 3


def test_loading_tells_of_misspelt_arguments_of_ours_and_of_instances(trainer, tmp_path):
    cls, run = mixed(Noted), trainer()
    run.fit(cls(), pairs())
    run.save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(TypeError, match="MixedNoted takes no argument 'relevance_los'"):
        cls.load_from_checkpoint(tmp_path / "plain.ckpt", relevance_los=ContrastiveLoss())
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        cls().load_from_checkpoint(tmp_path / "plain.ckpt")


def test_what_is_saved_by_name_or_in_one_piece_leaves_out_what_is_ours():
    class ByName(mixed(PairHost)):
        def __init__(self, table, relevance_weight=0.5, share=0.25, **kwargs):
            super().__init__(relevance_weight=relevance_weight, **kwargs)
            self.save_hyperparameters("table", "relevance_weight", "share")

    class InOnePiece(mixed(PairHost)):
        def __init__(self, options):
            super().__init__()
            self.save_hyperparameters(options)

    assert ByName(TABLE).hparams == {"width": 4, "lr": 0.1, "share": 0.25}
    for options in ({"table": TABLE, "share": 0.25}, argparse.Namespace(table=TABLE, share=0.25)):
        assert InOnePiece(options).hparams == {"width": 4, "lr": 0.1, "share": 0.25}


@pytest.mark.filterwarnings("ignore:Attribute '.*' is an instance of `nn.Module`")
def test_metrics_and_networks_of_the_hosts_own_stay_hyperparameters():
    class Own(PairHost):
        def __init__(self, average, network):
            super().__init__()
            self.save_hyperparameters()

    network = torch.nn.ModuleDict({"block": torch.nn.Linear(2, 2)})
    network.block = network["block"]
    assert set(mixed(Own)(MeanMetric(), network).hparams) == set(Own(MeanMetric(), network).hparams)
