# %% [markdown]
# # Quickstart
# A rate copied from a recipe for far larger models is four times too low. Small runs that cost a
# tenth of the large one move it to within an octave of the best, and the loss it gives away falls
# from a tenth of a nat to less than a hundredth.
#
# The runs are those of the sweep that ships with the package, language models trained on the source
# of Python's standard library, so that the notebook takes seconds: "training" looks a loss up. The
# large run is one of 221k parameters on 2M tokens; the tuner may make runs of less than half its
# size and half its tokens at most. Put your own training function in its place.

# %%
import math
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace, plots
from horizon_bo.learning.kept import write_evidence
from horizon_bo.published.evidence import shipped, usable

sweep = pd.read_csv(str(files("horizon_bo") / "data" / "stdlib_gpt.csv"))
cells = sweep[sweep["group"] == "sizes"].groupby(["params", "tokens"])


def measured(params: float, tokens: float) -> pd.Series:
    """Losses by rate, in nats per byte, means over seeds."""
    return cells.get_group((params, tokens)).groupby("learning_rate")["loss"].mean()


def train(learning_rate: float, params: float, tokens: float) -> float:
    """Final loss in nats per byte, interpolated between the rates that were measured."""
    losses = measured(params, tokens)
    rates = np.log(losses.index.to_numpy())
    return float(np.interp(math.log(learning_rate), rates, losses.to_numpy()))


# %%
target = Horizon(params=221_184, tokens=1_999_872, batch_tokens=1_024)
space = SearchSpace(
    learning_rate=(2e-3, 6e-2),
    scales=[Scale(params=25_088), Scale(params=55_296), Scale(params=97_280)],
    tokens=[249_856, 499_712, 1_000_448],
)
# The prior that ships was learnt from this sweep, too: without it, as nobody knows the own sweep.
prior = Path(tempfile.mkdtemp(), "prior.json")
write_evidence(prior, usable(shipped(), ["stdlib_gpt"]))
copied = 1.5e-3
tuner = HorizonTuner(
    target=target, space=space, budget=0.3 * target.flops, prior_center=copied, prior=prior
)
while not tuner.recommend().stop:
    run = tuner.suggest()
    loss = train(run.learning_rate, run.params, run.tokens)
    tuner.observe(run, loss=loss)
    print(f"{run.params:.3g} params, {run.tokens:.3g} tokens: {run.learning_rate:.4f} → {loss:.3f}")

# %%
best = tuner.recommend()
low, high = best.interval_90
print(f"use {best.learning_rate:.4f}, 90 % interval {low:.4f} to {high:.4f}: {best.reason}")
figure = plots.bowl(tuner).figure

# %%
# The claim of this notebook, checked against runs of the target, which no user would have.
losses = measured(target.params, target.tokens)
given_away = {
    name: train(rate, target.params, target.tokens) - losses.min()
    for name, rate in (("copied", copied), ("recommended", best.learning_rate))
}
print({name: f"{1e3 * lost:.1f} thousandths of a nat" for name, lost in given_away.items()})
assert best.spent <= 0.1 * target.flops
assert abs(math.log2(best.learning_rate / losses.idxmin())) < 1
assert low < losses.idxmin() < high
assert given_away["copied"] > 0.1
assert given_away["recommended"] < 0.01
