"""Flow: the modules of the package in the order in which they may import each other."""

FLOW = [
    "errors",
    "horizons",
    "trials",
    "published",
    "laws",
    "mean",
    "surrogate",
    "sampler",
    "inference",
    "model",
    "decision",
    "diagnostics",
    "candidates",
    "acquisition",
    "tuner",
    "adapters",
]
