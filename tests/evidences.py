"""Evidence made by hand, for tests."""

from dataclasses import replace

import numpy as np

from horizon_bo.published.evidence import COEFFICIENTS, Evidence

SIZE = len(COEFFICIENTS)

SILENT = Evidence(
    name="silent",
    group="silent",
    data=("silent",),
    kind="exponents",
    optimizer="adamw",
    parametrization="standard",
    experts=False,
    weight=1.0,
    precision=tuple(map(tuple, np.zeros((SIZE, SIZE)).tolist())),
    score=(0.0,) * SIZE,
    optimum=None,
    rows=0,
    source="made by hand",
)


def told(name: str, values: dict[str, float], sd: float = 0.01, **changed: object) -> Evidence:
    """A recipe that knows some coefficients to within `sd`."""
    precision, score = np.zeros((SIZE, SIZE)), np.zeros(SIZE)
    for coefficient, value in values.items():
        k = COEFFICIENTS.index(coefficient)
        precision[k, k], score[k] = sd**-2, value * sd**-2
    return replace(
        SILENT,
        name=name,
        group=name,
        data=(name,),
        precision=tuple(map(tuple, precision.tolist())),
        score=tuple(score.tolist()),
        **changed,  # type: ignore[arg-type]
    )
