"""Accelerator: how does a device compute the loss and the update of a step?

A CPU computes them as they are written. A GPU multiplies in bf16, on a rounded copy of the float32
weights, and runs both compiled; the loss and its gradient as one replayed graph each, as launching
the kernels of a small model one by one takes longer than running them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from horizon_bo.training.model import Losses, Transformer
from horizon_bo.training.optimizers import clipped_step


@dataclass(frozen=True)
class Compute:
    """How a device computes a step.

    Args:
        precision: Of the weights that the loss is given.
        loss: Losses of weights on text, as `Transformer.loss`.
        update: Takes over a gradient, as `clipped_step`.
    """

    precision: torch.dtype
    loss: Callable[[Tensor, Tensor], Losses]
    update: Callable[..., None]


def compute(net: Transformer, device: str) -> Compute:
    """How that device computes a step of that model."""
    if not device.startswith("cuda"):
        return Compute(torch.float32, net.loss, clipped_step)
    # experts take blocks of another size at every step, and each would be a graph of its own
    mode = None if net.model.experts else "reduce-overhead"
    loss = torch.compile(net.loss, mode=mode)
    return Compute(torch.bfloat16, loss, torch.compile(clipped_step))
