"""What the models that bring everything share: optimizer and schedule from a config, and complete checkpoints."""

from abc import ABC, abstractmethod
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Self

from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor, nn, zeros
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau
from torch.optim.optimizer import ParamsT

from vse_lightning.argument_types import require_types
from vse_lightning.array_files import require_whole_zip
from vse_lightning.checks import require_whole
from vse_lightning.losses import RetrievalLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin
from vse_lightning.mixins.batch.step import embeddings_and_ids, forget_pairs
from vse_lightning.mixins.host.hooks import RetrievalHooks
from vse_lightning.mixins.host.lightning_internals import trainer_of
from vse_lightning.models.checkpoints.configured_rates import ConfiguredRates
from vse_lightning.models.checkpoints.random_states import random_states, restore_random_state
from vse_lightning.models.checkpoints.recipes import class_path
from vse_lightning.models.checkpoints.restoring import is_restoring, restoring
from vse_lightning.models.checkpoints.trust import hyper_parameters_of, require_trusted

OptimizerCallable = Callable[[ParamsT], Optimizer]
SchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
RANDOM_KEY = "retriever_random_state"
"""Where a checkpoint holds the state of the generators that dropout draws from."""
CLASS_KEY = "retriever_class"
"""Where a checkpoint names the class of its model, which its hyper-parameters do only if LightningCLI made it."""


class Retriever(RelevanceLossMixin, RetrievalMetricsMixin, LightningModule, ABC):
    """A module that embeds images and texts side by side, trained and measured by the mixins alone.

    Args:
        relevance_loss: what to train on; needed to fit.
        retrieval_metrics: what to measure in validation and test; ``None`` measures nothing.
        optimizer: makes the optimizer from the parameters; ``None`` is AdamW as PyTorch has it.
        lr_scheduler: makes the learning-rate schedule from the optimizer; ``None`` keeps the rate.
        lr_interval: whether the schedule advances every ``"epoch"`` or every ``"step"``.
        lr_monitor: what ``ReduceLROnPlateau`` watches.
        lr_warmup_steps: over how many steps the rate rises to where the schedule has it; at least 0.
        relevance: further arguments of :class:`~vse_lightning.mixins.RelevanceLossMixin`, by name.
    """

    _retrieval_arguments: ClassVar[tuple[str, ...]] = ("optimizer", "lr_scheduler")

    def __init__(
        self,
        relevance_loss: RetrievalLoss | None = None,
        retrieval_metrics: RetrievalMetrics | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: SchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        lr_monitor: str = "val/rsum",
        lr_warmup_steps: int = 0,
        **relevance: Any,
    ) -> None:
        for name in sorted({*relevance} - {*RelevanceLossMixin._retrieval_arguments}):
            if not is_restoring():
                raise TypeError(f"{type(self).__name__} takes no argument {name!r}")
            del relevance[name]  # of the subclass that the checkpoint is of
        own: dict[str, Any] = {"lr_interval": lr_interval, "lr_monitor": lr_monitor, "lr_warmup_steps": lr_warmup_steps}
        own |= {"relevance_loss": relevance_loss, "optimizer": optimizer, "lr_scheduler": lr_scheduler}
        require_types(Retriever.__init__, self, **own)  # not the metrics: the mixin takes several kinds
        require_types(RelevanceLossMixin.__init__, self, **relevance)
        super().__init__(relevance_loss=relevance_loss, retrieval_metrics=retrieval_metrics, **relevance)
        for name in ("relevance_loss", "retrieval_metrics"):
            if not hasattr(self, name):  # the mixins leave a host alone that has no use for them
                setattr(self, name, None)
        require_whole("lr_warmup_steps", lr_warmup_steps, least=0)
        # None and not AdamW as the default: a config that names another class would inherit AdamW's weight decay
        self.optimizer: OptimizerCallable = AdamW if optimizer is None else optimizer
        self.lr_scheduler, self.lr_warmup_steps = lr_scheduler, lr_warmup_steps
        self.lr_interval, self.lr_monitor = lr_interval, lr_monitor
        self._rates = ConfiguredRates()

    @property
    def lr(self) -> float:
        """The learning rate that ``optimizer`` sets; ``Tuner(trainer).lr_find(model, ...)`` sets another."""
        return float(self.optimizer([nn.Parameter(zeros(1))]).defaults["lr"])

    @lr.setter
    def lr(self, rate: float) -> None:
        self.optimizer = partial(_optimizer_at, rate, self.optimizer)

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path | IO[bytes], *args: Any, trust: Sequence[str] = (), **kwargs: Any
    ) -> Self:
        """The trained model, from its checkpoint alone: no network, no original folder.

        Classes that the checkpoint names are this package's, PyTorch's, of the module of this class, or of modules in
        ``trust``; others are refused.
        """
        takers = [vars(base).get("__init__") for base in cls.__mro__] + [super().load_from_checkpoint]
        taken = {name for taker in takers if taker is not None for name in signature(taker).parameters}
        for name in sorted({*kwargs} - taken):  # Lightning would leave it out
            raise TypeError(f"{cls.__name__} takes no argument {name!r}")
        if kwargs.get("weights_only") is not False:  # whoever unpickles trusts the file
            if isinstance(checkpoint_path, str | Path) and Path(checkpoint_path).is_file():
                require_whole_zip(f"checkpoint {checkpoint_path}", Path(checkpoint_path))
            made_with = hyper_parameters_of(checkpoint_path)
            left = {name: value for name, value in made_with.items() if name not in kwargs and name[0] != "_"}
            file = checkpoint_path if isinstance(checkpoint_path, str | Path) else getattr(checkpoint_path, "name", "")
            require_trusted(file, left, (cls.__module__, *trust))
        with restoring():
            try:
                # past the mixins, which show Lightning the arguments of a host behind them: there is none
                model: Self = super(RetrievalHooks, cls).load_from_checkpoint(checkpoint_path, *args, **kwargs)
            except (ArgumentError, TypeError) as error:
                if "required" in str(error):
                    error.add_note("Modules of your own are given again: load_from_checkpoint(path, image_encoder=...)")
                raise
        return model

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the rates for :meth:`on_fit_start`; test and predict with averaged weights, if there are some.

        Lightning's ``WeightAveraging`` puts the weights that training goes on with in their place, also after training.
        """
        trainer = trainer_of(self)
        if trainer is None:
            return
        self._rates.on_load_checkpoint(trainer, self, checkpoint)
        fitting = trainer.state.fn == TrainerFn.FITTING
        self.__dict__["_random_states"] = checkpoint.get(RANDOM_KEY, ()) if fitting else ()
        if "current_model_state" in checkpoint and trainer.state.fn != TrainerFn.FITTING:
            checkpoint["current_model_state"] = checkpoint["state_dict"]

    def on_fit_start(self) -> None:
        """Let the user's rates count where training goes on from a checkpoint."""
        self._rates.on_fit_start(self.trainer, self)

    def on_train_start(self) -> None:
        """Let dropout go on where it was."""
        restore_random_state(self.__dict__.pop("_random_states", ()), self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the class, for :func:`~vse_lightning.models.load_retriever`, and how the optimizer is configured."""
        checkpoint[CLASS_KEY] = class_path(type(self))
        trainer: Any = trainer_of(self)
        # a process that fails saves alone
        running = trainer is not None and trainer.state.status == TrainerStatus.RUNNING
        checkpoint[RANDOM_KEY] = random_states(self.device, everyone=running)
        self._rates.on_save_checkpoint(trainer, self, checkpoint)

    @abstractmethod
    def encode_images(self, image: Any) -> Tensor:
        """Embeddings ``(N, D)`` of images as :meth:`image_transform` makes them, not normalised."""

    @abstractmethod
    def encode_texts(self, text: Any) -> Tensor:
        """Embeddings ``(M, D)`` of texts as :meth:`text_transform` makes them, not normalised."""

    @abstractmethod
    def image_transform(self, train: bool) -> Callable[[Any], Tensor] | None:
        """How the model wants pictures; the data module asks."""

    @abstractmethod
    def text_transform(self) -> Callable[[list[str]], Any]:
        """How the model wants a list of captions; the data module asks."""

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Image and text embeddings of a batch; as :meth:`retrieval_embeds`."""
        return self.encode_images(batch["image"]), self.encode_texts(batch["text"])

    def retrieval_embeds(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Embeddings ``(N, D)`` and ``(M, D)`` of the batch's ``image`` and ``text``, not normalised."""
        embeds: tuple[Tensor, Tensor] = self(batch)
        return embeds

    def predict_step(self, batch: dict[str, Any], batch_idx: int = 0, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Embeddings and ids of the batch on the CPU, also where nothing is trained or measured."""
        return embeddings_and_ids(self, batch, dataloader_idx)

    def on_predict_epoch_start(self) -> None:
        """Number pairs without ids from the start."""
        forget_pairs(self)

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters that learn, with its schedule."""
        optimizer = self.make_optimizer()
        schedules: list[dict[str, Any]] = []
        if self.lr_warmup_steps:
            # the schedule multiplies what the warm-up makes of the rate: both advance by factors
            first = 1 / (self.lr_warmup_steps + 1)
            rising = LinearLR(optimizer, start_factor=first, total_iters=self.lr_warmup_steps)
            schedules.append({"scheduler": rising, "interval": "step"})
        if self.lr_scheduler is not None:
            schedule = self.lr_scheduler(optimizer)
            schedules.append({"scheduler": schedule, "interval": self.lr_interval, "monitor": self.lr_monitor})
        return [optimizer], schedules

    def make_optimizer(self) -> Optimizer:
        """The optimizer of all parameters that learn."""
        return self.optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])


def _optimizer_at(rate: float, make: OptimizerCallable, params: ParamsT) -> Optimizer:
    optimizer = make(params)
    for group in optimizer.param_groups:
        group["lr"] = rate * (group["lr"] / optimizer.defaults["lr"])  # groups keep their proportions
    optimizer.defaults["lr"] = rate
    return optimizer
