"""Flow: the modules of the package in the order in which they may import each other."""

FLOW = [
    "errors",
    "horizons",
    "trials",
    "trunks",
    "published",
    "laws",
    "mean",
    "surrogate",
    "sampler",
    "inference",
    "model",
    "decision",
    "diagnostics",
    "blocks",
    "candidates",
    "outlook",
    "acquisition",
    "tuner",
    "adapters",
    "plots",
]
