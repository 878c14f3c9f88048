"""Numbers of the recipe where a study is shown: on its page, in its table and to a tracker."""

from dataclasses import replace

import yaml

from horizon_bo.core.inference import believe
from horizon_bo.report.page import config_text
from horizon_bo.report.series import study_figures
from horizon_bo.study.changes import import_runs
from horizon_bo.tables.trackers.logged import logged_trial
from tests.cli.calls import call
from tests.studies import TARGET, logged, small_study, small_tuner

RUNS = [
    logged(learning_rate=rate, loss=loss, inputs={"weight_decay": decay})
    for decay in (0.1, 0.4)
    for rate, loss in ((1e-3, 3.2), (2e-3, 3.1), (4e-3, 3.15))
] + [logged(learning_rate=3e-3, loss=3.14, inputs={"weight_decay": 0.0})]


def test_a_page_names_inputs_that_are_otherwise_than_the_targets():
    target = replace(TARGET, inputs={"weight_decay": 0.1})
    study = import_runs(small_study(target=target), RUNS)
    figures = study_figures(study, believe(study))
    assert figures.runs.recipe.tolist() == [
        *[""] * 3,
        *["weight decay 0.4"] * 3,
        "without weight decay",
    ]
    assert yaml.safe_load(config_text(figures, "runs.db"))["weight_decay"] == 0.1
    assert logged_trial(study.trials[3]).params["weight_decay"] == 0.4


def test_the_table_of_trials_has_a_column_for_an_input_that_differs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    tuner = small_tuner(study=tmp_path / "runs.db")
    tuner.import_runs([*RUNS, logged(learning_rate=5e-3)])
    shown = call(f"trials {tmp_path / 'runs.db'}").stdout
    assert "weight_decay" in shown
    rows = [row for line in shown.splitlines() if (row := line.split()) and row[0].isdigit()]
    assert [row[-1] for row in rows[:7]] == [*["0.1"] * 3, *["0.4"] * 3, "0"]
    done = call(f"extend {tmp_path / 'runs.db'} --inputs weight_decay=0.4")
    assert done.exit_code == 0, done.output
    assert tuner.refresh().target.inputs == {"weight_decay": 0.4}
    assert "expected NAME=VALUE" in call(f"extend {tmp_path / 'runs.db'} --inputs 0.4").output
