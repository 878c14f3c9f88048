"""Batch: how many tokens per step are best, or still efficient, according to each law?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.constants import entries, log_prefactor
from horizon_bo.published.validity import UNSTATED, Validity
from horizon_bo.study.horizons import Horizon

BatchKind = Literal["optimal", "critical"]


@dataclass(frozen=True, kw_only=True)
class BatchLaw:
    """A published law of batch size, in tokens per step.

        B = exp(prefactor) · N^a · D^b · C^c · L^l

    with C = 6 N D in FLOP (or the horizon's measured compute) and L the loss in nats.

    Args:
        name: What the command line calls it.
        kind: `"optimal"` minimises the loss at fixed tokens; `"critical"` is where doubling the
            batch stops saving steps.
        formula: The law in its source's own symbols and units.
        prefactor: Natural log; `None` where only the exponent is published.
        data: Names of the data it was fitted to.
        note: What a user should know; empty when nothing.
    """

    name: str
    kind: BatchKind
    formula: str
    prefactor: float | None
    source: str
    params: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0
    loss: float = 0.0
    validity: Validity = UNSTATED
    data: tuple[str, ...] = ()
    note: str = ""

    def batch_tokens(self, horizon: Horizon, loss: float | None = None) -> float:
        """Tokens per step at a horizon; `loss` in nats only where the law depends on it."""
        if self.prefactor is None:
            raise InvalidSpaceError(
                f"{self.name} states an exponent only, expected a law with a prefactor; "
                "use its ratio between two horizons"
            )
        return math.exp(self.prefactor + self._log_shape(horizon, loss))

    def log_ratio(self, start: Horizon, end: Horizon) -> float:
        """`ln B(end) / B(start)` for laws that do not depend on loss."""
        return self._log_shape(end, None) - self._log_shape(start, None)

    def _log_shape(self, horizon: Horizon, loss: float | None) -> float:
        if self.loss and loss is None:
            raise InvalidSpaceError(
                f"loss is None, expected nats per token, because {self.name} depends on it; give it"
            )
        return (
            self.params * math.log(horizon.params)
            + self.tokens * math.log(horizon.tokens)
            + self.flops * math.log(horizon.flops)
            + (self.loss * math.log(loss) if self.loss and loss is not None else 0.0)
        )

    def remarks(self, horizon: Horizon) -> tuple[str, ...]:
        """What to tell a user who applies the law to that horizon."""
        return self.validity.remarks(f"batch law {self.name}", horizon)


#: Every batch law by name.
BATCH_LAWS: Mapping[str, BatchLaw] = MappingProxyType(
    {entry["name"]: BatchLaw(**log_prefactor(entry)) for entry in entries("laws", "batch")}
)
