"""Optimizers: which of them scale their learning rate alike?

How the best rate moves with size, tokens and batch depends on what an update is normalised by: each
coordinate by its own history (Adam and what descends from it), a whole matrix, or only its sign.
Across public sweeps the second kind's optimum falls faster with tokens and rises faster with batch.

Source: what `data/evidence.json` holds; Wen et al. (2025), arXiv:2509.02046, for twelve of them.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: Optimizers whose updates are normalised a coordinate at a time.
ADAM = (
    *("adam", "adamw", "nadam", "nadamw", "adafactor", "adan", "adopt", "ademamix", "cautious"),
    *("lamb", "mars", "mini", "adam-mini", "amsgrad", "radam", "stableadamw"),
)
#: Optimizers that normalise a whole matrix, or keep only signs.
MATRIX = (
    *("muon", "scion", "soap", "soape", "kron", "psgd", "shampoo", "mudam", "dion", "normuon"),
    *("moonlight", "spectral", "adamh", "muonh", "lion", "signum", "signsgd", "sophia"),
)

FAMILIES: Mapping[str, str] = MappingProxyType(
    {**dict.fromkeys(ADAM, "adam"), **dict.fromkeys(MATRIX, "matrix")}
)


def family_of(optimizer: str) -> str | None:
    """`"adam"` or `"matrix"` (signs included); `None` for an optimizer that no sweep knows."""
    return FAMILIES.get(optimizer.strip().lower().replace("_", "-"))
