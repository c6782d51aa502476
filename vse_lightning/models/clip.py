"""Fine-tuning of CLIP and its relatives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from vse_lightning.checks import require
from vse_lightning.losses import ContrastiveLoss, RetrievalLoss, SigmoidLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models._clip_backbone import CLIPBackbone, Freeze
from vse_lightning.models._layer_decay import decayed_optimizer, require_rates_kept
from vse_lightning.models.preprocessing.captions import SubwordTokenizer
from vse_lightning.models.preprocessing.pictures import ProcessorTransform
from vse_lightning.models.retriever import OptimizerCallable, Retriever


class CLIPRetriever(Retriever):
    """Fine-tunes a dual encoder of Hugging Face (CLIP, SigLIP, VisionTextDualEncoder and their like) with any loss.

    The model brings its preprocessing: pictures go through its own image processor, without augmentation, captions
    through its own tokenizer. Scores are cosines. The model's own logit scale and bias stay as they are, unless a loss
    learns them further: ``ContrastiveLoss(temperature="model")``, ``SigmoidLoss(temperature="model", bias="model")``.
    Checkpoints hold everything (with ``lora`` what learns): ``load_from_checkpoint`` needs neither network nor the
    original folder, and ``vse-lightning export --format hf`` gives the model back to Hugging Face.

    Args:
        model: name on the Hugging Face hub, or path of a folder with a model and its preprocessing, as transformers or
            sentence-transformers writes it; of a model of sentence-transformers on the hub, download the folder first.
        pretrained: whether to load the weights; otherwise they start at random.
        relevance_loss: what to train on; needed to fit.
        retrieval_metrics: what to measure in validation and test; ``None`` measures nothing.
        max_length: tokens after so many are cut off; ``None`` for as many as the model can take.
        freeze: ``"image"`` or ``"text"`` keeps that tower as it is (without dropout); its projection into the joint
            space, where the model has one, still learns.
        layer_decay: factor in (0, 1] by which the learning rate falls from each layer of the towers to the one before
            it; what stands behind the layers learns at the full rate. ``None`` is one rate for all.
        gradient_checkpointing: whether to recompute activations in the backward pass instead of storing them.
        lora: arguments of ``peft.LoraConfig`` such as ``{"r": 8, "lora_alpha": 16}``: adapters in every linear layer of
            the towers' blocks (or in ``target_modules``) learn, and the projections; all else stays. Checkpoints then
            hold what learns, and need the pretrained model where it was. ``None`` for no adapters.
        optimizer: makes the optimizer from the parameters. The default is AdamW with ``lr=1e-5``.
        training: further arguments of :class:`Retriever`, by name.
    """

    def __init__(
        self,
        model: str | Path,
        pretrained: bool = True,
        relevance_loss: RetrievalLoss | None = None,
        retrieval_metrics: RetrievalMetrics | None = None,
        max_length: int | None = None,
        freeze: Freeze = "none",
        layer_decay: float | None = None,
        gradient_checkpointing: bool = False,
        lora: dict[str, Any] | None = None,
        optimizer: OptimizerCallable | None = None,
        **training: Any,
    ) -> None:
        super().__init__(
            relevance_loss, retrieval_metrics, _gentle_adamw if optimizer is None else optimizer, **training
        )
        within = layer_decay is None or 0 < layer_decay <= 1
        require(within, "layer_decay must be in (0, 1] or None, got {}", layer_decay)
        if isinstance(model, Path):
            model = str(model)  # a checkpoint holds plain values
        self.save_hyperparameters()
        self.layer_decay = layer_decay
        self.backbone = CLIPBackbone(model, pretrained, max_length, freeze, gradient_checkpointing, lora)
        self._share_scale()

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As PyTorch's; a model that was restored gives the loss its scale now."""
        result = super().load_state_dict(*args, **kwargs)
        self._share_scale()
        return result

    def encode_images(self, image: Tensor) -> Tensor:
        """Embeddings ``(N, D)`` of pictures ``(N, 3, height, width)``, not normalised."""
        return self.backbone.encode_images(image)

    def encode_texts(self, text: Mapping[str, Tensor]) -> Tensor:
        """Embeddings ``(M, D)`` of the token tensors that :meth:`text_transform` makes, not normalised."""
        return self.backbone.encode_texts(text)

    def image_transform(self, train: bool) -> ProcessorTransform:
        """The model's own image processor, in training too."""
        return self.backbone.image_transform()

    def text_transform(self) -> SubwordTokenizer:
        """The model's own tokenizer."""
        return self.backbone.text_transform()

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters that learn, with its schedules."""
        optimizers, schedules = super().configure_optimizers()
        if self.layer_decay is not None:
            require_rates_kept(schedules, "layer_decay=None")
        return optimizers, schedules

    def make_optimizer(self) -> Optimizer:
        """The optimizer of all parameters that learn, each layer at its rate."""
        if self.layer_decay is None:
            return super().make_optimizer()
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return decayed_optimizer(self.optimizer, learning, self.backbone.towers().values(), self.layer_decay)

    def _share_scale(self) -> None:
        """Give the losses that ask for them the scale and the bias of the model: the same parameters, not copies."""
        model, loss = self.backbone.model, self.relevance_loss
        parts = loss.parts() if isinstance(loss, RetrievalLoss) and model is not None else {}
        for _, part in parts.values():
            if not isinstance(part, ContrastiveLoss | SigmoidLoss):
                continue
            if part.log_scale is None:
                part.log_scale = _of_model(model, "temperature", "logit_scale", part.learnable)
                part.max_scale = max(part.max_scale, part.log_scale.exp().item())
            if isinstance(part, SigmoidLoss) and part.bias is None:
                part.bias = _of_model(model, "bias", "logit_bias", part.learnable)


def _of_model(model: Any, argument: str, name: str, learnable: bool) -> nn.Parameter:
    parameter = getattr(model, name, None)
    if not isinstance(parameter, nn.Parameter):
        raise ValueError(f"{argument}='model' needs a model with a {name}, but {type(model).__name__} has none")
    parameter.requires_grad_(parameter.requires_grad or learnable)
    return parameter


def _gentle_adamw(params: ParamsT) -> AdamW:
    # At the usual rate the model would forget what it knows.
    return AdamW(params, lr=1e-5)
