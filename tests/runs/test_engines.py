"""Engines: one set of tests for processes of this machine, a real Slurm and a real Ray cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.errors import EngineError
from horizon_bo.runs.commands import Command
from horizon_bo.runs.engines import local as local_module
from horizon_bo.runs.engines import ray as ray_module
from horizon_bo.runs.engines import slurm as slurm_module
from horizon_bo.runs.engines.protocol import Engine, Placed, job_name, resources, time_limit_s
from horizon_bo.runs.folder import locked, read_json
from horizon_bo.runs.jobs import Flight, RunEvent, WatchedState, begin
from horizon_bo.runs.outcomes import Outcome, outcome_of
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import Slot, engine_of, launcher
from horizon_bo.study.branches import suggestion
from horizon_bo.study.horizons import Scale
from horizon_bo.tuner import HorizonTuner
from tests.runs import ray_cluster, slurm_cluster
from tests.studies import pending_trial, small_study, tuner_with_pending

pytestmark = pytest.mark.waits
RUN = suggestion([pending_trial()], small_study())
#: Longest time that anything here may take, in seconds, on a machine that others keep busy: waits
#: end as soon as what they wait for is there.
MOST_S = 300.0

ENGINES = pytest.mark.parametrize("on", ["local", "slurm", "ray"])
CLUSTERS = pytest.mark.parametrize("on", ["slurm", "ray"])


@pytest.fixture(autouse=True)
def cluster(request, monkeypatch) -> Path | None:
    """The cluster that a test names, and an engine that need not spare it."""
    for module in (slurm_module, ray_module):
        monkeypatch.setattr(module, "ASK_S", 0.2)
        monkeypatch.setattr(module, "GRACE_S", 2.0)
    # every actor here runs, and answers: sooner or later
    monkeypatch.setattr("horizon_bo.runs.engines.ray._ANSWER_S", MOST_S)
    on = request.node.callspec.params.get("on") if hasattr(request.node, "callspec") else None
    return request.getfixturevalue(on) if on in ("slurm", "ray") else None


@pytest.fixture
def engine(on: str, cluster, tmp_path) -> Iterator[Engine]:
    """An engine whose runs all end with the test."""
    with locked(tmp_path) as lock, engine_of(RunPlan(on=on), lock, ()) as engine:
        yield engine


class Started:
    """An attempt of the run in `folder`, by the Python program that it is."""

    def __init__(self, engine: Engine, folder: Path, code: str, timeout_s: float | None = None):
        argv = (sys.executable, "-S", "-c", f"import os, sys, time; folder={str(folder)!r}; {code}")
        launch = launcher(engine, timeout_s, {"memory": "100M"})
        command = Command(lambda run, folder: argv)
        self.flight: Flight = begin(command, launch, RUN, folder, Slot("here", {}), 1)
        assert isinstance(self.flight.job, Placed)
        self.folder, self.job = folder, self.flight.job
        self.name = job_name(folder, self.job.attempt)

    def outcome(self) -> Outcome:
        """How it ended, once it has."""
        until(lambda: self.flight.exit() is not None)
        ended = self.flight.exit()
        assert ended is not None
        return outcome_of(RUN, self.folder, ended)

    def pid(self) -> int:
        """The process that it says it is, once it says so."""
        until(lambda: (self.folder / "pid").exists())
        return int((self.folder / "pid").read_text())


HANGS = (
    "open(folder + '/pid.draft', 'w').write(str(os.getpid())); "
    "os.replace(folder + '/pid.draft', folder + '/pid'); time.sleep(600)"
)


def until(found: Callable[[], Any], most_s: float = MOST_S) -> None:
    until_s = time.monotonic() + most_s
    while not found():
        assert time.monotonic() < until_s, "expected it sooner"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def node_of(started: Started) -> str:
    """The node that an attempt runs on."""
    until(lambda: " on " in f" {started.job.where}")
    where = str(started.job.where).split()[-1]
    return {address: name for name, address in ray_cluster.NODES.items()}.get(where, where)


def silent(state: WatchedState, event: RunEvent | None) -> None:
    """A watch that says nothing."""


@ENGINES
def test_codes_memory_and_time_mean_the_same_on_every_engine(on, engine, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (9 << 25, 9 << 25)); "
    codes = {
        "ends": "print('loss 2.5')",
        "fails": "sys.stderr.write('bad flag'); sys.exit(3)",
        "killed": "os.kill(os.getpid(), 9)",
        "says": "sys.exit(137)",
        "memory": f"{limited} bytearray(1 << 30)",
    }
    started = {name: Started(engine, tmp_path / name, code) for name, code in codes.items()}
    started["time"] = Started(engine, tmp_path / "time", "time.sleep(90)", timeout_s=0.5)
    ended = {name: attempt.outcome() for name, attempt in started.items()}
    assert ended["ends"].loss == 2.5
    assert ended["fails"].detail == "exit code 3: bad flag"
    assert ended["killed"].detail.startswith("killed by SIGKILL")
    assert ended["says"].cause == "killed"
    assert ended["memory"].cause == "out of memory"
    assert ended["time"].cause == "timed out"
    assert 0.5 <= ended["time"].elapsed_s < 10


@ENGINES
def test_what_has_detached_itself_ends_with_its_run(on, engine, tmp_path):
    code = (
        "pid = os.fork(); pid and (os.waitpid(pid, 0), print('loss 2.5'), sys.exit(0)); "
        f"os.setsid(); os.fork() and os._exit(0); {HANGS}"
    )
    started = Started(engine, tmp_path / "0", f"{code}")
    assert started.outcome().loss == 2.5
    # it may have ended before it could say who it was
    assert not (tmp_path / "0" / "pid").exists() or gone(started.pid())
    waits = code.replace("print('loss 2.5')", "time.sleep(1), print('loss 2.5')")
    started = Started(engine, tmp_path / "1", waits)
    assert started.outcome().loss == 2.5
    until(lambda: gone(started.pid()), 2)


@ENGINES
def test_a_run_that_is_cancelled_is_gone_when_the_call_returns(on, engine, tmp_path):
    started = Started(engine, tmp_path / "0", HANGS)
    pid = started.pid()
    engine.cancel([started.name])
    assert gone(pid)
    assert not (tmp_path / "0" / "exit.1.json").exists()
    engine.cancel([started.name])


@pytest.mark.parametrize("on", ["local"])
def test_a_guard_that_does_not_answer_is_ended_with_its_command(on, engine, tmp_path, monkeypatch):
    monkeypatch.setattr("horizon_bo.runs.engines.local._ENDING_S", 0.5)
    started = Started(engine, tmp_path / "0", HANGS)
    pid = started.pid()
    os.kill(json.loads((tmp_path / "0" / "holder.json").read_text())["pid"], signal.SIGSTOP)
    engine.cancel([started.name])
    until(lambda: gone(pid))


@CLUSTERS
def test_a_run_that_somebody_cancels_is_not_tried_again(on, engine, tmp_path):
    started = Started(engine, tmp_path / "0", HANGS)
    pid = started.pid()
    if isinstance(engine, slurm_module.Slurm):
        subprocess.run(["scancel", f"--name={started.name}"], check=True)
    else:
        import ray

        ray.kill(ray.get_actor(started.name, namespace="horizon-bo"))
    assert started.outcome().cause == "cancelled"
    until(lambda: gone(pid), 8)


@CLUSTERS
def test_a_node_that_dies_is_told_and_the_run_is_tried_elsewhere(on, engine, cluster, tmp_path):
    started = Started(engine, tmp_path / "0", HANGS)
    pid, node = started.pid(), node_of(started)
    if on == "ray":
        ray_cluster.kill_node(cluster, node)
        assert started.outcome().cause == "node failed"
        ray_cluster.start_node(cluster, node)
    else:
        # Slurm leaves the processes of a node that it lost, and starts the job beside them
        slurm_cluster.kill_node(cluster, int(node[1:]))
        (tmp_path / "0" / "pid").unlink()
        job = engine._jobs[started.name]  # type: ignore[attr-defined]
        slurm_cluster.start_now(job)
        assert started.pid() != pid
        assert started.flight.exit() is None
        slurm_cluster.start_node(cluster, int(node[1:]))
        engine.cancel([started.name])
    until(lambda: gone(pid), 8)


@pytest.mark.parametrize("on", ["slurm"])
def test_a_requeued_run_goes_on_as_the_same_attempt(on, engine, tmp_path):
    again = "n = os.path.exists(folder + '/pid'); n and (print('loss 2.5'), sys.exit(0)); "
    started = Started(engine, tmp_path / "0", again + HANGS)
    pid, job = started.pid(), engine._jobs[started.name]  # type: ignore[attr-defined]
    subprocess.run(["scontrol", "requeue", job], check=True)
    until(lambda: "waits" in str(started.job.where))
    slurm_cluster.start_now(job)
    assert started.outcome().loss == 2.5
    assert gone(pid)
    assert json.loads((tmp_path / "0" / "run.json").read_text())["attempt"] == 1


@pytest.mark.parametrize("on", ["slurm"])
def test_a_job_over_its_memory_is_taken_as_that(on, engine, tmp_path):
    if not slurm_cluster.has_cgroups():
        pytest.skip("no control groups of the first version, expected them to limit memory")
    started = Started(engine, tmp_path / "0", "x = bytearray(300 << 20); time.sleep(60)")
    assert started.outcome().lacked_memory


@ENGINES
def test_the_late_outcome_of_a_fenced_attempt_is_nobodys(on, engine, tmp_path):
    folder = tmp_path / "0"
    first = Started(engine, folder, f"{HANGS}")
    first.pid()
    guard = read_json(folder / "holder.json")
    assert guard is not None
    os.kill(guard["pid"], signal.SIGSTOP)  # it sleeps while it is taken for lost
    os.kill(first.pid(), signal.SIGKILL)
    second = Started(engine, folder, "time.sleep(1); print('loss 2.5')")
    os.kill(guard["pid"], signal.SIGCONT)
    assert second.outcome().loss == 2.5
    until(lambda: gone(guard["pid"]), 8)
    assert (second.job.attempt, sorted(p.name for p in folder.glob("exit*"))) == (
        2,
        ["exit.2.json"],
    )


TRUE = "true {learning_rate}"
LOOP = """
import sys
from tests.runs.test_engines import loop
loop(sys.argv[1], sys.argv[2])
"""
ONCE = (
    "open('{folder}/runs', 'a').write('x'); "
    "exec(\"while not os.path.exists('{folder}/../go'): time.sleep(.05)\"); print('loss 2.5')"
)


def loop(on: str, folder: str, **changes: Any) -> HorizonTuner:
    """Two runs at once that wait for a file, from a study with two pending ones."""
    slurm_module.ASK_S = ray_module.ASK_S = 0.2
    tuner = HorizonTuner.open(Path(folder) / "runs.db")
    argv = [sys.executable, "-S", "-c", f"import os, time; {ONCE}", "{learning_rate}"]
    given: dict[str, Any] = {"folder": Path(folder) / "runs", "on": on, "parallel": 2}
    tuner.run(argv, **{**given, "max_runs": 2, "watch": silent, **changes})
    return tuner


@pytest.mark.parametrize(
    ("on", "how"), [("slurm", signal.SIGKILL), ("ray", signal.SIGKILL), ("slurm", signal.SIGINT)]
)
def test_a_loop_that_ended_leaves_its_runs_to_the_next_one(on, cluster, how, tmp_path):
    tuner_with_pending(tmp_path / "runs.db", 2)
    root = tmp_path / "runs"
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, on, str(tmp_path)],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    until(lambda: all((root / name / "runs").exists() for name in "01"))
    process.send_signal(how)
    process.communicate()
    (root / "go").touch()
    until(lambda: (root / "0" / "exit.1.json").exists())  # what ends meanwhile is not lost
    tuner = loop(on, str(tmp_path), max_runs=1, until_budget=False)
    assert [trial.loss for trial in tuner.study.trials[:2]] == [2.5, 2.5]
    assert [(root / name / "runs").read_text() for name in "01"] == ["x", "x"]


@pytest.mark.parametrize("on", ["slurm"])
def test_the_command_line_ends_what_an_earlier_loop_left(on, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    study = f"{tmp_path.name}.db"
    tuner_with_pending(tmp_path.parent / study)
    pid = Started(engine, tmp_path / "runs" / "0", HANGS).pid()
    given = ["run", study, "--folder", str(tmp_path / "runs"), "--on", on, "--cancel"]
    ended = CliRunner().invoke(app, given)
    assert "1 runs were under way and are ended (0); they stay pending" in ended.stdout
    assert gone(pid)
    assert "0 runs were under way" in CliRunner().invoke(app, given).stdout


@pytest.mark.parametrize(
    ("on", "resources", "named"),
    [
        ("slurm", {"partition": "nosuch"}, "nvalid partition"),
        ("slurm", {"memory": "900G"}, "node configuration is not available"),
        ("slurm", {"nonsense": 1}, "unrecognized option"),
        ("ray", {"gpus": 8}, r"no node .* GPU 8 \(most: 0\)"),
        ("ray", {"nodes": 2}, "one node each"),
        ("ray", {"A100": 1}, r"A100 1 \(most: 0\)"),
    ],
)
def test_what_no_node_has_is_refused_before_anything_starts(
    on, cluster, resources, named, tmp_path
):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    with pytest.raises(EngineError, match=named):
        tuner.run(TRUE, folder=tmp_path / "runs", on=on, resources=resources, watch=silent)
    assert tuner.study == HorizonTuner.open(tmp_path / "runs.db").study
    assert not (tmp_path / "runs" / "0").exists()


@pytest.mark.parametrize("on", ["slurm"])
def test_a_job_that_would_wait_for_ever_ends_the_loop(on, cluster, tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    given = {"folder": tmp_path / "runs", "on": on, "resources": {"time": "2-00:00:00"}}
    with pytest.raises(EngineError, match=r"PartitionTimeLimit.*would wait for ever"):
        tuner.run(TRUE, **given, watch=silent)
    assert tuner.study.trials[0].status == "pending"


def test_a_cluster_that_is_not_there_is_said_in_a_line(tmp_path, monkeypatch):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="sbatch is not found, expected Slurm's commands"):
        tuner.run(
            [sys.executable, "{learning_rate}"], folder=tmp_path / "runs", on="slurm", watch=silent
        )


def test_a_ray_that_does_not_answer_is_said_in_seconds(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed, expected the extra ray")
    tuner = tuner_with_pending(tmp_path / "runs.db")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.5:9")
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.5:9"):
        tuner.run(
            [sys.executable, "{learning_rate}"], folder=tmp_path / "runs", on="ray", watch=silent
        )


def test_a_scales_settings_come_before_the_resources_of_all(tmp_path):
    scale = Scale(params=1e8, gpus=8, settings={"partition": "long", "width": 512})
    given = {"gpus": 1, "partition": "short", "account": "us"}
    assert resources(scale, given) == {"gpus": 8, "partition": "long", "account": "us"}


@pytest.mark.parametrize(
    ("looks", "young_s", "old_s"),
    [
        (local_module.Local.look_s, 0.002, 0.05),
        (slurm_module.Slurm.look_s, 0.5, 2.0),
        (ray_module.Ray.look_s, 0.1, 1.0),
    ],
)
def test_a_shared_disk_is_looked_at_no_oftener_than_it_bears(looks, young_s, old_s, tmp_path):
    run = {"run": RUN, "folder": tmp_path, "slot": Slot("here", {}), "tries": 1, "job": None}
    ages_s = (0.0, 3600.0)
    young, old = (Flight(**run, began_s=time.monotonic() - age_s) for age_s in ages_s)
    assert young.look_s(looks) == pytest.approx(young_s, abs=1e-3)
    assert old.look_s(looks) == old_s


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(90, 5400), ("90:30", 5430), ("1:30:00", 5400), ("2-12", 216000), ("1-0:0:1", 86401)],
)
def test_time_limits_are_read_as_slurm_reads_them(limit, seconds):
    assert time_limit_s(limit) == seconds
