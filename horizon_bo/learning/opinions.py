"""Opinions: what does each sweep by itself say of the exponents, and what do all together?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from horizon_bo.core.hierarchy import VAGUE, hierarchy
from horizon_bo.published.evidence import Evidence

#: Exponents by the words that people use, and the coefficients that they are.
EXPONENTS = {
    "params": "optimum_per_params",
    "tokens": "optimum_per_tokens",
    "batch": "optimum_per_batch",
}
#: A sweep by itself is read under a prior so many times as wide as recipes differ; an exponent
#: left wider than this was not told.
_WIDER, _UNTOLD_SD = 5.0, 0.6


@dataclass(frozen=True)
class Opinion:
    """What is said of how the best rate moves: d ln LR* / d ln params, tokens and batch.

    Args:
        name: Who says so.
        kind: `"bowls"`, `"optima"`, `"exponents"`, or `"population"` for all together.
        optimizer: Of which optimizer.
        rows: From how many runs or recipes.
        exponents: Mean and standard deviation of each; the latter `None` where it was not told.
    """

    name: str
    kind: str
    optimizer: str
    rows: int
    exponents: dict[str, tuple[float, float | None]]

    def record(self) -> dict[str, Any]:
        """As plain values."""
        told = {
            name: None if sd is None else {"mean": mean, "sd": sd}
            for name, (mean, sd) in self.exponents.items()
        }
        return {
            "name": self.name,
            "kind": self.kind,
            "optimizer": self.optimizer,
            "rows": self.rows,
            **told,
        }


def population_opinion(
    evidence: Sequence[Evidence], optimizer: str, *, parametrization: str, experts: bool
) -> Opinion:
    """What to expect of a recipe that is not among them: the tuner's own prior."""
    learnt = hierarchy(evidence).population(optimizer, parametrization, experts=experts)
    sd = np.sqrt(np.diagonal(learnt.covariance))
    names = list(VAGUE)
    exponents: dict[str, tuple[float, float | None]] = {
        word: (float(learnt.mean[names.index(name)]), float(sd[names.index(name)]))
        for word, name in EXPONENTS.items()
    }
    return Opinion("the next recipe", "population", optimizer, len(evidence), exponents)


def opinions(evidence: Sequence[Evidence]) -> list[Opinion]:
    """What each recipe's own data say, in their order."""
    return [_opinion(each) for each in evidence]


def _opinion(each: Evidence) -> Opinion:
    location, spread = np.array(list(VAGUE.values())).T
    weak = np.diag((_WIDER * spread) ** -2)
    covariance = np.linalg.inv(np.array(each.precision) + weak)
    mean = covariance @ (np.array(each.score) + weak @ location)
    sd = np.sqrt(np.diagonal(covariance))
    names = list(VAGUE)
    exponents: dict[str, tuple[float, float | None]] = {}
    for word, name in EXPONENTS.items():
        k = names.index(name)
        exponents[word] = (float(mean[k]), float(sd[k]) if sd[k] < _UNTOLD_SD else None)
    return Opinion(each.name, each.kind, each.optimizer, each.rows, exponents)
