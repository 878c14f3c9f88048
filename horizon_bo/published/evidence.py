"""Evidence: what did each sweep and each published fit say of its coefficients?

A recipe's likelihood of its coefficients θ is kept as a normal in information form,

    ln p(data | θ) = const − ½ θᵀ Λ θ + hᵀ θ,

so that it says nothing (Λ = 0) of what its runs could not tell: bowls identify most coefficients,
optima the exponents, a published exponent itself. `core.hierarchy` learns from these what the next
recipe may look like. The shipped file is written by `horizon-bo prior learn`.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from horizon_bo.errors import InvalidSpaceError

#: Written into every file; another one is refused, but for the one before, whose cliffs are e-folds
#: above the optimum instead of their ln: read by the tangent at `_TYPICAL_CLIFF`.
FORMAT, _LINEAR_CLIFF = 2, 1
_TYPICAL_CLIFF = 2.0
#: What the coefficients of a file are measured in.
UNIT = "natural logs; losses relative to the study's typical loss"

#: Coefficients that recipes share a population of, in the order of every matrix.
COEFFICIENTS = (
    "optimum_per_params",
    "optimum_per_tokens",
    "optimum_per_batch",
    "log_curvature",
    "curvature_per_params",
    "curvature_per_tokens",
    "curvature_per_batch",
    "asymmetry",
    "log_params_exponent",
    "log_tokens_exponent",
    "log_drift_sd",
    "log_length",
    "log_misfit_sd",
    "log_noise_sd",
    "noise_per_compute",
    "log_bowl_error",
    "log_cliff",
)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Where a recipe's best rate lay at its largest cell.

    Args:
        learning_rate: The rate, as given to the optimizer.
        log_sd: Standard deviation of its natural log.
        params: Size, a count.
        tokens: Training tokens, a count.
        batch_tokens: Tokens per step, `None` where unknown.
    """

    learning_rate: float
    log_sd: float
    params: float
    tokens: float
    batch_tokens: float | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one recipe's data say of its coefficients.

    Args:
        name: The recipe.
        group: Recipes of one group share code, data or people, and are left out together.
        data: Names of the data it was learnt from; a study on any of them may not use it.
        kind: `"bowls"`, `"optima"` or `"exponents"`: what the data are.
        optimizer: The optimizer.
        parametrization: `"standard"` or `"mup"`.
        experts: Whether `params` are the active ones of a mixture of experts.
        weight: Its share of a recipe, below 1 where relatives repeat much of what it says.
        precision: Λ, a row a coefficient of `COEFFICIENTS`.
        score: h.
        optimum: Its best rate, where it has one.
        rows: Runs behind it.
        source: Paper, repository, licence.
    """

    name: str
    group: str
    data: tuple[str, ...]
    kind: str
    optimizer: str
    parametrization: str
    experts: bool
    weight: float
    precision: tuple[tuple[float, ...], ...]
    score: tuple[float, ...]
    optimum: Optimum | None
    rows: int
    source: str


def usable(evidence: Sequence[Evidence], excluded: Collection[str]) -> tuple[Evidence, ...]:
    """The recipes that may speak where some data must not, without their relatives."""
    refused = {each.group for each in evidence if set(each.data) & set(excluded)}
    return tuple(each for each in evidence if each.group not in refused)


@cache
def shipped() -> tuple[Evidence, ...]:
    """The evidence that comes with the package."""
    text = (files("horizon_bo") / "data" / "evidence.json").read_text()
    return evidence_from(json.loads(text), "the shipped evidence")


def evidence_record(evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Evidence as plain values; matrices are symmetric and keep their lower half."""
    return {
        "format": FORMAT,
        "unit": UNIT,
        "coefficients": list(COEFFICIENTS),
        "recipes": [
            {
                **{name: getattr(each, name) for name in _PLAIN},
                "data": list(each.data),
                "precision": [_rounded(row[: k + 1]) for k, row in enumerate(each.precision)],
                "score": _rounded(each.score),
                "optimum": None if each.optimum is None else vars(each.optimum),
            }
            for each in evidence
        ],
    }


_PLAIN = (
    "name",
    "group",
    "kind",
    "optimizer",
    "parametrization",
    "experts",
    "weight",
    "rows",
    "source",
)


def _rounded(values: Sequence[float]) -> list[float]:
    """Five digits, which is more than any sweep can tell."""
    return [float(f"{value:.5g}") for value in values]


def evidence_from(record: Mapping[str, Any], name: str) -> tuple[Evidence, ...]:
    """Evidence from plain values.

    Args:
        record: What `evidence_record` gives.
        name: What to call it in a message.
    """
    old = isinstance(record, Mapping) and record.get("format") == _LINEAR_CLIFF
    for key, expected in (("format", _LINEAR_CLIFF if old else FORMAT), ("unit", UNIT)):
        if not isinstance(record, Mapping) or record.get(key) != expected:
            found = record.get(key) if isinstance(record, Mapping) else record
            raise InvalidSpaceError(
                f"{key} of {name} is {found!r}, expected {expected!r}; "
                "write it again with horizon-bo prior learn"
            )
    names = (*COEFFICIENTS[:-1], "cliff") if old else COEFFICIENTS
    if tuple(record.get("coefficients", ())) != names:
        raise InvalidSpaceError(
            f"coefficients of {name} is {record.get('coefficients')!r}, expected "
            f"{list(names)}; write it again with horizon-bo prior learn"
        )
    try:
        return tuple(_one(_with_log_cliff(e) if old else e) for e in record["recipes"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidSpaceError(
            f"{name} has a recipe that cannot be read ({error!r}), expected what horizon-bo prior "
            "learn writes; write it again"
        ) from error


def _with_log_cliff(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of the format before in this one; the cliff is the last coefficient of both.

    With c = a + b x, x = ln c, a normal in c is one in x whose Λ and h follow by substitution.
    """
    b = _TYPICAL_CLIFF
    a = b * (1 - math.log(b))
    *rows, row = entry["precision"]
    *others, own = [h - a * p for h, p in zip(entry["score"], row, strict=True)]
    scaled = [*(b * p for p in row[:-1]), b * b * row[-1]]
    return {**entry, "precision": [*rows, scaled], "score": [*others, b * own]}


def _one(entry: Mapping[str, Any]) -> Evidence:
    lower, size = entry["precision"], len(COEFFICIENTS)
    full = [[float(lower[max(i, j)][min(i, j)]) for j in range(size)] for i in range(size)]
    optimum = entry["optimum"]
    return Evidence(
        **{name: entry[name] for name in _PLAIN},
        data=tuple(entry["data"]),
        precision=tuple(map(tuple, full)),
        score=tuple(map(float, entry["score"])),
        optimum=None if optimum is None else Optimum(**optimum),
    )
