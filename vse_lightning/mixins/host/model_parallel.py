"""Lightning's ModelParallelStrategy: what it leaves to whoever shards the model."""

from typing import Any

from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.distributed import process_count, sum_over_processes


def adapt_model_parallel(module: Any) -> None:
    """Average the gradients of the loss's own parameters, which no process shards, over the processes.

    Raises:
        ValueError: with ``tensor_parallel_size`` above 1, whose processes share a batch that would count several times.
    """
    mesh = getattr(module.trainer.strategy, "device_mesh", None)
    if mesh is None or process_count() == 1:
        return
    size = mesh["tensor_parallel"].size()
    message = (
        "relevance_gather=True counts the batch of each process: set tensor_parallel_size to 1 or it to False, got {}"
    )
    require(size == 1 or not module.relevance_gather, message, size)
    for parameter in module.relevance_loss.parameters():
        if parameter.requires_grad and not hasattr(parameter, "device_mesh"):  # a sharded one has it
            parameter.register_hook(_mean)  # twice is no harm


def _mean(gradient: Tensor) -> Tensor:
    return sum_over_processes(gradient) / process_count()
