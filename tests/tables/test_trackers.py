"""Trackers: real stores on disk and a real server, read by each tool's own library."""

import builtins
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from horizon_bo import HorizonTuner, LoggedRun
from horizon_bo.errors import HorizonBOError, InvalidTableError
from horizon_bo.tables.logged import LoggedTable, logged_table
from horizon_bo.tables.trackers import tracked_runs
from tests.studies import logged, small_tuner, tuner_with_pending

mlflow = pytest.importorskip("mlflow")
optuna = pytest.importorskip("optuna")
pytest.importorskip("tensorboard")

PLACE = {"params": 6e7, "tokens": 1e9}

#: Four runs, as every tracker is given them: a good one, one that blew up, a crash, one under way.
LOSSES = {"good": 3.1, "blown": math.nan, "crash": 3.4, "under way": 3.5}
READ = (
    LoggedRun(learning_rate=1e-3, **PLACE, loss=3.1),
    LoggedRun(learning_rate=2e-3, **PLACE, diverged=True),
    LoggedRun(learning_rate=3e-3, **PLACE, failed=True),
)


def assert_reads(table: LoggedTable) -> None:
    """The three runs that ended are read, and what was special about the others is said."""
    assert sorted(table.runs, key=lambda run: run.learning_rate) == list(READ)
    assert any("1 of 4 rows failed" in remark for remark in table.remarks)
    assert any("1 of 4 rows have not ended" in remark for remark in table.remarks)


def fill_mlflow(uri: str) -> None:
    """Four runs in an experiment, with the metric logged as training goes."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("sweep")
    endings = ("FINISHED", "FAILED", "FAILED", None)
    for k, (loss, ending) in enumerate(zip(LOSSES.values(), endings, strict=True)):
        run = client.create_run(experiment).info.run_id
        for name, value in {"optim.lr": (1 + k) * 1e-3, **PLACE}.items():
            client.log_param(run, name, value)
        for step, value in enumerate((9.0, 5.0, loss)):
            client.log_metric(run, "loss", value, step=step)
        if ending is not None:
            client.set_terminated(run, ending)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory) -> Path:
    """A database as MLflow makes it, which takes it some seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    fill_mlflow(f"sqlite:///{path}")
    return path


@pytest.fixture
def mlflow_folder(tmp_path, monkeypatch) -> Path:
    """A folder as earlier versions of MLflow kept runs."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        fill_mlflow(str(tmp_path / "mlruns"))
    return tmp_path / "mlruns"


@pytest.mark.slow
def test_runs_of_an_mlflow_database_are_read(mlflow_database):
    address = f"mlflow:sqlite:///{mlflow_database}#sweep"
    assert_reads(logged_table(address, columns={"learning_rate": "optim.lr"}))


def test_runs_of_an_mlflow_folder_are_read_without_its_experiment_being_named(mlflow_folder):
    before = dict(os.environ)
    for address in (f"mlflow:{mlflow_folder}", f"mlflow:file://{mlflow_folder}"):
        assert_reads(logged_table(address, columns={"learning_rate": "optim.lr"}))
    assert dict(os.environ) == before


@pytest.fixture
def mlflow_server(mlflow_database, tmp_path, monkeypatch) -> Iterator[str]:
    """A real MLflow server on loopback."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else minutes where it fails
    pytest.importorskip("flask_cors")
    shutil.copy(mlflow_database, tmp_path / "served.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # the application that `mlflow server` serves, without its job queue and assistant
    command = [sys.executable, "-m", "flask", "--app", "mlflow.server", "run", "--port", str(port)]
    stored = f"sqlite:///{tmp_path / 'served.db'}"
    given = {"_MLFLOW_SERVER_FILE_STORE": stored, "_MLFLOW_SERVER_ARTIFACT_ROOT": str(tmp_path)}
    with subprocess.Popen(
        command, env={**os.environ, **given}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended by itself"
                time.sleep(0.5)
        yield url
        server.terminate()


@pytest.mark.slow
def test_a_server_is_read_and_written(mlflow_server, tmp_path):
    assert_reads(
        logged_table(f"mlflow:{mlflow_server}#sweep", columns={"learning_rate": "optim.lr"})
    )
    tuner = finished_tuner(tmp_path)
    for _ in range(2):
        tuner.export(f"mlflow:{mlflow_server}#ours")
    assert_exported(logged_table(f"mlflow:{mlflow_server}#ours"), tuner)


def test_trials_of_an_optuna_storage_are_read(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(study_name="sweep", storage=url)
    for k, loss in enumerate(LOSSES.values()):
        trial = study.ask()
        trial.suggest_float("lr", (1 + k) * 1e-3, (1 + k) * 1e-3)
        for name, value in PLACE.items():
            trial.set_user_attr(name, value)
        trial.report(9.0, 0)
        trial.report(loss, 1)
        if k < 2:
            study.tell(trial, loss if k == 0 else None, state=None if k == 0 else FAIL)
        elif k == 2:
            study.tell(trial, state=FAIL)
    columns = {"learning_rate": "lr"}
    assert_reads(logged_table(f"optuna:{url}", columns=columns))
    pruned = study.ask()
    pruned.suggest_float("lr", 4e-3, 4e-3)
    for name, value in PLACE.items():
        pruned.set_user_attr(name, value)
    pruned.report(3.6, 0)
    study.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    table = logged_table(f"optuna:{url}#sweep", columns=columns)
    assert table.runs[-1].failed
    assert any("1 of 5 rows were pruned" in remark for remark in table.remarks)


FAIL = optuna.trial.TrialState.FAIL


def test_a_value_to_be_maximized_is_not_taken_for_a_loss(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(study_name="accuracy", storage=url, direction="maximize")
    study.enqueue_trial({"learning_rate": 1e-3})
    trial = study.ask({"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2)})
    for name, value in PLACE.items():
        trial.set_user_attr(name, value)
    study.tell(trial, 0.8)
    with pytest.raises(InvalidTableError, match="has no column 'loss'"):
        logged_table(f"optuna:{url}")
    assert logged_table(f"optuna:{url}", columns={"loss": "values.0"}).runs[0].loss == 0.8


def write_events(folder: Path, hparams: dict[str, Any], losses: list[float]) -> None:
    """Event files as training scripts write them, with PyTorch's writer."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams as summaries

    with SummaryWriter(str(folder)) as writer:
        for summary in summaries(hparams, {"loss": 0.0}) if hparams else ():
            writer._get_file_writer().add_summary(summary)
        for step, loss in enumerate(losses):
            writer.add_scalar("loss", loss, step)


def test_runs_of_tensorboard_are_read_with_their_last_loss(tmp_path):
    write_events(tmp_path / "a", {"lr": 1e-3, **PLACE}, [9.0, 5.0, 3.125])
    write_events(tmp_path / "b" / "again", {"lr": 2e-3, **PLACE}, [9.0, math.nan])
    write_events(tmp_path / "eval", {}, [1.0])
    table = logged_table(f"tensorboard:{tmp_path}", columns={"learning_rate": "lr"})
    assert table.runs == (
        LoggedRun(learning_rate=1e-3, **PLACE, loss=3.125),
        LoggedRun(learning_rate=2e-3, **PLACE, diverged=True),
    )
    assert any("1 folders have no hyperparameters" in remark for remark in table.remarks)


def test_runs_of_tensorboard_without_hyperparameters_take_them_from_the_mapping(tmp_path):
    write_events(tmp_path / "lr=0.001,seed=0", {}, [9.0, 5.0, 3.125])
    write_events(tmp_path / "lr=0.002,seed=0", {}, [9.0, 5.0, 3.0])
    columns = {"learning_rate": "lr", "params": "60M", "tokens": "1B"}
    table = logged_table(f"tensorboard:{tmp_path}", columns=columns)
    assert table.runs == (
        LoggedRun(learning_rate=1e-3, **PLACE, loss=3.125),
        LoggedRun(learning_rate=2e-3, **PLACE, loss=3.0),
    )
    write_events(tmp_path / "eval", {}, [1.0])
    again = logged_table(f"tensorboard:{tmp_path}", columns=columns)
    assert again.runs == table.runs
    assert any("1 of 3 rows of" in line and "left out" in line for line in again.remarks)
    with pytest.raises(InvalidTableError, match="has no column 'learning_rate'"):
        logged_table(f"tensorboard:{tmp_path}")


def test_the_mapping_of_a_tracker_is_proposed_and_auto_takes_it(tmp_path):
    write_events(tmp_path / "a", {"peak_lr": 1e-3, "n_params": 6e7, "train_tokens": 1e9}, [3.125])
    write_events(tmp_path / "b", {"peak_lr": 2e-3, "n_params": 6e7, "train_tokens": 1e9}, [3.0])
    table = logged_table(f"tensorboard:{tmp_path}", columns="auto")
    assert [run.learning_rate for run in table.runs] == [1e-3, 2e-3]
    assert "--map learning_rate=hparams.peak_lr --map params=hparams.n_params" in table.remarks[-1]


def test_a_trial_that_was_told_again_takes_its_own_place_and_another_studys_does_not(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    tuner = small_tuner()
    for name, losses in (("a", (3.1, 31.0)), ("b", (3.2, 3.3))):
        study = optuna.create_study(study_name=name, storage=url)
        for rate, loss in zip((1e-3, 2e-3), losses, strict=True):
            trial = study.ask()
            trial.suggest_float("learning_rate", rate, rate)
            for key, value in PLACE.items():
                trial.set_user_attr(key, value)
            study.tell(trial, loss)
        tuner.import_runs(f"optuna:{url}#{name}")
    assert [trial.loss for trial in tuner.study.trials] == [3.1, 31.0, 3.2, 3.3]
    assert [trial.name for trial in tuner.study.trials] == ["a/0", "a/1", "b/0", "b/1"]


def test_tensorboards_own_writer_is_read_too(tmp_path):
    from tensorboard.summary import Writer

    write_events(tmp_path, {"learning_rate": 1e-3, **PLACE}, [])
    writer = Writer(str(tmp_path))
    for step, loss in enumerate((9.0, 3.125)):
        writer.add_scalar("val/loss", loss, step)
    writer.close()
    table = logged_table(f"tensorboard:{tmp_path}", columns={"loss": "val/loss"})
    assert [run.loss for run in table.runs] == [3.125]


def finished_tuner(folder: Path) -> HorizonTuner:
    """A tuner whose trials ended in every way there is; trial 0 is still pending."""
    tuner = tuner_with_pending(folder / "runs.db")
    tuner.import_runs(
        [
            logged(learning_rate=1e-3, loss=3.25),
            logged(learning_rate=2e-3, loss=3.125, source="old logs", batch_tokens=131_072.0),
            logged(learning_rate=8e-3, loss=None, diverged=True),
            logged(learning_rate=4e-3, loss=None, failed=True),
        ]
    )
    return tuner


def assert_exported(table: LoggedTable, tuner: HorizonTuner) -> None:
    """What was logged to a tracker reads back as the runs that ended, each once."""
    back = sorted(table.runs, key=lambda run: run.learning_rate)
    ended = [trial for trial in tuner.study.trials if trial.status != "pending"]
    ended.sort(key=lambda trial: trial.learning_rate)
    assert len(back) == len(ended) == 4
    for run, trial in zip(back, ended, strict=True):
        for name in ("params", "tokens", "batch_tokens", "schedule", "averaging", "source"):
            assert getattr(run, name) == getattr(trial, name)
        assert run.learning_rate == trial.learning_rate
        assert run.loss == trial.loss
        assert (run.diverged, run.failed) == (trial.status == "diverged", trial.status == "failed")


@pytest.mark.slow
def test_a_study_in_mlflow_is_itself_when_read_back_and_not_doubled(mlflow_database, tmp_path):
    from mlflow import MlflowClient

    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tuner = finished_tuner(tmp_path)
    client = MlflowClient(tracking_uri=uri)
    seen = []
    for _ in range(2):
        tuner.export(f"mlflow:{uri}#ours")
        experiment = client.get_experiment_by_name("ours")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        seen.append({run.info.run_id: (run.data.params, run.data.tags) for run in runs})
        histories = [client.get_metric_history(run, "flops") for run in seen[-1]]
        assert max(len(history) for history in histories) == 1
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(tuner.study.trials) + 1
    assert_exported(logged_table(f"mlflow:{uri}#ours"), tuner)


@pytest.mark.slow
def test_the_recommendation_in_mlflow_is_that_of_recommend(mlflow_database, tmp_path):
    from mlflow import MlflowClient

    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tuner = small_tuner()
    client = MlflowClient(tracking_uri=uri)
    for run in (None, logged(learning_rate=1e-3), logged(learning_rate=3e-3, loss=3.0)):
        if run is not None:
            tuner.observe(run)
        tuner.export(f"mlflow:{uri}")
        best = tuner.recommend()
        experiment = client.get_experiment_by_name("horizon-bo")
        assert experiment is not None
        wanted = "tags.`horizon_bo.kind` = 'recommendation'"
        (shown,) = client.search_runs([experiment.experiment_id], wanted)
        assert shown.data.metrics["learning_rate"] == best.learning_rate
        assert shown.data.metrics["interval_90_low"] == best.interval_90[0]
        assert shown.data.metrics["interval_90_high"] == best.interval_90[1]
        assert best.reason in shown.data.tags["advice"]
    history = client.get_metric_history(shown.info.run_id, "learning_rate")
    assert [metric.step for metric in history] == [0, 1, 2]


@pytest.mark.slow
def test_a_pending_trial_in_mlflow_ends_when_it_has(mlflow_database, tmp_path):
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    address = f"mlflow:sqlite:///{tmp_path / 'mlflow.db'}#ours"
    tuner = finished_tuner(tmp_path)
    tuner.export(address)
    tuner.observe(0, loss=3.5)
    tuner.export(address)
    assert sorted(run.loss or 0 for run in logged_table(address).runs) == [0, 0, 3.125, 3.25, 3.5]


def test_a_study_in_tensorboard_is_itself_when_read_back_and_not_doubled(tmp_path):
    tuner = finished_tuner(tmp_path)
    for _ in range(2):
        tuner.export(f"tensorboard:{tmp_path}")
        files = [path.parent.name for path in tmp_path.rglob("*tfevents*")]
        names = [f"trial-{trial.id:04d}" for trial in tuner.study.trials]
        assert sorted(files) == ["recommendation", *names]
    assert_exported(logged_table(f"tensorboard:{tmp_path}"), tuner)


def test_another_event_file_beside_ours_is_left_alone(tmp_path):
    write_events(tmp_path / "trial-0000", {}, [1.0])
    (theirs,) = tmp_path.rglob("*tfevents*")
    finished_tuner(tmp_path).export(f"tensorboard:{tmp_path}")
    assert theirs.is_file()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mlflow:sqlite:///{0}/no.db", "no.db is no file"),
        ("mlflow:{0}/mlruns", "is no folder"),
        ("optuna:sqlite:///{0}/no.db", "no.db is no file"),
        ("tensorboard:{0}", "has 0 event files"),
        ("mlflow:", "names no place"),
        ("mlflow:{1}#swoop", "has no experiments 'swoop', expected one; it has Default, sweep"),
        ("optuna:sqlite:///{0}/notes.db", "cannot be read"),
    ],
)
def test_a_tracker_that_is_not_there_is_one_line_and_is_not_made(
    tmp_path_factory, mlflow_folder, address, said
):
    tmp_path = tmp_path_factory.mktemp("elsewhere")
    (tmp_path / "notes.db").write_text("no database at all, but some words\n" * 50)
    with pytest.raises(HorizonBOError) as caught:
        tracked_runs(address.format(tmp_path, mlflow_folder))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.db"]


@pytest.mark.parametrize("tracker", ["mlflow", "optuna", "tensorboard"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, tracker):
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == tracker:
            raise ModuleNotFoundError(f"No module named {tracker!r}", name=tracker)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"pip install 'horizon-bo\[{tracker}\]'"):
        tracked_runs(f"{tracker}:{tmp_path}")
