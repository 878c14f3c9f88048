# %% [markdown]
# # The Ax loop
# A team that runs its experiments through Ax changes one line, and gets the same suggestions and
# the same recommendation as the plain loop, also when the study is saved and loaded half way.
#
# The "training run" here is a formula, so that the notebook takes seconds; put your own training
# function in its place.

# %%
import math
import tempfile
from pathlib import Path

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace
from horizon_bo.ax import (
    HorizonClient,
    horizon_analyses,
    horizon_client,
    horizon_recommendation,
)

target = Horizon(params=1.07e9, tokens=1e11, batch_tokens=524_288)
space = SearchSpace(
    learning_rate=(1e-4, 2e-2),
    scales=[Scale(params=6.0e7), Scale(params=1.2e8), Scale(params=2.1e8)],
    tokens=(2e9, 2e10),
)
study = {
    "target": target,
    "space": space,
    "budget": 0.03 * target.flops,
    "prior_center": 4e-4,
    "seed": 0,
}


def train(learning_rate: float, params: float, tokens: float) -> float:
    """Final loss in nats per token: a level that falls with size and tokens, and a bowl."""
    n, d = math.log(params / target.params), math.log(tokens / target.tokens)
    offset = math.log(learning_rate / 1.2e-3) + 0.45 * n + 0.05 * d
    bowl = 0.03 * math.exp(-0.25 * d) * offset**2 / 2
    return 1.6 + 0.3 * math.exp(-0.3 * n) + 0.3 * math.exp(-0.28 * d) + bowl


# %% [markdown]
# With Ax: the first line is the one that changes.

# %%
client = horizon_client(**study)
through_ax = []
for step in range(4):
    for index, run in client.get_next_trials(max_trials=1).items():
        client.complete_trial(index, {"loss": train(**run)})
        through_ax.append(run)
    if step == 1:  # the process ends, another one goes on
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "study.json")
            client.save_to_json_file(path)
            client = HorizonClient.load_from_json_file(path)

# %% [markdown]
# Without Ax.

# %%
tuner = HorizonTuner(**study)
plain = []
for _ in range(4):
    run = tuner.suggest()
    tuner.observe(run, loss=train(run.learning_rate, run.params, run.tokens))
    plain.append({"learning_rate": run.learning_rate, "params": run.params, "tokens": run.tokens})
    print(f"{run.params:.1e} params, {run.tokens:.1e} tokens: {run.learning_rate:.2e}")

# %% [markdown]
# Ax's cards: the bowl at the target, the best rate against the horizon, regret against spend.

# %%
cards = client.compute_analyses(horizon_analyses())
for card in cards:
    print(f"{card.title}: {card.subtitle}")

# %%
# The claim of this notebook, checked.
assert through_ax == plain
assert horizon_recommendation(client) == tuner.recommend()
