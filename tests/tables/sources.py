"""Sources: the same runs as each file and each tracker's own library keeps them."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest

#: What a run was given, under whatever names, with its `loss` and perhaps its `state`.
Rows = Sequence[Mapping[str, Any]]

FILES = ("csv", "json", "jsonl", "parquet")
TRACKERS = ("mlflow", "optuna", "tensorboard")
#: Losses before the last one, where a tracker keeps them.
BEFORE = (9.0, 5.0)


def write_file(kind: str, rows: Rows, folder: Path) -> str:
    path, frame = folder / f"runs.{kind}", pd.DataFrame(list(rows))
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "json":
            path.write_text(json.dumps(list(rows)))
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "parquet":
            frame.to_parquet(path)
    return str(path)


def write_wandb(rows: Rows, folder: Path) -> str:
    """What W&B's "Export CSV" gives: all cells quoted, runs by name, a state, the summary last."""
    given = [
        {
            "Name": f"crisp-sun-{k}",
            "State": row.get("state", "finished"),
            "Runtime": 3600 + k,
            **{name: value for name, value in row.items() if name not in ("loss", "state")},
            "_step": 1000,
            "loss": row["loss"],
        }
        for k, row in enumerate(rows)
    ]
    path = folder / "wandb_export.csv"
    pd.DataFrame(given).to_csv(path, index=False, quoting=1)
    return str(path)


def write_mlflow(rows: Rows, folder: Path) -> str:
    client = pytest.importorskip("mlflow").MlflowClient(tracking_uri=str(folder / "mlruns"))
    experiment = client.create_experiment("sweep")
    for row in rows:
        run = client.create_run(experiment).info.run_id
        for name, value in row.items():
            if name not in ("loss", "state"):
                client.log_param(run, name, value)
        for step, loss in enumerate((*BEFORE, row["loss"])):
            client.log_metric(run, "loss", loss, step=step)
        client.set_terminated(run, row.get("state", "FINISHED"))
    return f"mlflow:{folder / 'mlruns'}"


@cache
def _empty_optuna() -> bytes:
    """Optuna's database with its tables and nothing in them, which take it longer than the runs."""
    optuna = pytest.importorskip("optuna")
    with TemporaryDirectory() as folder:
        optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")
        return Path(folder, "optuna.db").read_bytes()


def write_optuna(rows: Rows, folder: Path) -> str:
    optuna = pytest.importorskip("optuna")
    (folder / "optuna.db").write_bytes(_empty_optuna())
    url = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(study_name="sweep", storage=url)
    for row in rows:
        attributes = {name: value for name, value in row.items() if name not in ("loss", "state")}
        told: dict[str, Any] = {"value": row["loss"]}
        if math.isnan(row["loss"]):  # which Optuna takes for a failure
            told = {"state": optuna.trial.TrialState.FAIL, "intermediate_values": {1: row["loss"]}}
        study.add_trial(optuna.trial.create_trial(user_attrs=attributes, **told))
    return f"optuna:{url}"


def write_tensorboard(rows: Rows, folder: Path) -> str:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    for k, row in enumerate(rows):
        given = {name: value for name, value in row.items() if name not in ("loss", "state")}
        with SummaryWriter(str(folder / "events" / f"run-{k}")) as writer:
            for summary in hparams(given, {"loss": 0.0}):
                writer._get_file_writer().add_summary(summary)
            for step, loss in enumerate((*BEFORE, row["loss"])):
                writer.add_scalar("loss", math.nan if loss is None else loss, step)
    return f"tensorboard:{folder / 'events'}"


_TRACKERS: dict[str, Callable[[Rows, Path], str]] = {
    "wandb": write_wandb,
    "mlflow": write_mlflow,
    "optuna": write_optuna,
    "tensorboard": write_tensorboard,
}
SOURCES = (*FILES, *_TRACKERS)


def write(kind: str, rows: Rows, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep runs as a source does; the address to import them from."""
    folder.mkdir(exist_ok=True)
    if kind in FILES:
        return write_file(kind, rows, folder)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # quicker than its database
        return _TRACKERS[kind](rows, folder)
