"""Model: what loss does a decoder-only transformer have on a batch of tokens?

All runs of a stack share one computation: every tensor carries a leading axis of runs, every
matrix product is batched over it, and the weights of each run lie in one row of a flat buffer.
One run is a stack of one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from jaxtyping import Float, Int
from torch import Tensor

from horizon_bo.training.config import ModelConfig
from horizon_bo.training.experts import routed
from horizon_bo.training.parametrization import Multipliers, Weights, multipliers

#: Slowest rotation of positions. Source: Su et al. (2021), arXiv:2104.09864, section 3.2.2.
_ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Losses:
    """Mean losses of each stacked run on its batch."""

    nats: Float[Tensor, "run"]  # cross-entropy, nats per token
    extra: Float[Tensor, "run"]  # z-loss and load balancing, weighted


@dataclass(frozen=True)
class Transformer:
    """A model's layout: its weights in the flat buffer and its constants.

    Args:
        model: The model.
        layout: Its weight tensors, in the order of the buffer.
        cosine: Rotary table, `context × head_dim/2`.
        sine: Rotary table, `context × head_dim/2`.
        z_loss: Weight of the squared log-partition.
        balance: Weight of the load-balancing loss.
    """

    model: ModelConfig
    layout: tuple[Weights, ...]
    factors: Multipliers
    cosine: Float[Tensor, "context half"]
    sine: Float[Tensor, "context half"]
    z_loss: float
    balance: float

    @property
    def size(self) -> int:
        """Weights per run, embeddings included."""
        return sum(part.size for part in self.layout)

    def split(self, theta: Float[Tensor, "run weight"]) -> Mapping[str, Tensor]:
        """Views of the flat buffer by name.

        `torch.split` rather than slices: its backward is one concatenation, while each slice's
        would fill the whole buffer with zeros.
        """
        parts = theta.split([part.size for part in self.layout], dim=1)
        return {
            part.name: flat.view(len(theta), *part.shape)
            for part, flat in zip(self.layout, parts, strict=True)
        }

    def loss(self, theta: Float[Tensor, "run weight"], text: Int[Tensor, "run row span"]) -> Losses:
        """Losses of predicting each token of `text` from those before it.

        Args:
            theta: Weights, one row a run.
            text: Token values; the last one of a row is predicted only.
        """
        logits, balance = self.logits(theta, text[..., :-1])
        wanted = text[..., 1:].reshape(-1)
        flat = logits.flatten(0, 1).float()
        nats = F.cross_entropy(flat, wanted, reduction="none").view(len(theta), -1).mean(1)
        extra = self.balance * balance
        if self.z_loss:
            log_partition = flat.logsumexp(-1).view(len(theta), -1)
            extra = extra + self.z_loss * log_partition.square().mean(1)
        return Losses(nats, extra)

    def logits(
        self, theta: Float[Tensor, "run weight"], text: Int[Tensor, "run row place"]
    ) -> tuple[Float[Tensor, "run token vocab"], Float[Tensor, "run"]]:
        """Logits of every next token, and the experts' imbalance (0 where the model is dense)."""
        runs, rows, length = text.shape
        parts = self.split(theta)
        vocab, width = parts["embedding"].shape[1:]
        first = torch.arange(runs, device=text.device)[:, None] * vocab
        table = parts["embedding"].reshape(runs * vocab, width)
        stream = F.embedding(text.reshape(runs, rows * length) + first, table)
        imbalance = torch.zeros(runs, device=text.device)
        residual = self.factors.residual
        for layer in range(self.model.depth):
            attended = self._attention(parts, layer, stream, rows)
            stream = stream + residual * attended if residual != 1 else stream + attended
            fed, uneven = self._feed(parts, layer, stream)
            stream = stream + residual * fed if residual != 1 else stream + fed
            imbalance = imbalance + uneven
        final = self._normed(stream, parts["final_gain"])
        head = parts["embedding"].mT if self.model.tied else parts["head"]
        return self.factors.logits * torch.bmm(final, head), imbalance / self.model.depth

    def _normed(self, stream: Tensor, gain: Tensor) -> Tensor:
        return F.rms_norm(stream, (stream.shape[-1],)) * gain[:, None, :]

    def _rotated(self, x: Tensor) -> Tensor:
        cosine = self.cosine[: x.shape[2]].to(x.dtype)
        sine = self.sine[: x.shape[2]].to(x.dtype)
        left, right = x.chunk(2, -1)
        return torch.cat((left * cosine - right * sine, left * sine + right * cosine), -1)

    def _attention(
        self, parts: Mapping[str, Tensor], layer: int, stream: Tensor, rows: int
    ) -> Tensor:
        runs, tokens, width = stream.shape
        size = self.model.head_dim
        normed = self._normed(stream, parts[f"{layer}.attention_gain"])
        qkv = torch.bmm(normed, parts[f"{layer}.qkv"])
        shape = (runs * rows, tokens // rows, 3, width // size, size)
        query, key, value = qkv.view(shape).permute(2, 0, 3, 1, 4)
        if self.model.qk_norm:
            query, key = F.rms_norm(query, (size,)), F.rms_norm(key, (size,))
        mixed = F.scaled_dot_product_attention(
            self._rotated(query), self._rotated(key), value, is_causal=True
        )
        return torch.bmm(mixed.transpose(1, 2).reshape(runs, tokens, width), parts[f"{layer}.out"])

    def _feed(
        self, parts: Mapping[str, Tensor], layer: int, stream: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        normed = self._normed(stream, parts[f"{layer}.feed_gain"])
        up, down = parts[f"{layer}.up"], parts[f"{layer}.down"]
        if not self.model.experts:
            return swiglu(normed, up, down), 0.0
        fed, uneven = routed(normed, parts[f"{layer}.router"], up, down, self.model.active_experts)
        if self.factors.gates != 1:
            fed = self.factors.gates * fed
        if self.model.shared_expert:
            shared = swiglu(normed, parts[f"{layer}.shared_up"], parts[f"{layer}.shared_down"])
            fed = fed + shared
        return fed, uneven


def swiglu(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """`(silu(x U₁) · x U₂) D`. Source: Shazeer (2020), arXiv:2002.05202, eq. 6."""
    gate, value = torch.bmm(x, up).chunk(2, -1)
    return torch.bmm(F.silu(gate) * value, down)


def transformer(
    model: ModelConfig,
    layout: tuple[Weights, ...],
    *,
    z_loss: float = 0.0,
    balance: float = 0.0,
    device: str = "cpu",
) -> Transformer:
    """A model with its rotary tables on a device."""
    half = torch.arange(0, model.head_dim, 2, dtype=torch.float64) / model.head_dim
    place = torch.arange(model.context, dtype=torch.float64)
    angle = place[:, None] * torch.exp(-math.log(_ROTARY_BASE) * half)
    cosine, sine = angle.cos().float().to(device), angle.sin().float().to(device)
    return Transformer(model, layout, multipliers(model), cosine, sine, z_loss, balance)


def started(layout: tuple[Weights, ...], seeds: tuple[int, ...]) -> Float[Tensor, "run weight"]:
    """Weights at the start, one row a run; a row depends on its seed alone."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.cat([_start(part, generator) for part in layout]))
    return torch.stack(rows)


def _start(part: Weights, generator: torch.Generator) -> Tensor:
    if part.start_sd is None:
        return torch.ones(part.size)
    if part.start_sd == 0:
        return torch.zeros(part.size)
    return part.start_sd * torch.randn(part.size, generator=generator)
