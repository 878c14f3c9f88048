"""Validity: where was a published fit made, and how far from there is it being used?"""

import math
from dataclasses import dataclass, fields

from horizon_bo.study.horizons import Horizon

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Ranges of the runs behind a fit; `None` where the source states none.

    Args:
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        flops: Training compute, FLOP.
    """

    params: Interval | None = None
    tokens: Interval | None = None
    flops: Interval | None = None

    def log_excess(self, run: Horizon) -> dict[str, float]:
        """Signed natural-log distance of each quantity of a run outside its range; 0 inside it."""
        excess: dict[str, float] = {}
        for name, (low, high) in self.stated().items():
            value = getattr(run, name)
            excess[name] = math.log(value / min(max(value, low), high))
        return excess

    def remarks(self, law: str, run: Horizon) -> tuple[str, ...]:
        """One sentence that names every range left, or nothing when all are kept."""
        ranges = self.stated()
        outside = [
            "{} {:.3g} is outside {:.3g} to {:.3g}".format(name, getattr(run, name), *ranges[name])
            for name, distance in self.log_excess(run).items()
            if distance != 0.0
        ]
        return (f"{law} is extrapolated: {'; '.join(outside)}",) if outside else ()

    def stated(self) -> dict[str, Interval]:
        """The ranges that the source states, by quantity."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: bounds for name, bounds in pairs if bounds is not None}


#: A source that states no range.
UNSTATED = Validity()
