"""Example study: which study shows what a report looks like, without a run of one's own?

The sweep that ships with the package, language models of up to 97k parameters trained on the
source of Python's standard library, imported as logs for a target of 221k on twice as many tokens.
"""

from dataclasses import replace

import pandas as pd

from horizon_bo.evaluation.cases import Case, find_sweep, problem_on
from horizon_bo.study.trials import Study
from horizon_bo.tables.logged import logged_table

_SWEEP = "stdlib_gpt.csv"
#: The dearest cell of the sweep that has several seeds, so that its best rate is known.
_CASE = Case(
    name="example",
    sweep=_SWEEP,
    target_params=221_184,
    target_tokens=1_999_872,
    batch_tokens=1_024,
    max_params_ratio=0.5,
    max_tokens_ratio=0.51,  # steps are whole: half as long is 576 tokens more than half
)
#: Target runs that more runs may cost; the logged ones are free.
_BUDGET = 0.3


def example_study() -> Study:
    """A study that has imported the sweep's runs of at most half the target's size and tokens."""
    table = pd.read_csv(find_sweep(_SWEEP))
    runs = logged_table(table.query("group == 'sizes'")).runs  # AdamW under cosine, one batch
    problem = problem_on(_CASE, runs)
    study = problem.study(budget=_BUDGET, prior_center=None, seed=0)
    logs = sorted(problem.pool, key=lambda trial: trial.flops)
    return study.with_trials(*(replace(trial, id=k, charged=False) for k, trial in enumerate(logs)))
