"""Hosts that look like other people's: their checkpoints with the mixins, without them, and with another loss."""

import pytest
import torch

from vse_lightning import ContrastiveLoss, RetrievalMetrics, TripletLoss

pytestmark = pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Trying to infer the `batch_size`")


def adam(model):
    """An optimizer with a state, over all parameters, the loss's among them."""
    if model.automatic_optimization:
        model.configure_optimizers = lambda: torch.optim.Adam(model.parameters(), lr=0.01)
    else:
        first, second = model.img_enc, model.txt_enc
        of_loss = [p for name, p in model.named_parameters() if name.startswith("relevance_loss")]
        model.configure_optimizers = lambda: [
            torch.optim.Adam([*of_loss, *first.parameters()], lr=0.01),
            torch.optim.Adam(second.parameters(), lr=0.01),
        ]
    return model


def same(one, other):
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=0, atol=0, msg=name)


def fit(trainer, integration, model, epochs, path=None, resumed=None):
    run = trainer(max_epochs=epochs)
    run.fit(adam(model), integration.loader(), ckpt_path=resumed, **weights_only(resumed))
    if path is not None:
        run.save_checkpoint(path)
    return run


def weights_only(path):
    return {} if path is None else {"weights_only": True}


def test_a_resumed_run_is_the_uninterrupted_one(integration, trainer, make, tmp_path):
    if integration.draws:
        pytest.skip("the step draws from the global generator, which hosts do not save")
    whole = make(relevance_loss=ContrastiveLoss())
    fit(trainer, integration, whole, 2)
    first = make(relevance_loss=ContrastiveLoss())
    fit(trainer, integration, first, 1, tmp_path / "first.ckpt")
    resumed = make(relevance_loss=ContrastiveLoss())
    fit(trainer, integration, resumed, 2, resumed=tmp_path / "first.ckpt")
    same(resumed.state_dict(), whole.state_dict())
    assert torch.equal(resumed.relevance_loss.log_scale, whole.relevance_loss.log_scale)
    assert not torch.equal(first.relevance_loss.log_scale, ContrastiveLoss().log_scale)


def test_the_host_alone_and_the_mixed_host_resume_from_one_another(integration, trainer, make, tmp_path):
    fit(trainer, integration, make(relevance_loss=ContrastiveLoss()), 1, tmp_path / "mixed.ckpt")
    fit(trainer, integration, make(), 1, tmp_path / "host.ckpt")
    host = make()
    fit(trainer, integration, host, 2, resumed=tmp_path / "mixed.ckpt")
    mixed = make(relevance_loss=ContrastiveLoss())
    fit(trainer, integration, mixed, 2, resumed=tmp_path / "host.ckpt")
    assert not torch.equal(mixed.relevance_loss.log_scale, ContrastiveLoss().log_scale)
    keys = torch.load(tmp_path / "mixed.ckpt", weights_only=True)["state_dict"].keys()
    assert keys == torch.load(tmp_path / "host.ckpt", weights_only=True)["state_dict"].keys()


def test_another_loss_or_none_starts_from_the_checkpoint_with_a_word(integration, trainer, make, tmp_path):
    trained = make(relevance_loss=ContrastiveLoss())
    fit(trainer, integration, trained, 1, tmp_path / "contrastive.ckpt")
    other = make(relevance_loss=TripletLoss())
    with pytest.warns(
        UserWarning, match="ContrastiveLoss has learnt log_scale: left out, as the loss is now TripletLoss"
    ):
        fit(trainer, integration, other, 2, resumed=tmp_path / "contrastive.ckpt")
    torch.manual_seed(1)
    none = integration.mixed(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    with pytest.warns(UserWarning, match="left out, as there is no loss now"):
        fit(trainer, integration, none, 2, resumed=tmp_path / "contrastive.ckpt")


@pytest.mark.filterwarnings("error::UserWarning")
def test_evaluation_never_needs_the_loss(integration, trainer, make, tmp_path):
    trained = make(relevance_loss=ContrastiveLoss(), retrieval_metrics=RetrievalMetrics((1,), (), ()))
    run = fit(trainer, integration, trained, 1, tmp_path / "trained.ckpt")
    torch.manual_seed(2)
    other = integration.mixed(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    paths = {"ckpt_path": tmp_path / "trained.ckpt", "weights_only": True}
    (again,) = trainer().validate(other, integration.loader(), verbose=False, **paths)
    (values,) = run.validate(trained, integration.loader(), verbose=False)
    assert again["val/rsum"] == values["val/rsum"]
