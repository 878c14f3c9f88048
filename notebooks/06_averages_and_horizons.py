# %% [markdown]
# # Averaged checkpoints and horizons
# The rate that looks best before the learning rate decays is lower than the one that is best after
# it. An average of the last checkpoints, which costs nothing, closes most of that gap. Labelled as
# what they are, readings of cheap trunks find the rate of a decayed run twice as long; passed off
# as decayed runs, the plain ones miss it.
#
# The runs are those of the sweep that ships with the package: language models of 25k and 97k
# parameters on the source of Python's standard library. Each was trained at a constant rate, read
# with plain and averaged weights at several horizons, and cooled down from there (`wsd`).

# %%
import math
from importlib.resources import files

import numpy as np
import pandas as pd

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace

sweep = pd.read_csv(str(files("horizon_bo") / "data" / "stdlib_gpt.csv"))
trunks = sweep[sweep["group"] == "branches"]
READINGS = {
    "plain": ("constant", "none"),
    "lawa": ("constant", "lawa"),
    "ema": ("constant", "ema"),
    "decayed": ("wsd", "none"),
}


def best_log_rate(cell: pd.DataFrame) -> float:
    """Log of the rate at the bottom of a parabola through the lowest loss and its neighbours."""
    losses = cell.groupby("learning_rate")["loss"].mean()
    lowest = min(max(int(losses.argmin()), 1), len(losses) - 2)
    near = losses.iloc[lowest - 1 : lowest + 2]
    curvature, slope, _ = np.polyfit(np.log(near.index.to_numpy()), near.to_numpy(), 2)
    return -slope / (2 * curvature)


# %%
optima = {
    name: {
        cell: best_log_rate(rows)
        for cell, rows in trunks[
            (trunks["schedule"] == schedule) & (trunks["averaging"] == averaging)
        ].groupby(["params", "tokens"])
    }
    for name, (schedule, averaging) in READINGS.items()
}
short = {}
for name in ("plain", "lawa", "ema"):
    gaps = [(optima["decayed"][cell] - rate) / math.log(2) for cell, rate in optima[name].items()]
    short[name] = float(np.mean(gaps))
    print(f"{name}: best rate {short[name]:.2f} octaves below the decayed run's, {len(gaps)} cells")

# %% [markdown]
# Now a run twice as long as any trunk was: 25k parameters on 4M tokens, decayed. A study learns its
# rate from readings of the trunks up to 2M tokens, each labelled as what it is.

# %%
cell = trunks[(trunks["params"] == 25_088) & (trunks["averaging"].isin(["none", "lawa"]))]
target = Horizon(params=25_088, tokens=3_999_744, batch_tokens=1_024, schedule="wsd")
space = SearchSpace(
    learning_rate=(1.9e-3, 0.13), scales=[Scale(params=25_088)], tokens=(2.4e5, 2e6)
)
truth = math.exp(best_log_rate(cell[cell["tokens"] == target.tokens]))
print(f"best rate of the target, which no study sees: {truth:.4f}")


def learned_from(name: str, *, labelled: bool) -> tuple[float, tuple[float, float]]:
    """Rate and interval from one kind of reading, as it is or passed off as a decayed run's."""
    schedule, averaging = READINGS[name]
    rows = cell[(cell["schedule"] == schedule) & (cell["averaging"] == averaging)]
    rows = rows[rows["tokens"] < target.tokens].drop(columns="source")
    if not labelled:
        rows = rows.assign(schedule="wsd", averaging="none")
    tuner = HorizonTuner(target=target, space=space, budget=target.flops, prior_center=1e-2)
    tuner.import_runs(rows)
    best = tuner.recommend()
    low, high = best.interval_90
    said = "labelled" if labelled else "passed off"
    print(f"{name} {said}: use {best.learning_rate:.4f}, 90 % interval {low:.4f} to {high:.4f}")
    return best.learning_rate, best.interval_90


# %%
_, passed_off = learned_from("plain", labelled=False)
plain_rate, plain = learned_from("plain", labelled=True)
lawa_rate, lawa = learned_from("lawa", labelled=True)

# %%
# The claim of this notebook, checked.
assert short["plain"] > 0.5  # octaves
assert abs(short["lawa"]) < short["plain"] / 2
assert abs(short["ema"]) < short["plain"] / 2
assert not passed_off[0] < truth < passed_off[1]
assert plain[0] < truth < plain[1]
assert lawa[0] < truth < lawa[1]
assert abs(math.log2(lawa_rate / truth)) < 0.5
