"""Points: where do runs lie, and in which cells?

A point is a rate, the three log scales (ln N/N*, ln D/D*, ln B/B*) and a recipe; a *cell* is a
point without its rate. Numbers of the recipe that differ between runs stand beside the log scales,
a column each, 0 at the target's (`study.inputs`).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from horizon_bo.core.arrays import Array, namespace

#: Cells with departures of their own; more are merged with their nearest.
MOST_CELLS = 20
#: Added to the distance between two labels that differ: none of them is ever the nearest.
_APART = 1e3


@dataclass(frozen=True)
class Cells:
    """Sizes, horizons, batches and recipes at which the loss departs from its law."""

    log_scales: Float[Array, "*batch cell scale"]  # 3, and the inputs that vary
    source: Int[Array, "cell"]  # recipe, 0 the study's own

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Points:
    """Where runs lie."""

    log_lr: Float[Array, "*batch run"]
    log_scales: Float[Array, "*batch run scale"]  # (ln N/N*, ln D/D*, ln B/B*), varying inputs
    source: Int[Array, "run"]  # recipe, 0 the study's own

    def __len__(self) -> int:
        return len(self.source)

    def select(self, index: Array) -> "Points":
        """The points at an index or mask."""
        return Points(self.log_lr[index], self.log_scales[index], self.source[index])

    @staticmethod
    def cat(*parts: "Points") -> "Points":
        """All points of these, in order."""
        xp = namespace(parts[0].log_lr)
        return Points(
            xp.concat([part.log_lr for part in parts]),
            xp.concat([part.log_scales for part in parts]),
            xp.concat([part.source for part in parts]),
        )


@dataclass(frozen=True)
class Runs:
    """Finished runs as the surrogate sees them, and the cells they lie in.

    Losses are in units of the study's typical loss. Cell 0 is the target, always. A run's law is
    evaluated at its own point; its departures are those of its cell.
    """

    points: Points
    loss: Float[Array, "run"]  # NaN where diverged
    variance: Float[Array, "run"]  # known part of the noise variance
    count: Float[Array, "run"]  # repeats that `loss` is the mean of, 1 for a single run
    cell: Int[Array, "run"]
    cells: Cells

    def __len__(self) -> int:
        return len(self.points)

    @property
    def diverged(self) -> Bool[Array, "run"]:
        """Which runs blew up."""
        return namespace(self.loss).isnan(self.loss)

    def select(self, index: Array) -> "Runs":
        """Some of the runs, with all cells."""
        per_run = {n: getattr(self, n)[index] for n in ("loss", "variance", "count", "cell")}
        return replace(self, points=self.points.select(index), **per_run)


@dataclass(frozen=True)
class Candidates:
    """Runs that could be made."""

    points: Points
    cost: Float[Array, "run"]  # FLOP

    def __len__(self) -> int:
        return len(self.points)

    def select(self, index: Array) -> "Candidates":
        """The candidates at an index or mask."""
        return Candidates(self.points.select(index), self.cost[index])


def assign_cells(points: Points) -> tuple[Int[Array, "run"], Cells]:
    """The cell of each run, and the cells with the target first.

    Where there are more than `MOST_CELLS`, some that are spread out are kept, and every run joins
    its nearest.
    """
    keys = _keys(points.log_scales, points.source[:, None])
    origin = np.zeros((1, keys.shape[1]))
    distinct = np.unique(np.concat([origin, keys]), axis=0)
    target = int(np.linalg.norm(distinct, axis=1).argmin())
    nodes = distinct[farthest_first(distinct, MOST_CELLS, target)]
    cells = Cells(nodes[:, :-1], np.round(nodes[:, -1] / _APART).astype(int))
    return nearest_cell(points, cells), cells


def at_own_inputs(
    log_scales: Float[Array, "*batch place 3"], like: Points | Cells
) -> Float[Array, "*batch place scale"]:
    """Places with the target's own value of every input that varies between others."""
    xp, more = namespace(log_scales), like.log_scales.shape[-1] - 3
    own = xp.zeros((*log_scales.shape[:-1], more), dtype=log_scales.dtype)
    return xp.concat([log_scales, own], -1)


def farthest_first(
    places: Float[Array, "place coordinate"], most: int, first: int
) -> Int[Array, "chosen"]:
    """Which places to keep so that none is far from a kept one, the farthest next in turn.

    Source: Gonzalez (1985), Theoretical Computer Science 38:293-306.
    """
    chosen = [first]
    distance = np.linalg.norm(places - places[first], axis=1)
    while len(chosen) < most and float(distance.max()) > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return np.array(chosen)


def nearest_cell(points: Points, cells: Cells) -> Int[Array, "run"]:
    """The nearest cell of each point, of its recipe."""
    return nearest(
        (points.log_scales, points.source[:, None]), (cells.log_scales, cells.source[:, None])
    )


def nearest(left: tuple[Array, Array], right: tuple[Array, Array]) -> Int[Array, "left"]:
    """For each on the left, which on the right is nearest in place, of those labelled as it is.

    Args:
        left: Places, one a row, and whole numbers as labels, one or more a row.
        right: The same of what there is to choose from.
    """
    away = _keys(*left)[:, None] - _keys(*right)
    return np.linalg.norm(away, axis=-1).argmin(1)


def _keys(places: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.concat([places, _APART * labels.astype(float)], 1)
