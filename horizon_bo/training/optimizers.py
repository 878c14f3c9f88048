"""Optimizers: how does a step change the weights of all stacked runs?

Each run has a learning rate of its own and each weight factors of its own, which torch's AdamW
cannot hold; one update of the flat buffer can. Muon is torch's, on views of that buffer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from horizon_bo.training.config import Recipe
from horizon_bo.training.parametrization import Weights

#: So that one rate serves both optimizers. Source: Liu et al. (2025), arXiv:2502.16982, eq. 4.
_MUON_RATE = "match_rms_adamw"


@dataclass
class State:
    """Everything that a step reads and changes, in flat buffers with one row a run."""

    theta: Float[Tensor, "run weight"]
    first: Float[Tensor, "run weight"]  # mean of gradients; of matrices, Muon's momentum
    second: Float[Tensor, "run weight"]  # mean of squared gradients
    step: int = 0

    def copy(self) -> "State":
        """The same values in other memory."""
        return State(self.theta.clone(), self.first.clone(), self.second.clone(), self.step)

    def restore(self, kept: "State") -> None:
        """Take over the values of another state, in this one's memory."""
        self.theta.copy_(kept.theta)
        self.first.copy_(kept.first)
        self.second.copy_(kept.second)
        self.step = kept.step


def new_state(theta: Tensor) -> State:
    """The state before the first step."""
    return State(theta, torch.zeros_like(theta), torch.zeros_like(theta))


def clipped(gradient: Float[Tensor, "run weight"], most: float | None) -> Tensor:
    """The gradient of each run in float32, with its norm cut to `most`."""
    gradient = gradient.float()
    if most is None:
        return gradient
    norm = gradient.norm(dim=1, keepdim=True)
    return gradient * (most / (norm + 1e-6)).clamp(max=1.0)


@dataclass(frozen=True)
class Factors:
    """Per-weight factors on the rate, the decay and eps, in the order of the flat buffer."""

    rate: Float[Tensor, "weight"]
    decay: Float[Tensor, "weight"]
    eps: Float[Tensor, "weight"]

    def part(self, span: slice) -> "Factors":
        """The factors of a stretch of the buffer."""
        return Factors(self.rate[span], self.decay[span], self.eps[span])


def factors(layout: tuple[Weights, ...], recipe: Recipe, device: str) -> Factors:
    """Factors of a layout; decay and eps are the recipe's times those of each tensor."""

    def flat(values: list[float]) -> Tensor:
        sizes = torch.tensor([part.size for part in layout])
        return torch.tensor(values).repeat_interleave(sizes).to(device)

    return Factors(
        flat([part.rate for part in layout]),
        flat([recipe.weight_decay * part.decay for part in layout]),
        flat([recipe.eps * part.eps for part in layout]),
    )


@torch.no_grad()
def adamw_step(
    state: State,
    gradient: Float[Tensor, "run weight"],
    rate: Float[Tensor, "run 1"],
    own: Factors,
    recipe: Recipe,
    span: slice = slice(None),
) -> None:
    """One step of AdamW on a stretch of the buffer; `state.step` counts it already.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − η (m̂ / (√v̂ + ε) + λθ)

    Source: Loshchilov & Hutter (2019), arXiv:1711.05101, algorithm 2, with the decay multiplied
    by the peak rate too, as torch does.
    """
    theta, first, second = state.theta[:, span], state.first[:, span], state.second[:, span]
    gradient = gradient[:, span]
    first.lerp_(gradient, 1 - recipe.beta1)
    second.mul_(recipe.beta2).addcmul_(gradient, gradient, value=1 - recipe.beta2)
    bias1 = 1 - recipe.beta1**state.step
    bias2 = 1 - recipe.beta2**state.step
    update = (first / bias1).div_((second / bias2).sqrt_().add_(own.eps))
    update.add_(own.decay * theta).mul_(own.rate)
    theta.sub_(update.mul_(rate))


def clipped_step(
    state: State,
    gradient: Float[Tensor, "run weight"],
    rate: Float[Tensor, "run 1"],
    own: Factors,
    recipe: Recipe,
) -> None:
    """One step of AdamW on the whole buffer, the gradient of each run clipped before."""
    adamw_step(state, clipped(gradient, recipe.clip), rate, own, recipe)


class Muon:
    """torch's Muon for the matrices of every run, with AdamW for what lies between them.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".
    """

    def __init__(self, state: State, layout: tuple[Weights, ...], recipe: Recipe) -> None:
        self._matrices: list[tuple[torch.optim.Muon, int, slice, Weights]] = []
        self._rest: list[slice] = []
        end = 0
        for part in layout:
            span = slice(end, end := end + part.size)
            if not part.matrix:
                self._rest.append(span)
                continue
            for run in range(len(state.theta)):
                self._add(state, run, span, part, recipe)

    def _add(self, state: State, run: int, span: slice, part: Weights, recipe: Recipe) -> None:
        shape = part.shape[-2:]
        matrices = state.theta[run, span].view(-1, *shape).unbind()
        momenta = state.first[run, span].view(-1, *shape).unbind()
        optimizer = torch.optim.Muon(
            matrices,
            weight_decay=recipe.weight_decay * part.decay,
            adjust_lr_fn=_MUON_RATE,
        )
        for matrix, momentum in zip(matrices, momenta, strict=True):
            optimizer.state[matrix]["momentum_buffer"] = momentum
        self._matrices.append((optimizer, run, span, part))

    def step(
        self, state: State, gradient: Tensor, rate: Tensor, own: Factors, recipe: Recipe
    ) -> None:
        """One step of all runs; `state.step` counts it already."""
        for span in self._rest:
            adamw_step(state, gradient, rate, own.part(span), recipe, span)
        for optimizer, run, span, part in self._matrices:
            group = optimizer.param_groups[0]
            group["lr"] = float(rate[run, 0]) * part.rate
            grads = gradient[run, span].view(-1, *part.shape[-2:]).unbind()
            for matrix, grad in zip(group["params"], grads, strict=True):
                matrix.grad = grad
            optimizer.step()
