"""Validity: where was a published fit made, and how far from there is it being used?"""

import math
from dataclasses import dataclass, fields

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Ranges of the runs behind a fit; `None` where the source states none.

    Args:
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        batch_tokens: Tokens per optimizer step.
        flops: Training compute, FLOP.
    """

    params: Interval | None = None
    tokens: Interval | None = None
    batch_tokens: Interval | None = None
    flops: Interval | None = None

    def log_excess(self, **quantities: float | None) -> dict[str, float]:
        """Signed natural-log distance of each quantity outside its range; 0 inside it."""
        excess: dict[str, float] = {}
        for name, value in quantities.items():
            bounds = getattr(self, name)
            if bounds is None or value is None:
                continue
            nearest = min(max(value, bounds[0]), bounds[1])
            excess[name] = math.log(value / nearest)
        return excess

    def remarks(self, law: str, **quantities: float | None) -> tuple[str, ...]:
        """One sentence that names every range left, or nothing when all are kept."""
        outside = [
            f"{name} {quantities[name]:.3g} is outside {self._text(name)}"
            for name, distance in self.log_excess(**quantities).items()
            if distance != 0.0
        ]
        return (f"{law} is extrapolated: {'; '.join(outside)}",) if outside else ()

    def _text(self, name: str) -> str:
        low, high = getattr(self, name)
        return f"{low:.3g} to {high:.3g}"

    def stated(self) -> dict[str, Interval]:
        """The ranges that the source states, by quantity."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: bounds for name, bounds in pairs if bounds is not None}


#: A source that states no range.
UNSTATED = Validity()
