"""Experts table: what ships is what was measured, and says what the page says of it."""

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from benchmarks.measurements.bowls import vertex
from benchmarks.problems.experts_table import table
from benchmarks.problems.hidden_cases import cases_of
from horizon_bo.evaluation.hiding import Terms
from horizon_bo.tables.logged import logged_table
from horizon_bo.training.config import ModelConfig

SHIPPED = files("horizon_bo") / "data" / "experts_gpt.csv"


@pytest.fixture(scope="module")
def shipped() -> pd.DataFrame:
    return pd.read_csv(str(SHIPPED))


def test_the_table_that_ships_is_what_was_measured(shipped):
    pd.testing.assert_frame_equal(shipped, table(), check_dtype=False)


def test_the_product_reads_it(shipped):
    runs = logged_table(str(SHIPPED), repeats=True).runs
    assert len(runs) == len(shipped)
    assert {run.inputs["sparsity"] for run in runs} == set(shipped.sparsity)


@pytest.mark.parametrize(("experts", "shared"), [(0, False), (4, False), (16, True)])
def test_sparsity_is_all_matrices_over_those_that_a_token_passes(experts, shared):
    model = ModelConfig(width=64, depth=3, head_dim=16, experts=experts, shared_expert=shared)
    layers = experts + shared if experts else 1
    attention, router = 4 * 64**2, 64 * experts
    every = 3 * (attention + router + layers * 3 * 64 * model.hidden)
    assert model.sparsity == pytest.approx(every / model.params)


def test_the_best_rate_moves_less_than_half_as_much_under_the_rules(shipped):
    """Over widths of 64 to 256 and 4 to 16 experts, its 90 % interval from seeds drawn anew."""
    one_length = shipped[shipped.schedule == "cosine"]
    noise = np.random.default_rng(0)

    def octaves(source: str) -> float:
        best = []
        for _, cell in one_length[one_length.source == source].groupby(["width", "experts"]):
            grid = cell.pivot(index="learning_rate", columns="seed", values="loss")
            drawn = noise.integers(grid.shape[1], size=grid.shape)
            loss = np.take_along_axis(grid.to_numpy(), drawn, 1).mean(1)
            best.append(vertex(np.log2(grid.index), loss))
        return max(best) - min(best)

    ratios = [octaves("mup") / octaves("standard") for _ in range(200)]
    assert np.quantile(ratios, 0.95) < 0.5


def test_its_largest_cells_pose_cases_of_experts():
    cases = cases_of(
        SHIPPED, Terms(cells=2, budget=0.25, params_ratio=0.5, tokens_ratio=0.5), experts=True
    )
    assert [case.experts for case in cases] == [True, True]
    assert cases[0].target_params == 1_585_152
