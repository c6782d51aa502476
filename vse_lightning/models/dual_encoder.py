"""The reference model: one encoder of images, one of texts, any relevance-aware loss."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from vse_lightning.checks import require, require_positive
from vse_lightning.losses import RetrievalLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models._layer_decay import optimizer_by_depth, require_rates_kept
from vse_lightning.models.checkpoints.recipes import recipe
from vse_lightning.models.retriever import Retriever


class DualEncoder(Retriever):
    """Embeds images and texts side by side and compares them by their cosine.

    The encoders own their preprocessing: the data module asks for :meth:`image_transform` and :meth:`text_transform`,
    and calls :meth:`fit_text` with the training captions before training starts; the vocabulary is saved with the
    weights. ``load_from_checkpoint(path)`` needs nothing else where the encoders are those of this package; encoders of
    your own are given again, unless LightningCLI made them, and so are the loss and the metrics.

    Args:
        image_encoder: a module ``image -> (N, D)`` with ``transform(train)``, such as ``TimmImageEncoder``.
        text_encoder: a module ``text -> (M, D)`` with ``transform()``, such as ``GRUTextEncoder``.
        relevance_loss: what to train on; needed to fit.
        retrieval_metrics: what to measure in validation and test; ``None`` measures nothing.
        backbone_lr_factor: at which share of the learning rate the encoders' ``backbone`` learns, which is pretrained
            where their projections start at random; greater than 0.
        training: further arguments of :class:`Retriever`, by name, such as ``optimizer`` and ``lr_scheduler``.
    """

    _retrieval_arguments: ClassVar[tuple[str, ...]] = ("image_encoder", "text_encoder")

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        relevance_loss: RetrievalLoss | None = None,
        retrieval_metrics: RetrievalMetrics | None = None,
        backbone_lr_factor: float = 1.0,
        **training: Any,
    ) -> None:
        super().__init__(relevance_loss, retrieval_metrics, **training)
        _check_widths(image_encoder, text_encoder)
        require_positive("backbone_lr_factor", backbone_lr_factor)
        self.save_hyperparameters()
        self.backbone_lr_factor = backbone_lr_factor
        self.image_encoder, self.text_encoder = image_encoder, text_encoder

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down how the encoders are made, where no config of LightningCLI says so."""
        super().on_save_checkpoint(checkpoint)
        arguments = checkpoint.setdefault(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        # A subclass with a constructor of its own saves the arguments of that.
        if "_instantiator" not in arguments and type(self).__init__ is DualEncoder.__init__:
            encoders = {"image_encoder": recipe(self.image_encoder), "text_encoder": recipe(self.text_encoder)}
            arguments |= {name: made for name, made in encoders.items() if made is not None}
            arguments["_instantiator"] = "lightning.pytorch.cli.instantiate_module"

    def fit_text(self, captions: Sequence[str]) -> None:
        """Fit the text encoder's vocabulary, if it has one and it is not fitted yet; the data module calls it.

        Args:
            captions: the training captions, and no others.
        """
        fit = getattr(self.text_encoder, "fit", None)
        if fit is not None:
            fit(captions)

    def encode_images(self, image: Any) -> Tensor:
        """Embeddings ``(N, D)`` of images as :meth:`image_transform` makes them, not normalised."""
        embeds: Tensor = self.image_encoder(image)
        return embeds

    def encode_texts(self, text: Any) -> Tensor:
        """Embeddings ``(M, D)`` of texts as :meth:`text_transform` makes them, not normalised."""
        embeds: Tensor = self.text_encoder(text)
        return embeds

    def image_transform(self, train: bool) -> Callable[[Any], Tensor] | None:
        """How the image encoder wants pictures; the data module asks."""
        transform: Callable[[Any], Tensor] | None = _transform_of("image_encoder", self.image_encoder)(train)
        return transform

    def text_transform(self) -> Callable[[list[str]], Any]:
        """How the text encoder wants a list of captions; the data module asks."""
        transform: Callable[[list[str]], Any] = _transform_of("text_encoder", self.text_encoder)()
        return transform

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters that learn, with its schedules."""
        optimizers, schedules = super().configure_optimizers()
        if self.backbone_lr_factor != 1:
            require_rates_kept(schedules, "backbone_lr_factor=1")
        return optimizers, schedules

    def make_optimizer(self) -> Optimizer:
        """The optimizer of all parameters that learn, what is pretrained at its own rate."""
        if self.backbone_lr_factor == 1:
            return super().make_optimizer()
        encoders = self.image_encoder, self.text_encoder
        backbones = [encoder.backbone for encoder in encoders if hasattr(encoder, "backbone")]
        depths = {parameter: 1 for backbone in backbones for parameter in backbone.parameters()}  # type: ignore[union-attr]
        require(bool(depths), "backbone_lr_factor needs an encoder with a backbone, got {} and {}",
                *(type(encoder).__name__ for encoder in encoders))  # fmt: skip
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return optimizer_by_depth(self.optimizer, learning, depths, self.backbone_lr_factor)


def _transform_of(name: str, encoder: nn.Module) -> Callable[..., Any]:
    transform = getattr(encoder, "transform", None)
    remedy = "or the data module its own transforms and text"
    require(callable(transform), "{} must have a method transform, {}, got {}", name, remedy, type(encoder).__name__)
    return transform  # type: ignore[return-value]


def _check_widths(image_encoder: nn.Module, text_encoder: nn.Module) -> None:
    for name, encoder in {"image_encoder": image_encoder, "text_encoder": text_encoder}.items():
        require(isinstance(encoder, nn.Module), "{} must be a module, got {}", name, type(encoder).__name__)
    widths = [getattr(encoder, "embed_dim", None) for encoder in (image_encoder, text_encoder)]
    if None not in widths and widths[0] != widths[1]:
        raise ValueError(
            f"image_encoder and text_encoder must embed in one space, got embed_dim={widths[0]} and {widths[1]}"
        )
