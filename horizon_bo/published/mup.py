"""µP: which settings of a tuned proxy change, and how, when the model grows?

Each rule maps ratios between target and proxy to factors on the proxy's settings; rules multiply.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
    """

    width: float = 1.0
    depth: float = 1.0
    batch_tokens: float = 1.0
    tokens: float = 1.0
    params: float = 1.0
    experts: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidSpaceError(
                    f"ratio of {field.name} is {value!r}, expected a finite number > 0; "
                    "give target over proxy"
                )

    @property
    def steps(self) -> float:
        """Ratio of optimizer steps."""
        return self.tokens / self.batch_tokens


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What to multiply the proxy's settings by.

    Args:
        hidden_rate: Rate of hidden matrices, experts included.
        embedding_rate: Rate of embeddings, biases and norms.
        output_multiplier: Multiplier on the logits.
        hidden_init: Standard deviation of hidden matrices at the start.
        residual_multiplier: Multiplier on every residual branch.
        weight_decay: λ of hidden matrices, when the optimizer multiplies it by the rate.
    """

    hidden_rate: float = 1.0
    embedding_rate: float = 1.0
    output_multiplier: float = 1.0
    hidden_init: float = 1.0
    residual_multiplier: float = 1.0
    weight_decay: float = 1.0

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
        decay = growth.batch_tokens * per_param / (factors.hidden_rate * growth.tokens)
        factors = factors.times(Factors(weight_decay=decay / factors.weight_decay))
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
        return Factors(residual_multiplier=root, hidden_rate=root)
    if rule == "batch":
        root = growth.batch_tokens**0.5
        return Factors(hidden_rate=root, embedding_rate=root, weight_decay=root)
    if rule == "horizon":
        root = growth.tokens**-0.5  # at equal batch, steps grow as tokens
        return Factors(hidden_rate=root, embedding_rate=root)
    assert rule == "moe", f"rule {rule} has no factors"
    return Factors()
