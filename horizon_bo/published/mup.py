"""µP: which settings of a tuned proxy change, and how, when the model grows?

Each rule maps ratios between target and proxy to factors on the proxy's settings; rules multiply.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Literal

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.constants import entries, named
from horizon_bo.published.weight_decay import TIMESCALE_EXPONENT


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the target compares with the proxy; 1 where nothing changes.

    Args:
        width: Ratio of hidden widths.
        depth: Ratio of layers.
        batch_tokens: Ratio of tokens per step.
        tokens: Ratio of training tokens.
        params: Ratio of parameters; used by the weight-decay rule alone.
        experts: Ratio of experts per layer, at equal active experts.
        active_experts: Ratio of experts that one token passes, a shared one included.
        expert_width: Ratio of an expert's hidden features; `None` is that of `width`.
    """

    width: float = 1.0
    depth: float = 1.0
    batch_tokens: float = 1.0
    tokens: float = 1.0
    params: float = 1.0
    experts: float = 1.0
    active_experts: float = 1.0
    expert_width: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidSpaceError(
                    f"ratio of {field.name} is {value!r}, expected a finite number > 0; "
                    "give target over proxy"
                )

    @property
    def active_width(self) -> float:
        """Ratio of hidden features that one token passes in a layer of experts."""
        own = self.width if self.expert_width is None else self.expert_width
        return self.active_experts * own

    @property
    def steps(self) -> float:
        """Ratio of optimizer steps."""
        return self.tokens / self.batch_tokens


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What to multiply the proxy's settings by.

    Args:
        hidden_rate: Rate of hidden matrices, experts' input matrices included.
        embedding_rate: Rate of embeddings, biases and norms.
        output_multiplier: Multiplier on the logits.
        hidden_init: Standard deviation of hidden matrices at the start.
        residual_multiplier: Multiplier on every residual branch.
        weight_decay: λ of hidden matrices, when the optimizer multiplies it by the rate; of the
            router too.
        expert_out_rate: Rate of experts' output matrices, a shared expert's included.
        expert_out_init: Standard deviation of experts' output matrices at the start.
        expert_out_decay: λ of experts' output matrices.
        gate_multiplier: Multiplier on gates that sum to one; a shared expert has none.
        router_rate: Rate of the router.
        router_init: Standard deviation of the router at the start.
    """

    hidden_rate: float = 1.0
    embedding_rate: float = 1.0
    output_multiplier: float = 1.0
    hidden_init: float = 1.0
    residual_multiplier: float = 1.0
    weight_decay: float = 1.0
    expert_out_rate: float = 1.0
    expert_out_init: float = 1.0
    expert_out_decay: float = 1.0
    gate_multiplier: float = 1.0
    router_rate: float = 1.0
    router_init: float = 1.0

    def times(self, other: "Factors") -> "Factors":
        """Both applied."""
        names = [field.name for field in fields(self)]
        return Factors(**{name: getattr(self, name) * getattr(other, name) for name in names})


RuleName = Literal["width", "depth", "depth-half", "batch", "horizon", "weight-decay", "moe"]


@dataclass(frozen=True, kw_only=True)
class TransferRule:
    """A rule's formula and source, for people.

    Args:
        name: What the command line calls it.
        formula: The factors in words and symbols; m is a ratio target/proxy.
        source: Where it is published.
        note: What a user should know; empty when nothing.
    """

    name: RuleName
    formula: str
    source: str
    note: str = ""


#: Every transfer rule by name.
TRANSFER_RULES: Mapping[str, TransferRule] = MappingProxyType(
    {entry["name"]: TransferRule(**entry) for entry in entries("laws", "rule")}
)

#: Applied when the user names none.
DEFAULT_RULES: tuple[RuleName, ...] = ("width", "depth", "batch", "horizon", "moe")


def transfer_factors(growth: Growth, rules: Sequence[str] = DEFAULT_RULES) -> Factors:
    """Factors on a proxy's settings when it grows, by the named rules together.

    The horizon rule counts steps, and √ of the batch ratio is the batch rule's: at equal tokens
    a larger batch also takes fewer steps, so the two are applied at equal tokens and equal batch
    in turn.
    """
    factors = Factors()
    for name in rules:
        named(TRANSFER_RULES, name, "rule")
        if name != "weight-decay":
            factors = factors.times(_factors(name, growth))
    if "weight-decay" in rules:
        per_param = (growth.tokens / growth.params) ** -TIMESCALE_EXPONENT
        kept = growth.batch_tokens * per_param / growth.tokens  # rate · decay, over the proxy's
        factors = replace(
            factors,
            weight_decay=kept / factors.hidden_rate,
            expert_out_decay=kept / factors.expert_out_rate,
        )
    return factors


def _factors(rule: str, growth: Growth) -> Factors:
    if rule == "width":
        m = growth.width
        return Factors(
            hidden_rate=1 / m, hidden_init=m**-0.5, output_multiplier=1 / m, weight_decay=m
        )
    if rule == "depth":
        return Factors(residual_multiplier=1 / growth.depth)
    if rule == "depth-half":
        root = growth.depth**-0.5
        return replace(_all_matrices(root), residual_multiplier=root)
    if rule == "batch":
        root = growth.batch_tokens**0.5
        every = replace(_all_matrices(root), embedding_rate=root)
        return replace(every, weight_decay=root, expert_out_decay=root)
    if rule == "horizon":
        root = growth.tokens**-0.5  # at equal batch, steps grow as tokens
        return replace(_all_matrices(root), embedding_rate=root)
    assert rule == "moe", f"rule {rule} has no factors"
    a = growth.active_width
    return Factors(
        expert_out_rate=1 / a,
        expert_out_init=a**-0.5,
        expert_out_decay=a,
        gate_multiplier=growth.active_experts,
        router_rate=1 / growth.width,
        router_init=1 / growth.width,
    )


def _all_matrices(rate: float) -> Factors:
    return Factors(hidden_rate=rate, expert_out_rate=rate, router_rate=rate)
