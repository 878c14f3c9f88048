"""Outcomes: real processes that end in every way, and what is read from each."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from horizon_bo import Horizon
from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs.commands import Command
from horizon_bo.runs.folder import locked
from horizon_bo.runs.jobs import begin
from horizon_bo.runs.outcomes import (
    Outcome,
    by_branch,
    outcome_of,
    recorded_readings,
    stored_outcome,
)
from horizon_bo.runs.processes import Slot, launching, slots
from horizon_bo.study.branches import suggestion
from horizon_bo.study.changes import observe, start
from tests.studies import pending_trial, small_study

STUDY = small_study()
RUN = suggestion([pending_trial()], STUDY)
SLOT = Slot("slot 0", {})


def outcome(folder: Path, code: str, timeout_s: float | None = None, slot: Slot = SLOT) -> Outcome:
    """How a Python program ends that finds its run's folder in `folder`."""
    code = f"import os, sys, time, json; folder = {str(folder)!r}; {code}"
    command = Command(lambda run, folder: (sys.executable, "-S", "-c", code))
    with locked(folder.parent) as lock, launching(lock, timeout_s) as launch:
        flight = begin(command, launch, RUN, folder, slot, 1)
        while (ended := flight.exit()) is None:
            time.sleep(0.01)
    return outcome_of(RUN, folder, ended)


@pytest.mark.parametrize(
    "line",
    [
        "2.91",
        "+2.91e0",
        "loss: 2.91",
        "loss=2.91",
        "Loss = 2.91",
        "final loss 2.91.",
        "val_loss: 2.91",
        "eval/loss=2.91",
        "Final validation loss: 2.91 nats/token",
        "loss is 2.91",
        "\x1b[32mloss=2.91\x1b[0m",
        '{"loss": 2.91}',
        '{"step": 100, "val_loss": 2.91, "seconds": 12.5}',
        "{'train_runtime': 12.5, 'eval_loss': 2.91}",
    ],
)
def test_the_last_line_is_a_number_or_says_that_it_is_the_loss(tmp_path, line):
    code = f"print('step 1 of 2'); print({line!r}); print(); print('  ')"
    ended = outcome(tmp_path / "0", code)
    assert (ended.status, ended.cause, ended.loss) == ("completed", "finished", 2.91)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("done", "the last line of output is 'done', expected the loss alone"),
        ("", "the output is empty"),
        ("step 100: loss 2.91", "the last line of output is 'step 100: loss 2.91'"),
        ("loss -2.91", "loss is -2.91, expected a number > 0"),
        ("v2.91 1.2.3", "expected the loss alone"),
        ("Submitted batch job 48291600", "expected the loss alone, as in 2.91, or loss=2.91"),
        ("48291600", "a whole number as jobs and processes have"),
        ("48291600;cluster", "expected the loss alone"),
        ("finished in 812.4 s", "expected the loss alone"),
        ("12.5s", "expected the loss alone"),
        ("peak memory 63.2 GB", "expected the loss alone"),
        ("63.2 GB", "expected the loss alone"),
        ("epoch 3", "expected the loss alone"),
        ("aux_loss=0.01", "expected the loss alone"),
        ("loss_scale: 1024", "expected the loss alone"),
        ("2,91", "expected the loss alone"),
        ("100%|████| 16/16 [00:12<00:00]", "expected the loss alone"),
        ('{"seconds": 12.5}', "expected the loss alone"),
        ('{"loss": true}', "loss is True"),
        ('{"loss": "low"}', "loss is None"),
        ("[" * 5000, "expected the loss alone"),
        ("{" * 5000, "expected the loss alone"),
    ],
)
def test_seconds_gigabytes_and_job_numbers_are_no_loss(tmp_path, line, expected):
    ended = outcome(tmp_path / "0", f"print({line!r})")
    assert (ended.status, ended.cause, ended.loss) == ("failed", "no loss", None)
    assert expected in ended.detail


def result_code(result: str) -> str:
    return f"print('7 8'); open(folder + '/result.json', 'w').write({result!r})"


def test_a_result_file_counts_more_than_the_output(tmp_path):
    ended = outcome(
        tmp_path / "0", result_code('{"loss": 2.5, "loss_sd": 0.01, "flops": 1e15, "more": []}')
    )
    assert (ended.loss, ended.loss_sd, ended.flops) == (2.5, 0.01, 1e15)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"loss": "low"}', "loss is 'low'"),
        ('{"loss": true}', "loss is True"),
        ('{"loss": 1' + 400 * "0" + "}", "expected a number > 0"),
        ("[" * 100_000, "result.json is '[[["),
        ("{}", "loss is None"),
        ("2.5", "result.json is '2.5'"),
        ('{"loss": 2.5', "result.json is '{\"loss\": 2.5'"),
        ('{"loss": 2.5, "flops": -1}', "flops is -1"),
        ('{"loss": 2.5, "readings": [{"loss": 2}]}', "reading 0 is {'loss': 2}"),
    ],
)
def test_a_result_file_that_says_no_loss_fails(tmp_path, result, expected):
    ended = outcome(tmp_path / "0", result_code(result))
    assert (ended.status, ended.cause) == ("failed", "no loss")
    assert expected in ended.detail


@pytest.mark.parametrize(
    "code",
    [
        "print('loss nan')",
        "print('{\"loss\": NaN}')",
        "print('{\"diverged\": true}')",
        "print('inf')",
        result_code('{"loss": NaN}'),
        result_code('{"loss": 2.5, "diverged": true}'),
        result_code('{"loss": null, "diverged": true}') + "; sys.exit(1)",
    ],
)
def test_a_loss_that_is_not_finite_and_a_run_that_says_so_diverged(tmp_path, code):
    ended = outcome(tmp_path / "0", code)
    assert (ended.status, ended.cause, ended.loss) == ("diverged", "diverged", None)


@pytest.mark.parametrize(
    ("code", "cause", "detail"),
    [
        ("sys.stderr.write('bad flag\\n\\n'); sys.exit(3)", "exit code", "exit code 3: bad flag"),
        ("print('2.91'); sys.exit(3)", "exit code", "exit code 3: 2.91"),
        ("os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL, as the kernel does"),
        ("os.kill(os.getpid(), 11)", "killed", "killed by SIGSEGV"),
        ("sys.exit(137)", "killed", "killed by SIGKILL"),
        ("raise MemoryError", "out of memory", "MemoryError"),
        (
            "sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB')",
            "out of memory",
            "Tried to allocate",
        ),
        ("sys.exit('RuntimeError: No CUDA GPUs are available')", "GPU lost", "No CUDA GPUs"),
    ],
)
def test_every_failure_is_told_apart_by_name(tmp_path, code, cause, detail):
    ended = outcome(tmp_path / "0", code)
    assert (ended.status, ended.cause) == ("failed", cause)
    assert detail in ended.detail


def test_a_loss_counts_although_a_log_mentions_memory(tmp_path):
    ended = outcome(tmp_path / "0", "print('recovered: out of memory'); print('loss 2.91')")
    assert ended.status == "completed"


def test_a_hanging_command_is_ended_with_all_it_started(tmp_path):
    code = (
        "child = os.fork(); child and open(folder + '/pid', 'w').write(str(child)); time.sleep(60)"
    )
    ended = outcome(tmp_path / "0", code, timeout_s=0.7)
    assert (ended.status, ended.cause) == ("failed", "timed out")
    assert 0.7 <= ended.elapsed_s < 5
    assert gone(int((tmp_path / "0" / "pid").read_text()))


@pytest.mark.slow
def test_a_command_that_ignores_sigterm_is_killed(tmp_path):
    code = "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()
    ended = outcome(tmp_path / "0", code, timeout_s=0.5)
    assert ended.cause == "timed out"
    assert 5 < time.monotonic() - began < 10  # the grace of the guard, in seconds


def test_what_a_command_leaves_behind_is_ended_with_it(tmp_path):
    child = "import time; time.sleep(60)"
    code = (
        "import subprocess; "
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); "
        "print(f'loss={child.pid}')"
    )
    ended = outcome(tmp_path / "0", code)
    assert ended.loss is not None
    assert gone(int(ended.loss))


def gone(pid: int) -> bool:
    """Whether a process has ended, after as long as a system may take to say so."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False


def test_a_failed_run_is_charged_by_the_tokens_it_saw_where_it_told_them(tmp_path):
    code = (
        "open(folder + '/progress.jsonl', 'w').write("
        "json.dumps({'tokens': 2.5e8, 'loss': 4}) + '\\n' + '{\"tok'); sys.exit(1)"
    )
    assert outcome(tmp_path / "0", code).flops == RUN.flops / 4
    assert outcome(tmp_path / "1", "sys.exit(1)").flops is None


def test_another_attempt_keeps_the_logs_of_the_first_and_drops_its_result(tmp_path):
    folder = tmp_path / "0"
    outcome(folder, result_code('{"loss": 2.5}') + "; sys.exit(1)")
    ended = outcome(folder, "print(3.5)")
    assert ended.loss == 3.5
    assert (folder / "stdout.1.log").read_text() == "7 8\n"
    assert json.loads((folder / "run.json").read_text())["attempt"] == 2


def test_a_slot_sets_the_environment_of_its_process(tmp_path):
    code = "print('loss', os.environ['CUDA_VISIBLE_DEVICES'])"
    assert outcome(tmp_path / "0", code, slot=slots(2, ["4", "5"])[1]).loss == 5


def test_slots_share_gpus_and_cores(monkeypatch):
    devices = lambda *given: [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots(*given)]  # noqa: E731
    assert devices(2, ["0", "1", "2", "3"]) == ["0,2", "1,3"]
    assert devices(3, ["0", "1"]) == ["0", "1", "0"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert slots(3, [])[0].environment == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert slots(3, [])[0].environment == {"OMP_NUM_THREADS": "5"}


def test_a_program_that_vanished_is_said(tmp_path):
    command = Command(lambda run, folder: ("/no/such/program",))
    with (
        locked(tmp_path) as lock,
        launching(lock, None) as launch,
        pytest.raises(InvalidObjectiveError, match="'/no/such/program' is not found"),
    ):
        begin(command, launch, RUN, tmp_path / "0", SLOT, 1)


def test_a_finished_result_is_known_without_running(tmp_path):
    folder = tmp_path / "0"
    assert stored_outcome(folder) is None
    folder.mkdir()
    (folder / "result.json").write_text('{"loss": 2.5}')
    found = stored_outcome(folder)
    assert found is not None
    assert (found.status, found.loss) == ("completed", 2.5)
    (folder / "result.json").write_text('{"loss": 2.')
    assert stored_outcome(folder) is None


def test_readings_of_allowed_recipes_become_logged_runs():
    study = replace(
        STUDY,
        target=Horizon(params=1e9, tokens=2e10, batch_tokens=262_144, schedule="wsd"),
        space=replace(STUDY.space, schedules=("wsd", "stable"), averagings=("none", "lawa")),
    )
    run = replace(RUN, schedule="wsd")
    recipes = [("wsd", "none"), ("wsd", "lawa"), ("stable", "none"), ("wsd", "ema")]
    readings = tuple(
        {"tokens": 5e8, "schedule": s, "averaging": a, "loss": 3.0, "flops": None}
        for s, a in recipes
    )
    ended = Outcome(status="completed", cause="finished", loss=2.9, readings=readings)
    kept = recorded_readings(study, run, ended)
    assert [(r.schedule, r.averaging) for r in kept] == [("wsd", "lawa"), ("stable", "none")]
    assert {(r.tokens, r.loss, r.flops) for r in kept} == {(5e8, 3.0, 6 * 6e7 * 5e8)}


TRUNK = replace(
    RUN, schedule="wsd", tokens=4e9, branches=(1e9, 2e9, 4e9), cooldown=0.2, flops=4.6e9 * 6 * 6e7
)
BRANCHED = start(small_study(), [TRUNK])


def reading(tokens: float, loss: float | None, schedule: str = "wsd") -> dict[str, object]:
    return {
        "tokens": tokens,
        "schedule": schedule,
        "averaging": "none",
        "loss": loss,
        "flops": None,
    }


def test_each_branch_takes_the_reading_of_its_own_recipe_nearest_in_tokens():
    ended = Outcome(
        status="completed",
        cause="finished",
        loss=2.7,
        flops=1.4 * TRUNK.flops,
        readings=(
            reading(1.001e9, 2.9),
            reading(1e9, 3.3, "constant"),
            reading(2e9, None),
            reading(4e9, 2.7),
        ),
    )
    parts = by_branch(BRANCHED, TRUNK, ended)
    assert [(tokens, part.status, part.loss) for tokens, part in parts] == [
        (1e9, "completed", 2.9),
        (2e9, "diverged", None),
        (4e9, "completed", 2.7),
    ]
    # a fifth of an ordinary run each for the shorter two, shared as planned
    per_token = 1.4 * 6 * 6e7
    assert [part.flops for _, part in parts] == pytest.approx(
        [0.2e9 * per_token, 0.4e9 * per_token, 4e9 * per_token]
    )


def test_a_branch_without_a_reading_fails_and_one_already_observed_is_left_alone():
    ended = Outcome(
        status="completed",
        cause="finished",
        loss=2.7,
        readings=(reading(1e9, 2.9), reading(4e9, 2.7)),
    )
    study = observe(BRANCHED, TRUNK, loss=2.7, branch=4e9)
    parts = by_branch(study, TRUNK, ended)
    assert [(tokens, part.status) for tokens, part in parts] == [
        (1e9, "completed"),
        (2e9, "failed"),
    ]


def test_a_run_that_failed_or_has_no_branches_is_reported_whole():
    failed = Outcome(status="failed", cause="killed")
    assert by_branch(BRANCHED, TRUNK, failed) == [(None, failed)]
    plain = Outcome(status="completed", cause="finished", loss=3.0)
    assert by_branch(STUDY, RUN, plain) == [(None, plain)]
