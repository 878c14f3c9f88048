"""The same model written by hand in ordinary PyTorch, to compare values and speed with."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from horizon_bo.training.config import ModelConfig


class Block(nn.Module):
    """Attention and SwiGLU, each behind an RMSNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.attention_gain = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_gain = nn.RMSNorm(width)
        self.up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Add both branches to the stream."""
        rows, length, width = x.shape
        heads, size = width // self.config.head_dim, self.config.head_dim
        qkv = self.qkv(self.attention_gain(x)).view(rows, length, 3, heads, size)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)

        def turn(z: Tensor) -> Tensor:
            left, right = z.chunk(2, -1)
            return torch.cat((left * cosine - right * sine, left * sine + right * cosine), -1)

        mixed = F.scaled_dot_product_attention(turn(query), turn(key), value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        gate, up = self.up(self.feed_gain(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class PlainGPT(nn.Module):
    """A dense decoder in the standard parametrization, untied."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_gain = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab, bias=False)
        half = torch.arange(0, config.head_dim, 2) / config.head_dim
        angle = torch.arange(config.context)[:, None] * torch.exp(-math.log(10_000.0) * half)
        self.register_buffer("cosine", angle.cos())
        self.register_buffer("sine", angle.sin())

    def forward(self, text: Tensor) -> Tensor:
        """Mean cross-entropy of each next token, nats."""
        x = self.embedding(text[:, :-1])
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        logits = self.head(self.final_gain(x))
        return F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())

    def load_flat(self, theta: Tensor) -> None:
        """Take over one run's row of the flat buffer: the same order, matrices transposed."""
        tensors = list(self.parameters())
        # torch lists a block's weights in the order in which the buffer holds them
        ends = torch.tensor([0, *(t.numel() for t in tensors)]).cumsum(0).tolist()
        with torch.no_grad():
            for tensor, (start, end) in zip(tensors, pairwise(ends), strict=True):
                flat = theta[start:end]
                is_linear = tensor.dim() == 2 and tensor is not self.embedding.weight
                shape = tensor.shape[::-1] if is_linear else tensor.shape
                tensor.copy_(flat.view(shape).T if is_linear else flat.view(shape))
