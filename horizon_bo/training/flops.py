"""Flops: how much compute does a model's training take per token, and how fast is a device?"""

from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from horizon_bo.training.config import ModelConfig, Recipe
from horizon_bo.training.model import transformer
from horizon_bo.training.parametrization import weights

#: FLOP per token and weight of a matrix, forward and backward.
_PER_WEIGHT = 6.0
#: Dense bf16 peak of accelerators by a part of their name, FLOP/s, from the makers' data sheets.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


@lru_cache(maxsize=64)
def flops_per_token(model: ModelConfig) -> float:
    """Training FLOP per token, counted on the matrix products of a forward and backward pass.

    The head, attention and active experts are counted; embeddings, norms and optimizer are not.
    A dense model takes 6 · (params + vocab · width) + 12 · depth · context · width, attention
    over the whole context, as its kernels are counted by convention.
    """
    dense = replace(model, experts=0)  # routing needs values, so experts are added afterwards
    return _counted(dense) + _PER_WEIGHT * (model.params - dense.params)


def _counted(model: ModelConfig) -> float:
    layout = weights(model, Recipe(batch_tokens=model.context), model.context)
    net = transformer(model, layout, device="meta")
    theta = torch.empty(1, net.size, device="meta", requires_grad=True)
    text = torch.empty(1, 1, model.context + 1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net.loss(theta, text).nats.sum().backward()
    return counter.get_total_flops() / model.context


def peak_flops(device: str) -> float | None:
    """Dense bf16 peak of the device, FLOP/s; `None` where it is not known."""
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)
