"""Saving in the middle of a study, and going on as if nothing had happened."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from ax.api.client import Client
from ax.storage.sqa_store import db

from horizon_bo.ax import (
    HorizonClient,
    attach_command,
    horizon_recommendation,
    horizon_study,
    mark_trial_diverged,
    sql_storage,
)
from horizon_bo.errors import MissingExtraError, StorageError
from horizon_bo.study.records import study_from
from tests.ax.loops import ax_client, completed, one_trial

#: Ax's own column type does not say whether it may be cached.
pytestmark = pytest.mark.filterwarnings("ignore:TypeDecorator JSONEncodedText")


def half_way(client: HorizonClient) -> None:
    """A completed, a diverged, a failed and a pending trial."""
    completed(client, 1)
    mark_trial_diverged(client, one_trial(client)[0])
    client.mark_trial_failed(one_trial(client)[0], failed_reason="node lost")
    one_trial(client)


def test_a_study_goes_on_from_a_json_file_as_if_nothing_had_happened(tmp_path):
    client = ax_client()
    half_way(client)
    path = str(tmp_path / "study.json")
    client.save_to_json_file(path)
    again = HorizonClient.load_from_json_file(path)
    assert horizon_study(again) == horizon_study(client)
    assert horizon_recommendation(again) == horizon_recommendation(client)
    assert one_trial(again) == one_trial(client)
    # Ax's own client reads it too
    assert one_trial(Client.load_from_json_file(path)) == one_trial(
        HorizonClient.load_from_json_file(path)
    )


def test_a_study_goes_on_from_sqlite_as_if_nothing_had_happened(sqlite):
    client, memory = ax_client(name="half way", storage=sqlite), ax_client()
    for each in (client, memory):
        half_way(each)
    again = HorizonClient.load_from_database("half way", storage_config=sqlite)
    assert horizon_study(again) == horizon_study(memory)
    assert one_trial(again) == one_trial(memory)
    # what the reloaded client did is on disk in turn
    once_more = HorizonClient.load_from_database("half way", storage_config=sqlite)
    assert horizon_study(once_more) == horizon_study(memory)


def test_a_json_file_without_our_client_still_holds_a_study(tmp_path):
    """A stock client rounds losses to ten decimals, before as after saving."""
    client = ax_client()
    index, _ = one_trial(client)
    Client.attach_data(client, index, {"loss": 2.7182818284590452})
    Client.complete_trial(client, index)
    path = str(tmp_path / "study.json")
    client.save_to_json_file(path)
    assert horizon_study(client).trials[0].loss == 2.7182818285
    assert horizon_study(HorizonClient.load_from_json_file(path)) == horizon_study(client)


def test_the_settings_of_the_study_are_not_saved_again_with_every_trial(tmp_path):
    client, counts = ax_client(), []
    for step in range(2):
        completed(client, 1)
        path = tmp_path / f"{step}.json"
        client.save_to_json_file(str(path))
        counts.append(path.read_text().count('"parametrization"'))
    assert counts[0] == counts[1]
    assert json.loads(path.read_text())["_type"] == "HorizonClient"


def test_the_runner_and_the_metric_are_saved_too(tmp_path, sqlite):
    client = ax_client(name="with a command", storage=sqlite)
    attach_command(client, "true --lr {learning_rate}", tmp_path)
    path = str(tmp_path / "study.json")
    client.save_to_json_file(path)
    for again in (
        HorizonClient.load_from_json_file(path),
        HorizonClient.load_from_database("with a command", storage_config=sqlite),
    ):
        runner = again._experiment.runner
        assert (runner.command, runner.folder) == ("true --lr {learning_rate}", str(tmp_path))
        assert study_from(runner.settings) == replace(horizon_study(client), trials=())
        assert again._experiment.metrics["loss"].lower_is_better


def test_a_second_database_in_one_process_is_refused_and_not_ignored(sqlite, tmp_path):
    with pytest.raises(StorageError, match="Ax keeps one database a process"):
        sql_storage(f"sqlite:///{tmp_path}/second.db")
    assert sql_storage(sqlite.url).url == sqlite.url


def test_what_is_no_url_is_said_in_one_line():
    with pytest.raises(StorageError, match="'nowhere' cannot be used") as caught:
        sql_storage("nowhere")
    assert len(str(caught.value).splitlines()) == 1


def test_a_database_that_cannot_be_opened_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(db, "SESSION_FACTORY", None)  # Ax remembers the first database
    url = "sqlite:////no/such/folder/a.db"
    with pytest.raises(StorageError, match=f"'{url}' cannot be used") as caught:
        sql_storage(url)
    assert len(str(caught.value).splitlines()) == 1


def test_what_ax_forgets_to_declare_comes_with_an_extra_that_the_error_names(monkeypatch):
    monkeypatch.setitem(sys.modules, "tabulate", None)
    with pytest.raises(MissingExtraError, match=r"'horizon-bo\[ax\]'"):
        sql_storage("sqlite://")


@pytest.mark.slow
def test_a_study_goes_on_from_postgresql_in_another_process():
    url = os.environ.get("HORIZON_BO_POSTGRES")
    if not url:
        pytest.skip("HORIZON_BO_POSTGRES is unset, expected the URL of an empty database")
    code = (
        "from tests.ax.loops import ax_client, completed, one_trial\n"
        "from horizon_bo.ax import HorizonClient, sql_storage\n"
        f"storage = sql_storage({url!r})\n"
        "import sys\n"
        "if sys.argv[1] == 'start':\n"
        "    completed(ax_client(name='pg', storage=storage), 2)\n"
        "else:\n"
        "    client = HorizonClient.load_from_database('pg', storage_config=storage)\n"
        "    print(repr(one_trial(client)[1]['learning_rate']))\n"
    )
    for step in ("start", "go on"):
        said = subprocess.run([sys.executable, "-c", code, step], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
    memory = ax_client()
    completed(memory, 2)
    assert float(said.stdout) == one_trial(memory)[1]["learning_rate"]
