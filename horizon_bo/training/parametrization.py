"""Parametrization: how do starts, rates, decay and multipliers depend on the model's shape?

Under µP every quantity is that of the standard parametrization at the base shape, times a power
of m_N = width / base width, m_L = depth / base depth, m_B = batch / base batch and m_D = tokens /
base tokens, so that the best rate found at the base stays the best:

    hidden matrices   start sd × m_N^−½   rate × 1/m_N   decay × m_N   eps × 1/(m_N m_L)
    embedding         start and rate unchanged           eps × 1/m_N
    head              output × 1/m_N, rate unchanged
    residual branches × 1/m_L
    all rates         × √m_B at equal tokens, × m_D^−½ at equal batch;  all decay × √m_B

The base of an expert model is the dense model of the base shape, whose hidden layer the active
experts (a of them, and a shared one) share among them:

    gates             × a, so that each is 1 when even      experts' up    as hidden matrices
    experts' down     start sd (all active features)^−½, rate and decay as hidden matrices
    shared expert     the same, without a gate              more experts   nothing
    router            start sd × 1/m_N, as it has few outputs;  rate × 1/m_N, decay × m_N

Source: Yang et al. (2022), arXiv:2203.03466; depth by CompleteP (α = 1), arXiv:2505.01618; batch
and horizon by Complete(d)P, arXiv:2512.22382. Experts as slices of one dense layer of the active
width with normalized gates, and their number without a rule, by Complete-muE, arXiv:2605.23893
(abstract; its table could not be had); experts as hidden and the router as an output layer follow
from Yang et al., table 8, as in Małaśnicki et al. (2025), arXiv:2508.09752 (abstract).
Changed: attention is scaled by √(head_dim) as usual, because head_dim does not grow with width.
"""

import math
from dataclasses import dataclass

from horizon_bo.training.config import ModelConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One weight tensor: its shape per run, its start, and how it is updated.

    Args:
        name: Where it stands, e.g. `"3.out"`.
        shape: Without the axis of stacked runs.
        start_sd: Standard deviation of its start; 0 starts at zero, `None` at one.
        rate: Factor on the learning rate.
        decay: Factor on the weight decay.
        eps: Factor on AdamW's eps.
        matrix: Whether a matrix optimizer updates it.
    """

    name: str
    shape: tuple[int, ...]
    start_sd: float | None
    rate: float = 1.0
    decay: float = 0.0
    eps: float = 1.0
    matrix: bool = False

    @property
    def size(self) -> int:
        """Number of weights per run."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """Factors in the forward pass: on residual branches, logits and the gates of experts."""

    residual: float = 1.0
    logits: float = 1.0
    gates: float = 1.0


def multipliers(model: ModelConfig) -> Multipliers:
    """Forward factors of a model."""
    if model.parametrization == "standard":
        return Multipliers()
    return Multipliers(
        residual=model.base_depth / model.depth,
        logits=model.base_width / model.width,
        gates=float(model.active_experts),
    )


@dataclass(frozen=True, kw_only=True)
class _Growth:
    """Factors that all weights of a model share: ratios to the base under µP, else 1.

    Args:
        wide: m_N.
        deep: m_L.
        rate: Of every learning rate, √(m_B / steps).
        decay: Of every weight decay, √m_B.
    """

    wide: float = 1.0
    deep: float = 1.0
    rate: float = 1.0
    decay: float = 1.0

    def gain(self, name: str, width: int) -> Weights:
        """The gain of a norm."""
        return Weights(name=name, shape=(width,), start_sd=None, rate=self.rate)

    def hidden(
        self, name: str, shape: tuple[int, ...], shrink: float = 1.0, slices: int = 1
    ) -> Weights:
        """A hidden matrix, one of `slices` of a wider one; `shrink` is a factor on its start."""
        return Weights(
            name=name,
            shape=shape,
            # a matrix's start sd is fan_in^−½ in both parametrizations: µP's factor is in it
            start_sd=shrink * (slices * shape[-2]) ** -0.5,
            rate=self.rate / self.wide,
            decay=self.decay * self.wide,
            eps=1 / (self.wide * self.deep),
            matrix=True,
        )

    def router(self, name: str, width: int, experts: int) -> Weights:
        """The router's matrix, an output layer: its start falls with width once more."""
        return self.hidden(name, (width, experts), self.wide**-0.5)


def weights(model: ModelConfig, recipe: Recipe, tokens: int) -> tuple[Weights, ...]:
    """Every weight tensor of a model in the order of the flat buffer.

    Args:
        model: The model.
        recipe: For the batch rule.
        tokens: Training tokens, for the horizon rule.
    """
    mup, d = model.parametrization == "mup", model.width
    growth = _grown(model, recipe, tokens) if mup else _Growth()
    first = d**-0.5 if not mup else model.base_width**-0.5
    embedding = Weights(
        name="embedding",
        shape=(model.vocab, d),
        start_sd=first if model.tied else 1.0,
        rate=growth.rate,
        eps=1 / growth.wide,
    )
    head = Weights(
        name="head", shape=(d, model.vocab), start_sd=0.0, rate=growth.rate, decay=growth.decay
    )
    blocks = [part for layer in range(model.depth) for part in _block(layer, model, growth)]
    return (embedding, *blocks, growth.gain("final_gain", d), *([] if model.tied else [head]))


def _grown(model: ModelConfig, recipe: Recipe, tokens: int) -> _Growth:
    """How a model under µP compares with its base."""
    batch = recipe.batch_tokens / (recipe.base_batch_tokens or recipe.batch_tokens)
    longer = tokens / (recipe.base_tokens or tokens)
    return _Growth(
        wide=model.width / model.base_width,
        deep=model.depth / model.base_depth,
        rate=math.sqrt(batch / longer),
        decay=math.sqrt(batch),
    )


def _block(layer: int, model: ModelConfig, growth: _Growth) -> list[Weights]:
    """The weights of one layer."""
    d, ff, experts = model.width, model.hidden, model.experts
    mup = model.parametrization == "mup"
    out = (2 * (model.base_depth if mup else model.depth)) ** -0.5  # GPT-2's shrink of what adds up
    many = (experts,) if experts else ()
    slices = model.feeds if mup else 1
    found = [
        growth.gain(f"{layer}.attention_gain", d),
        growth.hidden(f"{layer}.qkv", (d, 3 * d)),
        growth.hidden(f"{layer}.out", (d, d), out),
        growth.gain(f"{layer}.feed_gain", d),
        growth.hidden(f"{layer}.up", (*many, d, 2 * ff)),
        growth.hidden(f"{layer}.down", (*many, ff, d), out, slices),
    ]
    if experts:
        found.append(growth.router(f"{layer}.router", d, experts))
    if experts and model.shared_expert:
        found += [
            growth.hidden(f"{layer}.shared_up", (d, 2 * ff)),
            growth.hidden(f"{layer}.shared_down", (ff, d), out, slices),
        ]
    return found
