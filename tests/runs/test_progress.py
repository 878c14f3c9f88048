"""Run view: the live picture and the plain lines say what the state holds."""

import io
import json
import time
from dataclasses import replace

from rich.console import Console

from horizon_bo.core.policy import Recommendation
from horizon_bo.runs.jobs import Flight, RunEvent, WatchedState
from horizon_bo.runs.outcomes import Outcome
from horizon_bo.runs.processes import Slot
from horizon_bo.runs.progress import belief_line, live_view, plain_view
from horizon_bo.study.branches import suggestion
from tests.studies import pending_trial, small_study

STUDY = small_study().with_trials(pending_trial())
RUN = suggestion([STUDY.trials[0]], STUDY)
BEST = Recommendation(
    learning_rate=1.5e-3,
    interval_50=(1e-3, 2e-3),
    interval_90=(8e-4, 3e-3),
    expected_regret=0.0042,
    predicted_loss=2.5,
    expected_overhead=0.081,
    divergence_probability=0.0,
    spent=STUDY.spent,
    value_of_next_run=0.001,
    stop=False,
    reason="go on",
    warnings=(),
)


def state(folder) -> WatchedState:
    flight = Flight(
        run=RUN,
        folder=folder,
        slot=Slot("GPU 3", {}),
        tries=1,
        began_s=time.monotonic() - 75,
        job=None,
    )
    return WatchedState(STUDY, BEST, (flight,))


def ended(folder) -> RunEvent:
    outcome = Outcome(status="completed", cause="finished", loss=3.25)
    return RunEvent("ended", RUN, folder, "loss 3.25 [/see]", outcome)


def test_the_picture_shows_budget_flights_with_progress_belief_and_last_outcomes(tmp_path):
    lines = [{"tokens": 1e8, "loss": 5.0}, {"tokens": 2.5e8, "loss": 4.125}]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = io.StringIO()
    with live_view(Console(file=text, force_terminal=True, width=200, color_system=None)) as watch:
        watch(state(tmp_path), ended(tmp_path))
    drawn = " ".join(text.getvalue().split())
    assert "6% spent or under way, 0.30% of a target run" in drawn
    assert "rate 0.0015, 90 % sure 0.0008 to 0.003, expected regret 4.2 mnat" in drawn
    assert "GPU 3" in drawn
    assert "25%" in drawn
    assert "4.125" in drawn
    assert "75 s" in drawn
    assert "loss 3.25 [/see] (rate 0.002, 6e+07 parameters, 1e+09 tokens" in drawn


def test_a_worker_shows_no_belief_since_it_has_none(tmp_path):
    text = io.StringIO()
    with live_view(Console(file=text, force_terminal=True, width=200, color_system=None)) as watch:
        watch(replace(state(tmp_path / "0"), best=None), None)
    assert "spent or under way" in text.getvalue()
    assert "belief" not in text.getvalue()


def test_a_look_between_events_prints_nothing_without_a_terminal(tmp_path, capsys):
    plain_view(state(tmp_path), None)
    plain_view(state(tmp_path), ended(tmp_path))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.endswith(f"6% of the budget spent; {tmp_path})\n")


def test_the_belief_is_told_in_thousandths():
    assert "regret 4.2 mnat, overhead 8.1%" in belief_line(BEST)
