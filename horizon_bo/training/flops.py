"""Flops: how much compute does a model's training take per token, and how fast is a device?"""

from horizon_bo.training.config import ModelConfig

#: FLOP per token and weight of a matrix, forward and backward.
_PER_WEIGHT = 6.0
#: Dense bf16 peak of accelerators by a part of their name, FLOP/s, from the makers' data sheets.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


def flops_per_token(model: ModelConfig) -> float:
    """Training FLOP per token, forward and backward.

        6 · (params + vocab · width) + 12 · depth · context · width

    The head and active experts are counted, and attention over the whole context, as torch's
    counter does on the reference kernel; embeddings, norms and the optimizer are not.
    Source: Chowdhery et al. (2022), arXiv:2204.02311, appendix B, with the head.
    """
    attention = 12.0 * model.depth * model.context * model.width
    return _PER_WEIGHT * (model.params + model.vocab * model.width) + attention


def peak_flops(device: str) -> float | None:
    """Dense bf16 peak of the device, FLOP/s; `None` where it is not known."""
    if not device.startswith("cuda"):
        return None
    import torch  # seconds, which a name alone need not wait for

    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)
