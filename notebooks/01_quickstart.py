# %% [markdown]
# # Quickstart
# Five small runs move a guess that is three times too low to within an octave of the best rate.
#
# The "training run" here is a formula, so that the notebook takes seconds; put your own training
# function in its place.

# %%
import math

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace

target = Horizon(params=1.07e9, tokens=1e11, batch_tokens=524_288)
space = SearchSpace(
    learning_rate=(1e-4, 2e-2),
    scales=[Scale(params=6.0e7), Scale(params=1.2e8), Scale(params=2.1e8)],
    tokens=(2e9, 2e10),
)
best_rate = 1.2e-3  # what the tuner does not know


def train(learning_rate: float, params: float, tokens: float) -> float:
    """Final loss in nats per token: a level that falls with size and tokens, and a bowl."""
    n, d = math.log(params / target.params), math.log(tokens / target.tokens)
    offset = math.log(learning_rate / best_rate) + 0.45 * n + 0.05 * d
    bowl = 0.03 * math.exp(-0.25 * d) * offset**2 / 2
    return 1.6 + 0.3 * math.exp(-0.3 * n) + 0.3 * math.exp(-0.28 * d) + bowl


# %%
tuner = HorizonTuner(
    target=target, space=space, budget=0.03 * target.flops, prior_center=best_rate / 3
)
before = tuner.recommend()
for _ in range(5):
    run = tuner.suggest()
    loss = train(run.learning_rate, run.params, run.tokens)
    tuner.observe(run, loss=loss)
    print(f"{run.params:.1e} params, {run.tokens:.1e} tokens: {run.learning_rate:.2e} → {loss:.4f}")

# %%
after = tuner.recommend()
print(f"use {after.learning_rate:.2e}, 90 % interval {after.interval_90}, {after.reason}")

# %%
# The claim of this notebook, checked.
assert math.isclose(before.learning_rate, best_rate / 3)
assert abs(math.log2(after.learning_rate / best_rate)) < 1
assert after.expected_regret < before.expected_regret
