# %% [markdown]
# # How far published laws disagree
# Asked for the learning rate of one model of a billion parameters on a hundred billion tokens,
# five published laws differ by a factor of more than six, and for longer runs by more. On a sweep
# of much smaller models, which no law was fitted to, four of the five lose more on average than a
# rate wrong by a factor of two, and none loses much less: a law is a place to start from.

# %%
import math
from importlib.resources import files

import numpy as np
import pandas as pd

from horizon_bo import Horizon
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.published.prior import SPEAKING, prior_center


def octaves_apart(run: Horizon) -> float:
    """Factors of two between the highest and the lowest rate that the laws name for a run."""
    rates = [learning_rate_law(name).learning_rate(run) for name in SPEAKING]
    return math.log2(max(rates) / min(rates))


# %%
run = Horizon(params=1e9, tokens=1e11)
for name in SPEAKING:
    law = learning_rate_law(name)
    print(f"{name:9} {law.learning_rate(run):.2e}  {'; '.join(law.remarks(run))}")
guess = prior_center(run)
spread = 1.645 * guess.log_sd / math.log(2)
print(f"together: {guess.learning_rate:.2e}, within {spread:.1f} octaves either way at 90 %")

# %%
lengths = np.geomspace(1e10, 1e13, 7)
apart = [octaves_apart(Horizon(params=1e9, tokens=tokens)) for tokens in lengths]
for tokens, octaves in zip(lengths, apart, strict=True):
    print(f"a billion parameters on {tokens:.1e} tokens: {octaves:.1f} octaves apart")

# %% [markdown]
# On the sweep that ships with the package, models of 25k to 395k parameters: the loss at each law's
# rate above the best measured one, where the law's rate lies among those measured, beside what a
# rate twice too high or too low costs in the same cells. The sizes lie outside the runs behind
# every law, as a run at the frontier does at the other end.

# %%
sweep = pd.read_csv(str(files("horizon_bo") / "data" / "stdlib_gpt.csv"))
excess: dict[str, list[float]] = {name: [] for name in SPEAKING}
twice: list[float] = []
for (params, tokens), cell in sweep[sweep["group"] == "sizes"].groupby(["params", "tokens"]):
    losses = cell.groupby("learning_rate")["loss"].mean()
    measured = np.log(losses.index.to_numpy())
    run = Horizon(params=params, tokens=tokens, batch_tokens=1_024)
    for name in SPEAKING:
        log_rate = math.log(learning_rate_law(name).learning_rate(run))
        if measured[0] <= log_rate <= measured[-1]:
            at = float(np.interp(log_rate, measured, losses.to_numpy()))
            excess[name].append(at - losses.min())
    best = math.log(losses.idxmin())
    off = np.array([best - math.log(2), best + math.log(2)])
    twice.extend(np.interp(off, measured, losses.to_numpy()) - losses.min())
print(f"a factor of two costs {1e3 * np.mean(twice):.0f} thousandths of a nat")
for name, lost in excess.items():
    print(f"{name:9} loses {1e3 * np.mean(lost):.0f} thousandths in {len(lost)} cells")

# %%
# The claim of this notebook, checked.
billion = octaves_apart(Horizon(params=1e9, tokens=1e11))
assert billion > math.log2(6)
assert max(apart) > billion
costly = [float(np.mean(lost) / np.mean(twice)) for lost in excess.values()]
assert sum(cost > 1 for cost in costly) == 4
assert min(costly) > 0.75
