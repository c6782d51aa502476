"""The reference model: one encoder of images, one of texts, any relevance-aware loss."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Self

from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vse_lightning.checks import require_one_of
from vse_lightning.losses import RetrievalLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin
from vse_lightning.models.restoring import restoring

OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class DualEncoder(RelevanceLossMixin, RetrievalMetricsMixin, LightningModule):
    """Embeds images and texts side by side and compares them by their cosine.

    The encoders own their preprocessing: the data module asks for :meth:`image_transform` and :meth:`text_transform`,
    and calls :meth:`fit_text` with the training captions before training starts; the vocabulary is saved with the
    weights.

    Args:
        image_encoder: a module ``image -> (N, D)`` with ``transform(train)``, such as ``TimmImageEncoder``.
        text_encoder: a module ``text -> (M, D)`` with ``transform()``, such as ``GRUTextEncoder``.
        relevance_loss: what to train on; needed to fit.
        retrieval_metrics: what to measure in validation and test; ``None`` measures nothing.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning-rate schedule from the optimizer; ``None`` keeps the rate.
        lr_interval: whether the schedule advances every ``"epoch"`` or every ``"step"``.
        lr_monitor: what ``ReduceLROnPlateau`` watches.
        relevance_weight: factor of the loss; at least 0.
        gather: with several processes, whether candidates of the others count.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ("image_encoder", "text_encoder", "optimizer", "lr_scheduler")

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        relevance_loss: RetrievalLoss | None = None,
        retrieval_metrics: RetrievalMetrics | None = None,
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: SchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        lr_monitor: str = "val/rsum",
        relevance_weight: float = 1.0,
        gather: bool = True,
    ) -> None:
        super().__init__(
            relevance_loss=relevance_loss,
            relevance_weight=relevance_weight,
            gather=gather,
            retrieval_metrics=retrieval_metrics,
        )
        _check_widths(image_encoder, text_encoder)
        require_one_of("lr_interval", lr_interval, ("epoch", "step"))
        self.save_hyperparameters()
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.lr_interval, self.lr_monitor = lr_interval, lr_monitor

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path | IO[bytes], *args: Any, **kwargs: Any) -> Self:
        """The trained model, from its checkpoint alone: no network, no original folder."""
        with restoring():
            model: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        return model

    def fit_text(self, captions: Sequence[str]) -> None:
        """Fit the text encoder's vocabulary, if it has one and it is not fitted yet; the data module calls it.

        Args:
            captions: the training captions, and no others.
        """
        if hasattr(self.text_encoder, "fit"):
            self.text_encoder.fit(captions)

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Image and text embeddings of a batch; as :meth:`embed`."""
        return self.image_encoder(batch["image"]), self.text_encoder(batch["text"])

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Embeddings ``(N, D)`` and ``(M, D)`` of the batch's ``image`` and ``text``, not normalised."""
        embeds: tuple[Tensor, Tensor] = self(batch)
        return embeds

    def image_transform(self, train: bool) -> Callable[[Any], Tensor] | None:
        """How the image encoder wants pictures; the data module asks."""
        transform: Callable[[Any], Tensor] | None = self.image_encoder.transform(train)  # type: ignore[operator]
        return transform

    def text_transform(self) -> Callable[[list[str]], Any]:
        """How the text encoder wants a list of captions; the data module asks."""
        transform: Callable[[list[str]], Any] = self.text_encoder.transform()  # type: ignore[operator]
        return transform

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters that learn, with its schedule."""
        optimizer = self.optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        schedule = {"scheduler": self.lr_scheduler(optimizer), "interval": self.lr_interval, "monitor": self.lr_monitor}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _check_widths(image_encoder: nn.Module, text_encoder: nn.Module) -> None:
    widths = [getattr(encoder, "embed_dim", None) for encoder in (image_encoder, text_encoder)]
    if None not in widths and widths[0] != widths[1]:
        raise ValueError(
            f"image_encoder and text_encoder must embed in one space, got embed_dim={widths[0]} and {widths[1]}"
        )
