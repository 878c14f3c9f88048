"""Symptoms: is what goes wrong with a log said or read right, whichever source it comes from?"""

from collections.abc import Callable
from typing import Any

import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.logged import logged_table, remarks_about
from tests.studies import small_study, small_tuner
from tests.tables.sources import FILES, SOURCES, TRACKERS, write

#: Exact in single precision too, which TensorBoard keeps.
LOSSES = (3.375, 3.25, 3.125, 3.1875)
RATES = (5e-4, 1e-3, 2e-3, 4e-3)

Kept = Callable[..., str]


def rows(losses: tuple[float, ...] = LOSSES, **columns: Any) -> list[dict[str, Any]]:
    """Four runs; other settings by name, one for all or one each."""
    plain = {"learning_rate": RATES, "params": 45_000_000, "tokens": 1_000_000_000}
    each = {**plain, **columns, "loss": losses}
    return [
        {
            name: value[k] if isinstance(value, tuple | list) else value
            for name, value in each.items()
        }
        for k in range(len(losses))
    ]


@pytest.fixture(params=SOURCES)
def kept(request, tmp_path, monkeypatch) -> Kept:
    """Keeps runs as one of the sources does; its address."""
    return lambda runs: write(request.param, runs, tmp_path, monkeypatch)


def places(table: Any) -> list[tuple[Any, ...]]:
    return sorted((run.learning_rate, run.params, run.tokens, run.loss) for run in table.runs)


PLAIN = [(rate, 45e6, 1e9, loss) for rate, loss in zip(RATES, LOSSES, strict=True)]


@pytest.mark.parametrize(
    ("params", "tokens"),
    [("45M", "1B"), ("45 million", "1_000_000_000"), ("45,000,000", "1000M"), ("4.5e7", "1e9")],
)
def test_units_in_cells_are_read(kept, params, tokens):
    assert places(logged_table(kept(rows(params=params, tokens=tokens)))) == PLAIN


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"params": 45, "tokens": 1}, "params of 4 of 4 rows is too small for a trained model"),
        (
            {"tokens": 20_000_000_000_000_000_000_000},
            "tokens of 4 of 4 rows is more than 100 times",
        ),
        ({"batch_tokens": 16}, "batch_tokens of 4 of 4 rows is too small for a step"),
        ({"learning_rate": (0.5, 1.0, 2.0, 4.0)}, "learning_rate of 4 of 4 rows is outside"),
    ],
)
def test_params_in_millions_and_huge_tokens_are_questioned(kept, columns, said):
    if columns.get("tokens", 0) > 2**63:
        columns = {**columns, "tokens": float(columns["tokens"])}
    remarks = remarks_about(logged_table(kept(rows(**columns))), small_study())
    assert any(line.startswith(said) for line in remarks), remarks


def test_a_header_is_matched_whatever_its_case_and_spaces(kept):
    named = {"Learning Rate": RATES, "PARAMS": 45_000_000, "Tokens": 1_000_000_000}
    runs = [{name: row[name] for name in (*named, "loss")} for row in rows(**named)]
    assert places(logged_table(kept(runs))) == PLAIN


@pytest.mark.parametrize(
    "columns",
    [
        {"source": ("node0", "node1", "node2", "node3")},
        {"schedule": ("CosineAnnealingLR", "Cosine", "CosineAnnealingLR", "Cosine")},
    ],
)
def test_every_row_of_a_recipe_of_its_own_is_said(kept, columns):
    (said,) = remarks_about(logged_table(kept(rows(**columns))), small_study())
    assert said.startswith("4 of 4 rows are of another recipe than the target's")


def test_a_second_rate_that_varies_is_said(kept):
    remarks = logged_table(kept(rows(embedding_lr=(0.3, 0.2, 0.3, 0.2)))).remarks
    assert any("differs between runs of one size: " in line for line in remarks), remarks
    assert any("embedding_lr" in line for line in remarks)


def test_runs_that_are_there_twice_are_said_and_counted_once(kept):
    table = logged_table(address := kept([*rows(), *rows()]))
    assert places(table) == PLAIN
    assert any("4 of 8 rows of" in line and "counted once" in line for line in table.remarks)
    assert len(logged_table(address, repeats=True).runs) == 8


def test_the_complete_mapping_is_proposed_and_auto_takes_it(kept):
    named = {"peak_lr": RATES, "n_params": 45_000_000, "train_tokens": 1_000_000_000}
    runs = [{name: row[name] for name in (*named, "loss")} for row in rows(**named)]
    address = kept(runs)
    with pytest.raises(InvalidTableError, match="which --map auto takes") as caught:
        logged_table(address)
    proposed = str(caught.value)
    for ours, theirs in zip(("learning_rate", "params", "tokens"), named, strict=True):
        assert f"--map {ours}=" in proposed
        assert theirs in proposed
    assert places(logged_table(address, columns="auto")) == PLAIN


@pytest.mark.parametrize("kept", [k for k in SOURCES if k != "tensorboard"], indirect=True)
def test_a_boolean_is_no_number(kept):  # PyTorch's writer has made it 1.0 before anybody reads it
    with pytest.raises(InvalidTableError, match=r"params of row 0 in .* is '?[Tt]rue"):
        logged_table(kept(rows(params=True)))


def test_a_count_of_400_digits_is_one_clear_line(kept):
    with pytest.raises(InvalidTableError, match="params of row 0 in ") as caught:
        logged_table(kept(rows(params="1" + 400 * "0")))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_loss_that_was_lost_is_a_diverged_run(kept):
    table = logged_table(kept(rows((*LOSSES[:3], float("nan")))))
    assert sorted(run.diverged for run in table.runs) == [False, False, False, True]


@pytest.mark.parametrize("kind", [*FILES, "wandb"])
def test_points_of_curves_are_recognised_and_the_last_of_each_kept_when_asked(
    kind, tmp_path, monkeypatch
):
    runs = [
        {**row, "run_name": f"run-{k}", "step": step, "loss": row["loss"] + 5 - step}
        for k, row in enumerate(rows())
        for step in range(1, 6)
    ]
    address = write(kind, runs, tmp_path, monkeypatch)
    said = " | ".join(logged_table(address).remarks)
    assert "look like 4 learning curves, by step" in said
    assert "--last-of run_name --by step" in said
    assert places(logged_table(address, last_of="run_name")) == PLAIN


@pytest.mark.parametrize("kind", TRACKERS)
def test_points_of_curves_in_a_tracker_are_one_run_with_its_last_loss(kind, tmp_path, monkeypatch):
    table = logged_table(write(kind, rows(), tmp_path, monkeypatch))
    assert places(table) == PLAIN
    assert table.remarks == ()


STATES = {
    "csv": ("TIMEOUT", "PD"),
    "wandb": ("crashed", "running"),
    "mlflow": ("KILLED", "RUNNING"),
}
STATES |= dict.fromkeys(FILES[1:], ("CANCELLED by 1000", "RUNNING"))


@pytest.mark.parametrize("kind", STATES)
def test_losses_of_runs_that_timed_out_or_still_run_are_not_final(kind, tmp_path, monkeypatch):
    ended = {"mlflow": "FINISHED", "wandb": "finished"}.get(kind, "COMPLETED")
    states = (ended, ended, *STATES[kind])
    table = logged_table(write(kind, rows(state=states), tmp_path, monkeypatch))
    assert [run.failed for run in sorted(table.runs, key=lambda run: run.learning_rate)] == [
        *(False, False, True)
    ]
    said = " | ".join(table.remarks)
    assert "1 of 4 rows failed" in said
    assert "1 of 4 rows have not ended" in said


@pytest.mark.parametrize("kind", [*FILES, "wandb"])
def test_an_unknown_state_leaves_out_its_own_rows_only(kind, tmp_path, monkeypatch):
    states = ("finished", "finished", "finished", "halb fertig")
    table = logged_table(write(kind, rows(state=states), tmp_path, monkeypatch))
    assert places(table) == PLAIN[:3]
    assert any("no known state of a run" in line for line in table.remarks)


@pytest.mark.parametrize("kind", [*FILES, "wandb"])
def test_a_corrected_row_takes_the_place_of_the_wrong_one(kind, tmp_path, monkeypatch):
    named = {"run_id": ("r0", "r1", "r2", "r3")}
    tuner = small_tuner()
    wrong = rows((*LOSSES[:3], 31.875), **named)
    tuner.import_runs(write(kind, wrong, tmp_path / "wrong", monkeypatch))
    remarks = tuner.import_runs(write(kind, rows(**named), tmp_path / "right", monkeypatch))
    assert [trial.loss for trial in tuner.study.trials] == list(LOSSES)
    assert "r3 took the place of trial 3: loss 31.875 → 3.1875" in remarks


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_source_imported_again_adds_nothing(kind, tmp_path, monkeypatch):
    address = write(kind, rows(), tmp_path, monkeypatch)
    tuner = small_tuner()
    tuner.import_runs(address)
    assert "4 of 4 runs are in the study already: left out" in tuner.import_runs(address)
    assert len(tuner.study.trials) == 4
