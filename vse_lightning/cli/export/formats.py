"""Programs on disk: written, read back, and compared with the module that they were made of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vse_lightning.checks import require
from vse_lightning.cli.export.towers import Inputs, Tower

Program = Callable[[Inputs], Tensor]
FORMATS = ("pt2", "onnx")


def write_program(tower: Tower, file_format: str, folder: Path, tolerance: float) -> tuple[Path, float]:
    """Write a tower, read it back and compare it.

    Args:
        tower: what to write.
        file_format: one of ``FORMATS``.
        folder: gets ``{tower}.{format}``; weights beyond the 2 GB that an ONNX file can hold stand in a file beside it.
        tolerance: largest difference allowed, as a share of the largest value of the embeddings.

    Returns:
        The file, and the largest difference.

    Raises:
        ValueError: if the tower cannot be exported, or what was written embeds differently.
    """
    write, read = {"pt2": (_write_pt2, _read_pt2), "onnx": (_write_onnx, _read_onnx)}[file_format]
    path = folder / f"{tower.name}.{file_format}"
    with torch.no_grad(), _silence(), _explaining(tower, file_format):
        write(tower, path)
        program = read(path)
        embeds = [program(batch) for batch in tower.batches]
    apart = max(difference(*pair) for pair in zip(embeds, tower.embeds, strict=True))
    # not "apart > tolerance": NaN must not pass
    message = (
        "{} is not kept: its embeddings differ from the model's by {:.1e} of their largest value, and --tolerance "
    )
    require(apart <= tolerance, message + "is {:.1e}", path.name, apart, tolerance)
    return path, apart


def _write_pt2(tower: Tower, path: Path) -> None:
    dynamic = {
        name: dict.fromkeys(names, torch.export.Dim.DYNAMIC) for name, names in tower.dynamic_dimensions().items()
    }
    with _loops_for_grus(tower.module):
        program = torch.export.export(tower.module, (), tower.batches[0], dynamic_shapes=dynamic)
    torch.export.save(program, path)


def _read_pt2(path: Path) -> Program:
    module = torch.export.load(path).module()
    return lambda batch: module(**batch)


def _write_onnx(tower: Tower, path: Path) -> None:
    program: Any = torch.onnx.export(
        tower.module,
        (),
        kwargs=tower.batches[0],
        dynamo=True,
        dynamic_shapes=tower.dynamic_dimensions(),
        input_names=list(tower.batches[0]),
        output_names=["embeds"],
        verbose=False,
    )
    program.save(path)


def _read_onnx(path: Path) -> Program:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(["embeds"], {name: batch[name].numpy() for name in batch})[0])


def difference(embeds: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest value; infinite where shapes differ."""
    if embeds.shape != expected.shape:
        return float("inf")
    return float((embeds - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny))


@contextmanager
def _loops_for_grus(module: nn.Module) -> Iterator[None]:
    """Trace a GRU as a loop over the words; PyTorch would unroll it, for captions of one length alone."""
    if not any(isinstance(part, nn.GRU) for part in module.modules()):
        yield
        return
    try:
        from torch.export._patches import register_gru_while_loop_decomposition
    except ImportError as error:
        raise ValueError(
            f"PyTorch {torch.__version__} unrolls a GRU for captions of one length: update PyTorch, or take --format "
            "onnx, which has an operator for it"
        ) from error
    # PyTorch remembers how a GRU was traced last: unrolled by an export to ONNX before this one, as a loop by this one.
    remembered = torch.ops.aten.gru.input._dispatch_cache
    remembered.clear()
    try:
        with register_gru_while_loop_decomposition():
            yield
    finally:
        remembered.clear()


@contextmanager
def _explaining(tower: Tower, file_format: str) -> Iterator[None]:
    """Say what could not be exported."""
    try:
        yield
    except Exception as error:  # exporters raise errors of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        name = type(tower.module.encoder).__name__
        raise ValueError(f"the {tower.name} tower, {name}, cannot be exported as {file_format}: {reason}") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Exporters warn and log about their own insides; what counts is the comparison."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
