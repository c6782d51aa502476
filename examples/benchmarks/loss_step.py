"""What a loss costs in a training step of a model as large as CLIP ViT-B/32, in bfloat16, with random weights."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vse_lightning import ContrastiveLoss, SmoothNDCGLoss
from vse_lightning.functional import cosine_similarity


def towers(quick: bool) -> nn.Module:
    """CLIP as published, or tiny."""
    from transformers import CLIPConfig, CLIPModel

    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPModel(CLIPConfig(text_config=tiny, vision_config=tiny) if quick else CLIPConfig())


def mean_seconds(run: Callable[[], None], device: str, times: int) -> float:
    """Of runs one after the other, as training does: the device need not wait for Python."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        run()
    wait()
    start = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return (time.perf_counter() - start) / times


def training_steps(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """A row per batch, loss, eager or compiled: seconds of the whole step, and of the loss alone."""
    torch.manual_seed(0)
    model = towers(quick).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    backend = "inductor" if device == "cuda" else "eager"
    for batch in (4,) if quick else (256, 1024):
        inputs = {
            "pixel_values": torch.randn(batch, 3, 224, 224, device=device),
            "input_ids": torch.randint(1, 49_000, (batch, 77), device=device),
        }
        relevance = torch.rand(batch, batch, device=device).pow_(3)
        for compiled in (False, True) if batch <= 256 else (False,):  # compiling takes a minute
            compile_ = partial(torch.compile, backend=backend, dynamic=False) if compiled else lambda module: module
            embed = compile_(model)
            for loss in (ContrastiveLoss(learnable=False), SmoothNDCGLoss()):
                function = compile_(loss.to(device))

                def loss_of(
                    images: Tensor, texts: Tensor, function: Any = function, relevance: Tensor = relevance
                ) -> None:
                    function(cosine_similarity(images, texts), relevance).backward()

                def step(embed: Any = embed, inputs: dict[str, Tensor] = inputs, loss_of: Any = loss_of) -> None:
                    with torch.autocast(device, torch.bfloat16):
                        output = embed(**inputs)
                        loss_of(output.image_embeds, output.text_embeds)
                    optimizer.step()
                    optimizer.zero_grad()

                images, texts = torch.randn(2, batch, 512, device=device).unbind()

                def alone(loss_of: Any = loss_of, images: Tensor = images, texts: Tensor = texts) -> None:
                    with torch.autocast(device, torch.bfloat16):
                        loss_of(images.detach().requires_grad_(), texts.detach().requires_grad_())

                yield {
                    "batch": batch,
                    "loss": loss.term,
                    "compiled": compiled,
                    "step_seconds": mean_seconds(step, device, 2 if quick else 10),
                    "loss_seconds": mean_seconds(alone, device, 2 if quick else 20),
                }
        torch.compiler.reset()
