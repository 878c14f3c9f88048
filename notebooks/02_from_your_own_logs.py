# %% [markdown]
# # From your own logs to a recommendation
# A table exported from a tracker, under names of your own, is enough for a recommendation: no new
# run is made, and the best rate of a run twice the size and tokens of the largest logged one lies
# within the 90 % interval. On the command line these are two commands:
#
#     horizon-bo init runs.db --target-params 221184 --target-tokens 1999872 --batch-tokens 1024 \
#         --scales 25088,55296,97280 --tokens 2e5,1e6 --learning-rate 9e-4,0.3 --budget 0.3 \
#         --import export.csv --map learning_rate=optim.lr --map params=n_params \
#         --map batch_tokens=batch_size*128 --map tokens=steps*batch_tokens --map loss=val/loss
#     horizon-bo recommend runs.db --figure bowl.png

# %%
import math
import tempfile
from importlib.resources import files
from pathlib import Path

import pandas as pd

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace, plots

# %% [markdown]
# The export: what the sweep that ships with the package would look like in Weights & Biases, with
# the runs of at most 97k parameters and 1M tokens. Batches count sequences of 128 tokens, lengths
# count steps, and three runs did not end well.

# %%
sweep = pd.read_csv(str(files("horizon_bo") / "data" / "stdlib_gpt.csv"))
sizes = sweep[sweep["group"] == "sizes"]
logs = sizes[(sizes["params"] <= 97_280) & (sizes["tokens"] <= 1_000_448)]
export = pd.DataFrame(
    {
        "Name": [f"run-{k}" for k in range(len(logs))],
        "State": "finished",
        "optim.lr": logs["learning_rate"].to_numpy(),
        "n_params": logs["params"].to_numpy(),
        "batch_size": 8,
        "steps": (logs["tokens"] / 1_024).round().astype(int).to_numpy(),
        "val/loss": logs["loss"].astype(object).to_numpy(),
    }
)
export.loc[3, ["State", "val/loss"]] = ["crashed", "NaN"]  # it blew up
export.loc[4, ["State", "val/loss"]] = ["crashed", None]  # the machine was lost
export.loc[5, "State"] = "running"
folder = Path(tempfile.mkdtemp())
export.to_csv(folder / "export.csv", index=False)
print(export.head(6).to_string())

# %%
target = Horizon(params=221_184, tokens=1_999_872, batch_tokens=1_024)
tuner = HorizonTuner(
    target=target,
    space=SearchSpace(
        learning_rate=(9e-4, 0.3),
        scales=[Scale(params=params) for params in (25_088, 55_296, 97_280)],
        tokens=(2e5, 1e6),
    ),
    budget=0.3 * target.flops,
)
remarks = tuner.import_runs(
    folder / "export.csv",
    columns={
        "learning_rate": "optim.lr",
        "params": "n_params",
        "batch_tokens": "batch_size*128",
        "tokens": "steps*batch_tokens",
        "loss": "val/loss",
    },
)
print(*remarks, sep="\n")

# %%
best = tuner.recommend()
low, high = best.interval_90
print(f"use {best.learning_rate:.4f}, 90 % interval {low:.4f} to {high:.4f}: {best.reason}")
plots.optimum_by_params(tuner).figure.savefig(folder / "optimum.png")

# %%
# The claim of this notebook, checked against runs of the target, which the logs do not hold.
own = sizes[(sizes["params"] == target.params) & (sizes["tokens"] == target.tokens)]
losses = own.groupby("learning_rate")["loss"].mean()
endings = [trial.status for trial in tuner.study.trials]
assert len(endings) == len(logs) - 1
assert (endings.count("diverged"), endings.count("failed")) == (1, 1)
assert tuner.study.spent == 0
assert low < losses.idxmin() < high
assert abs(math.log2(best.learning_rate / losses.idxmin())) < 1.5
assert (folder / "optimum.png").stat().st_size > 10_000
