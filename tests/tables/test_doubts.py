"""Doubts: is it said where rows are points of curves, repeats, corrections or of other recipes?"""

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tables.logged import logged_table, remarks_about
from tests.studies import SPACE, TARGET, logged, small_study, small_tuner
from tests.tables.sweeps import LOSSES, PLAIN, RATES, read, sweep, written


def learning_curves(points: int = 5, **columns: Any) -> pd.DataFrame:
    rows = [
        {
            "run_name": f"run-{k}",
            "step": step,
            "learning_rate": rate,
            "params": 45_000_000,
            "tokens": step * 200_000_000,
            "loss": loss + 1.0 / step - 1.0 / points,
        }
        for k, (rate, loss) in enumerate(zip(RATES, LOSSES, strict=True))
        for step in range(1, points + 1)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_points_of_learning_curves_are_recognised_and_said():
    table = logged_table(learning_curves())
    assert len(table.runs) == 20
    (said,) = table.remarks
    assert "20 rows of the table look like 4 learning curves, by step" in said
    assert "--last-of run_name --by step keeps the last row of each" in said


@pytest.mark.parametrize("by", [None, "step", "tokens", "Step"])
def test_the_last_row_of_each_curve_is_kept_when_asked(tmp_path, by):
    shuffled = learning_curves().sample(frac=1.0, random_state=0)
    path = tmp_path / "curves.csv"
    shuffled.to_csv(path, index=False)
    table = logged_table(path, last_of="run_name", by=by)
    assert sorted(table.runs, key=lambda run: run.learning_rate) == [
        LoggedRun(learning_rate=run.learning_rate, params=45e6, tokens=1e9, loss=run.loss)
        for run in PLAIN
    ]
    assert "20 rows of" in table.remarks[0]
    assert "are 4 runs: the last row of each run_name" in table.remarks[0]


def test_curves_without_names_are_told_by_their_settings():
    frame = learning_curves().drop(columns="run_name")
    (said,) = logged_table(frame).remarks
    assert "--last-of learning_rate,params --by step" in said
    assert len(logged_table(frame, last_of="learning_rate,params").runs) == 4


def test_steps_that_were_not_evaluated_do_not_hide_the_last_loss():
    frame = learning_curves()
    frame.loc[frame["step"] == 5, "loss"] = math.nan
    frame["tokens"] = 1_000_000_000
    table = logged_table(frame, last_of="run_name")
    assert [run.diverged for run in table.runs] == [False] * 4
    assert table.runs[0].loss == pytest.approx(LOSSES[0] + 1 / 4 - 1 / 5)


def test_a_curve_that_ended_in_nan_is_a_diverged_run(tmp_path):
    text = learning_curves().to_csv(index=False)
    lines = text.splitlines()
    lines[-1] = lines[-1].rpartition(",")[0] + ",nan"
    table = read(tmp_path, "\n".join(lines) + "\n", last_of="run_name")
    assert [run.diverged for run in table.runs] == [False, False, False, True]


def test_a_run_that_ends_before_the_others_of_its_size_is_said():
    frame = learning_curves()
    partial = frame[~((frame["run_name"] == "run-2") & (frame["step"] > 2))]
    said = logged_table(partial, last_of="run_name").remarks
    assert any("1 of 4 runs end before others of their size" in line for line in said)


def test_finished_runs_that_stopped_before_their_plan_are_said():
    frame = sweep(_step=[1000, 1000, 400, 1000], max_steps=1000)
    said = logged_table(frame).remarks
    assert any("1 of 4 rows stopped before the max_steps that were planned" in s for s in said)
    assert not logged_table(sweep(_step=1000, max_steps=1000)).remarks


def test_a_branched_trunk_of_two_readings_is_no_learning_curve():
    rows = sweep(run=["a", "a", "b", "b"], learning_rate=[1e-3, 1e-3, 2e-3, 2e-3])
    assert logged_table(rows.assign(tokens=[1e9, 2e9, 1e9, 2e9])).remarks == ()


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "frame"])
def test_exact_repeats_are_said_and_counted_once_unless_they_are_meant(tmp_path, kind):
    frame = pd.concat([sweep(Name="run-1")] * 2, ignore_index=True)
    path = tmp_path / f"runs.{kind}"
    match kind:
        case "csv" | "tsv":
            frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
        case "json" | "jsonl":
            frame.to_json(path, orient="records", lines=kind == "jsonl", double_precision=15)
        case "parquet":
            frame.to_parquet(path)
    given = frame if kind == "frame" else path
    table = logged_table(given)
    assert list(table.runs) == PLAIN
    assert "4 of 8 rows of" in table.remarks[0]
    assert "repeat another row exactly, first row 4: counted once" in table.remarks[0]
    assert list(logged_table(given, repeats=True).runs) == PLAIN * 2


def test_seeds_that_agree_in_every_digit_are_no_repeats():
    frame = pd.concat([sweep(seed=0), sweep(seed=1)], ignore_index=True)
    assert len(logged_table(frame).runs) == 8


def test_a_corrected_table_takes_the_place_of_the_wrong_row_where_rows_have_an_id(tmp_path):
    names = ["r0", "r1", "r2", "r3"]
    wrong = (*LOSSES[:3], 33.776)
    tuner = small_tuner()
    tuner.import_runs(written(tmp_path, sweep(Name=names, loss=wrong).to_csv(index=False)))
    corrected = written(tmp_path, sweep(Name=names).to_csv(index=False), "corrected.csv")
    remarks = tuner.import_runs(corrected)
    assert [trial.loss for trial in tuner.study.trials] == list(LOSSES)
    assert "3 of 4 runs are in the study already: left out" in remarks
    assert "r3 took the place of trial 3: loss 33.776 → 3.3776" in remarks
    assert "4 of 4 runs are in the study already: left out" in tuner.import_runs(corrected)


def test_a_corrected_rate_takes_the_place_of_the_wrong_one_too():
    names = ["r0", "r1", "r2", "r3"]
    tuner = small_tuner()
    tuner.import_runs(sweep(run_id=names, learning_rate=(*RATES[:3], 4e-2)))
    (_, said) = tuner.import_runs(sweep(run_id=names))[:2]
    assert said == "r3 took the place of trial 3: learning_rate 0.04 → 0.004"
    assert len(tuner.study.trials) == 4


def test_a_corrected_table_without_ids_is_said():
    tuner = small_tuner()
    tuner.import_runs(sweep(loss=(*LOSSES[:3], 33.776)))
    remarks = tuner.import_runs(sweep())
    assert len(tuner.study.trials) == 5
    assert any("1 row differs from a held run only in its loss" in line for line in remarks)
    assert any("forget trial 3" in line for line in remarks)


def test_another_table_that_counts_its_rows_alike_replaces_nothing():
    tuner = small_tuner()
    tuner.import_runs(sweep(id=range(4)))
    tuner.import_runs(sweep(id=range(4), loss=[loss + 0.01 for loss in LOSSES]))
    assert len(tuner.study.trials) == 8


@pytest.mark.parametrize(
    "columns",
    [
        {"source": ["node0", "node1", "node2", "node3"]},
        {"schedule": ["CosineAnnealingLR", "Cosine", "CosineAnnealingLR", "Cosine"]},
        {"averaging": "ema"},
    ],
)
def test_rows_of_another_recipe_are_said(columns):
    table = logged_table(sweep(**columns))
    (said,) = remarks_about(table, small_study())
    assert said.startswith("4 of 4 rows are of another recipe than the target's")


def test_a_second_rate_that_varies_is_said():
    frame = sweep(embedding_lr=[0.3, 0.2, 0.3, 0.2]).rename(columns={"learning_rate": "matrix_lr"})
    table = logged_table(frame, columns={"learning_rate": "matrix_lr"})
    (said,) = table.remarks
    assert "not used, though it differs between runs of one size: embedding_lr (0.3, 0.2)" in said
    with pytest.raises(InvalidTableError, match="may be matrix_lr or embedding_lr"):
        logged_table(frame, columns="auto")


@pytest.mark.parametrize(
    "name", ["optim.weight_decay", "optim.beta2", "config/warmup_steps", "optim"]
)
def test_a_setting_that_varies_and_is_not_used_is_said(name):
    (said,) = logged_table(sweep(**{name: [0.1, 0.2, 0.1, 0.2]})).remarks
    assert name in said
    assert logged_table(sweep(**{name: 0.1})).remarks == ()


def test_a_setting_that_goes_with_the_size_is_not_said():
    sizes = {"params": [45e6, 45e6, 124e6, 124e6], "optim.weight_decay": [0.1, 0.1, 0.2, 0.2]}
    assert logged_table(sweep(**sizes)).remarks == ()


def test_inputs_that_go_together_in_all_rows_are_said_in_one_line():
    def said(
        tokens: list[float],
        batch: list[float | None],
        sizes: tuple[float, ...] = (1e8, 2e8, 4e8, 8e8),
    ) -> tuple[str, ...]:
        runs = [
            LoggedRun(learning_rate=1e-3, params=n, tokens=d, batch_tokens=b, loss=3.0)
            for n, d, b in zip(sizes, tokens, batch, strict=True)
        ]
        return remarks_about(logged_table(runs), small_study())

    ratio, mixed = [2e9, 4e9, 8e9, 16e9], [2e9, 8e9, 4e9, 4e9]
    (together,) = said(ratio, [None] * 4)
    assert together.startswith("tokens goes with params in all rows")
    assert "of one size at several lengths" in together
    (together,) = said(mixed, [5e4, 1e5, 2e5, 4e5])
    assert together.startswith("batch_tokens goes with params and tokens in all rows")
    assert said(mixed, [2e5, 5e4, 1e5, 3e5]) == ()
    assert said(mixed, [2e5] * 4) == ()
    (together,) = said([4e9] * 4, [1e5, 1e5, 2e5, 2e5], (1e8, 1e8, 2e8, 2e8))
    assert together.startswith("batch_tokens goes with params in all rows")


def test_runs_without_a_batch_where_it_is_open_are_said_to_be_put_at_the_middle_one():
    space = replace(SPACE, batch_tokens=[65_536, 131_072, 262_144])
    study = small_study(target=replace(TARGET, batch_tokens=None), space=space)
    table = logged_table([logged(batch_tokens=65_536), logged(), logged(loss=3.2)])
    (said,) = (line for line in remarks_about(table, study) if "batch_tokens" in line)
    assert said.startswith(
        "2 of 3 rows name no batch_tokens, first row 1: taken as made in batches"
    )
    assert "of 131072, the middle one" in said
    assert not any("batch_tokens" in line for line in remarks_about(table, small_study()))


def test_sizes_in_thousands_are_questioned_by_the_scales_of_the_study():
    runs = [logged(params=6e4, learning_rate=rate) for rate in (1e-3, 2e-3)]
    said = remarks_about(logged_table(runs), small_study())
    (units,) = (line for line in said if line.startswith("params of 2 of 2 rows"))
    assert "less than a hundredth of the study's smallest, 60M" in units
    whole = logged_table([*runs, logged(learning_rate=3e-3)])  # small runs beside others are meant
    assert not any("hundredth" in line for line in remarks_about(whole, small_study()))


def test_a_rate_that_was_logged_on_the_way_is_recognised_and_its_peak_taken():
    share = [0.5, 1.0, 0.8, 0.5, 0.2, 0.1]  # of the peak: warm-up, then decay
    frame = learning_curves(points=6)
    told = frame.assign(learning_rate=frame["learning_rate"] * (share * len(RATES)))
    (said,) = (line for line in logged_table(told).remarks if "learning curves" in line)
    assert "24 rows of the table look like 4 learning curves, by step" in said
    table = logged_table(told, last_of="run_name", by="step")
    assert [run.learning_rate for run in table.runs] == pytest.approx(list(RATES), rel=1e-12)
    assert [run.loss for run in table.runs] == pytest.approx(list(LOSSES), abs=1e-9)
    assert table.remarks[0] == (
        "learning_rate changes along 4 runs: the highest of each is taken as its peak"
    )


def test_params_and_tokens_that_were_exchanged_are_asked_about():
    runs = [logged(params=4e9, tokens=6e8, learning_rate=rate) for rate in (1e-3, 2e-3)]
    said = remarks_about(logged_table(runs), small_study())
    (line,) = (line for line in said if "exchanged" in line)
    assert line.startswith("tokens of 2 of 2 rows is less than params")


def test_tokens_of_three_hundred_digits_are_questioned_without_a_warning_of_numpy():
    table = logged_table(sweep().assign(tokens=1e300, params=3e7))
    said = " ".join(remarks_about(table, small_study()))
    assert "tokens of" in said
    assert "check the unit: tokens are a count" in said
