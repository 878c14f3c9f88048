"""Guards: runs outlive the process that forks their guards, and guards tell how they ended."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from horizon_bo.runs.commands import Command
from horizon_bo.runs.engines.local import local
from horizon_bo.runs.engines.protocol import Placed
from horizon_bo.runs.folder import locked
from horizon_bo.runs.jobs import Flight, begin
from horizon_bo.runs.outcomes import outcome_of
from horizon_bo.runs.processes import Slot, launcher
from horizon_bo.study.branches import suggestion
from tests.studies import pending_trial, small_study

RUN = suggestion([pending_trial()], small_study())
SLOT = Slot("slot 0", {})


def until(claim) -> None:
    until_s = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < until_s, "expected it sooner"
        time.sleep(0.02)


def guard_of(folder: Path) -> int:
    """The guard of a run that has begun."""
    until((folder / "holder.json").exists)
    return json.loads((folder / "holder.json").read_text())["pid"]


def state_of(pid: int) -> list[str]:
    """What the kernel says of a process after its name: state, parent and more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["gone"]


def outcome(flight: Flight):
    until(lambda: flight.exit() is not None)
    ended = flight.exit()
    assert ended is not None
    return outcome_of(RUN, flight.folder, ended)


def test_what_starts_guards_may_be_killed_while_runs_train_and_before_the_next(tmp_path):
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo loss 2.5"
    slow, quick = (Command(lambda *_, c=code: ("sh", "-c", c)) for code in (wait, "echo loss 3"))
    with locked(tmp_path) as lock, local(lock) as engine:
        launch = launcher(engine, None, {})
        first = begin(slow, launch, RUN, tmp_path / "0", SLOT, 1)
        source = int(state_of(guard_of(tmp_path / "0"))[1])
        assert source != os.getpid()
        os.kill(source, signal.SIGKILL)
        until(lambda: state_of(source)[0] in ("Z", "gone"))
        assert outcome(begin(quick, launch, RUN, tmp_path / "1", SLOT, 1)).loss == 3.0
        assert first.exit() is None
        (tmp_path / "go").touch()
        assert outcome(first).loss == 2.5


def test_a_guard_that_is_killed_takes_its_command_along_and_counts_as_killed(tmp_path):
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    code = code.replace("'pid'", repr(str(tmp_path / "pid")))
    command = Command(lambda *_: (sys.executable, "-I", "-S", "-c", code))
    with locked(tmp_path) as lock, local(lock) as engine:
        flight = begin(command, launcher(engine, None, {}), RUN, tmp_path / "0", SLOT, 1)
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        os.kill(guard_of(tmp_path / "0"), signal.SIGKILL)
        assert outcome(flight).cause == "killed"
        until(lambda: state_of(int((tmp_path / "pid").read_text()))[0] == "gone")
        assert isinstance(flight.job, Placed)
        flight.job.cancel()


def test_a_directory_and_variables_of_the_moment_reach_the_command(tmp_path, monkeypatch):
    command = Command(lambda *_: ("sh", "-c", 'pwd; echo "$SAID0$ITS"; echo loss 2'))
    with locked(tmp_path) as lock, local(lock) as engine:
        launch = launcher(engine, None, {})
        outcome(begin(command, launch, RUN, tmp_path / "0", SLOT, 1))
        monkeypatch.chdir(tmp_path)
        for number in range(4):  # in all, more than a socket takes at once
            monkeypatch.setenv(f"SAID{number}", "é" * 60_000)
        outcome(begin(command, launch, RUN, tmp_path / "1", Slot("one", {"ITS": "x"}), 1))
    said = (tmp_path / "1" / "stdout.log").read_text().splitlines()
    assert said == [str(tmp_path), "é" * 60_000 + "x", "loss 2"]
