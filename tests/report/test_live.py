"""The live page follows a study that others write, reads only, and is shown to whom it may be."""

import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

import pytest
from starlette.requests import Request
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.errors import MissingExtraError, StorageError
from horizon_bo.report.door import Door
from horizon_bo.report.live import LivePage, Rendered, listening
from horizon_bo.store.opening import study_store
from horizon_bo.tuner import HorizonTuner
from tests.pages import read_page
from tests.serving import renewed, served
from tests.studies import logged, small_tuner, tuner_with_pending

TOKEN = "0123456789abcdef"
#: A renewal comes within a poll and the time that a small belief takes on a busy machine.
PATIENCE_S = 60.0


def asked(address: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of an answer to a reader who keeps cookies for as long."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, headers=named, method=method)
    reader = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        with reader.open(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def revision(address: str) -> int:
    return json.loads(asked(address + "revision")[1])["revision"]


def wait_for_revision(address: str, wanted: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while revision(address) != wanted:
        assert time.monotonic() < until, f"revision {wanted} never came"
        time.sleep(0.1)


def blank(path) -> LivePage:
    """A page with nothing on it, of a study that is there."""
    small_tuner(study=path)
    return LivePage(study_store(path), Rendered(0, "the page", "the update"))


def test_the_page_is_renewed_when_the_study_changes(tmp_path):
    path = tmp_path / "runs.db"
    tuner = small_tuner(study=path, prior_center=1.5e-3)
    with served(renewed(path)) as address:
        before = read_page(asked(address + "main")[1])
        assert "This study has no run yet" in before.words
        tuner.observe(logged(), loss=3.1)
        wait_for_revision(address, 1)
        after = read_page(asked(address + "main")[1])
    assert "This study has no run yet" not in after.words
    best = after.json("recommendation")
    assert best["learning_rate"] == HorizonTuner.open(path).recommend().learning_rate


def test_a_revision_that_the_reader_knows_costs_no_answer(tmp_path):
    with served(blank(tmp_path / "runs.db")) as address:
        status, body, headers = asked(address + "revision")
        assert (status, json.loads(body)) == (200, {"revision": 0, "trouble": None})
        status, body, _ = asked(address + "revision", If_None_Match=headers["etag"])
        assert (status, body) == (304, "")


def test_a_writer_is_never_held_up_and_loses_nothing(tmp_path):
    path = tmp_path / "runs.db"
    tuner = tuner_with_pending(path, 30)
    page = renewed(path)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            page.store.read()
            page.store.sequence()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    took = []
    for trial in range(30):
        began = time.monotonic()
        tuner.observe(trial, loss=3.0 + trial / 100)
        took.append(time.monotonic() - began)
    stop.set()
    for reader in readers:
        reader.join()
    # SQLite's patience with a lock is 30 s; a write that waited for a reader would show
    assert max(took) < 10
    trials = HorizonTuner.open(path).study.trials
    assert [trial.loss for trial in trials] == [3.0 + k / 100 for k in range(30)]


def test_it_only_reads(tmp_path):
    path = tmp_path / "runs.db"
    with served(blank(path)) as address:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert asked(address, method)[0] == 405
        assert asked(address + "trials")[0] == 404
    assert study_store(path).sequence() == 0


def test_without_the_token_nothing_is_told(tmp_path):
    with served(blank(tmp_path / "runs.db"), TOKEN) as address:
        for part in ("", "main", "revision"):
            for asking in (part, f"{part}?token=wrong", f"{part}?token=", f"{part}?token=%C3%A9"):
                status, body, _ = asked(address + asking)
                assert (status, "page" in body) == (401, False)
            assert asked(address + part, Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
            assert asked(f"{address}{part}?token={TOKEN}")[0] == 200
            assert asked(address + part, Authorization=f"Bearer {TOKEN}")[0] == 200


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def unfollowed(address: str, **headers: str) -> Answer:
    """The answer itself, without going where it points to."""
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)
    with closing(connection):
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        said = connection.getresponse()
        return Answer(said.status, said.headers, said.read())


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_it(tmp_path):
    with served(blank(tmp_path / "runs.db"), TOKEN) as address:
        answer = unfollowed(f"{address}?token={TOKEN}")
        assert (answer.status, answer.headers["location"]) == (303, "./")
        cookie, *rules = answer.headers["set-cookie"].split("; ")
        assert TOKEN not in cookie
        assert {"HttpOnly", "Path=/", "SameSite=lax"} == set(rules)
        assert unfollowed(address, Cookie=cookie).body == b"the page"
        assert unfollowed(address, Cookie="horizon_bo=other").status == 401
        assert unfollowed(f"{address}main?token={TOKEN}").headers["location"] == "main"


def test_who_guesses_tokens_is_not_listened_to_for_a_minute(tmp_path):
    with served(blank(tmp_path / "runs.db"), TOKEN) as address:
        cookie = unfollowed(f"{address}?token={TOKEN}").headers["set-cookie"].split(";")[0]
        said = [asked(f"{address}?token=wrong{k}")[0] for k in range(12)]
        assert said == [401] * 10 + [429] * 2
        status, _, headers = asked(f"{address}?token={TOKEN}")
        assert (status, headers["retry-after"]) == (429, "60")
        assert unfollowed(address, Cookie=cookie).status == 200  # who is in, stays in


def test_wrong_tokens_are_forgotten_after_a_minute_and_so_are_too_many_readers(tmp_path):
    clock = [0.0]
    door = Door(TOKEN, now=lambda: clock[0])

    def shown(token: str, client: str = "10.0.0.1") -> int | None:
        query = urllib.parse.urlencode({"token": token}).encode()
        scope = {"type": "http", "path": "/", "query_string": query, "headers": []}
        refused = door.refusal(Request({**scope, "client": (client, 1), "server": ("here", 80)}))
        return None if refused is None else refused.status_code

    assert [shown("wrong") for _ in range(11)][-2:] == [401, 429]
    assert shown(TOKEN, "10.0.0.2") == 303
    clock[0] = 61.0
    assert shown(TOKEN) == 303
    for k in range(5000):
        shown("wrong", f"client {k}")
    assert len(door.wrong) == 4096


def test_it_is_compressed_and_runs_no_script_but_its_own(tmp_path):
    page = blank(tmp_path / "runs.db")
    page.last = Rendered(0, "the page " * 1000, "the update")
    with served(page) as address:
        answer = unfollowed(address, **{"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body).decode() == "the page " * 1000
        rules = dict(
            rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
        )
    assert "unsafe" not in rules["script-src"]
    assert rules["script-src"].count("sha256-") == 2
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"


def test_behind_a_proxy_it_is_found_whether_that_takes_its_path_off_or_not(tmp_path):
    with served(blank(tmp_path / "runs.db"), TOKEN, "/tuning") as address:
        answer = unfollowed(f"{address}tuning/?token={TOKEN}")
        assert answer.headers["location"] == "./"
        assert "Path=/tuning/" in answer.headers["set-cookie"]
        for place in ("", "main", "revision", "tuning/", "tuning/main", "tuning/revision"):
            assert unfollowed(address + place, Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("path", ["tuning", "/tuning/", "/a b", "/a;b", "//", "/\n"])
def test_a_path_that_is_none_is_refused(tmp_path, path):
    small_tuner(study=tmp_path / "runs.db")
    given = ["serve", str(tmp_path / "runs.db"), "--root-path", path]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert "expected a path such as /tuning" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_name_that_others_pointed_at_this_machine_is_refused(tmp_path):
    with served(blank(tmp_path / "runs.db")) as address:
        assert asked(address, Host="evil.example")[0] == 400
        port = address.rsplit(":", 1)[1].rstrip("/")
        assert asked(address, Host=f"localhost:{port}")[0] == 200


def test_the_token_is_not_passed_on_to_other_sites(tmp_path):
    with served(blank(tmp_path / "runs.db"), TOKEN) as address:
        headers = asked(f"{address}?token={TOKEN}")[2]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_a_study_that_is_gone_leaves_the_last_page_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("horizon_bo.report.live.POLL_S", 0.1)
    path = tmp_path / "runs.db"
    with served(blank(path)) as address:
        for file in tmp_path.iterdir():
            file.unlink()
        until = time.monotonic() + PATIENCE_S
        while (trouble := json.loads(asked(address + "revision")[1])["trouble"]) is None:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "does not exist" in trouble
        assert asked(address)[1] == "the page"


def test_the_past_is_worked_out_once(tmp_path):
    path = tmp_path / "runs.db"
    tuner = small_tuner(study=path, prior_center=1.5e-3)
    tuner.observe(logged(), loss=3.1)
    page = renewed(path)
    known = dict(page.states)
    tuner.observe(logged(learning_rate=4e-3), loss=3.05)
    page.renew()
    assert known
    assert all(page.states[length] is state for length, state in known.items())
    assert page.last is not None
    assert page.last.revision == 2


def test_beyond_this_machine_a_token_is_needed_and_must_be_long(tmp_path):
    path = str(tmp_path / "runs.db")
    small_tuner(study=path)
    for given in (["--host", "0.0.0.0"], ["--token", "short"]):
        result = CliRunner().invoke(app, ["serve", path, *given])
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "--token" in result.stderr


def test_a_missing_study_or_a_taken_port_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["serve", str(tmp_path / "none.db")])
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    taken = listening("127.0.0.1", 0)
    with taken, pytest.raises(StorageError, match="cannot be listened at"):
        listening("127.0.0.1", taken.getsockname()[1])


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    path = str(tmp_path / "runs.db")
    small_tuner(study=path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "horizon_bo.report.live")
    result = CliRunner().invoke(app, ["serve", path])
    assert result.exit_code == 2
    assert "pip install 'horizon-bo[serve]'" in result.stderr
    assert issubclass(MissingExtraError, ImportError)


def test_the_command_serves_until_ctrl_c(tmp_path):
    path = tmp_path / "runs.db"
    small_tuner(study=path)
    code = "from horizon_bo.cli.app import app; app()"
    call = [sys.executable, "-c", code, "serve", str(path), "--port", "0", "--json"]
    environment = {**os.environ, "HORIZON_BO_TOKEN": TOKEN}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told["address"])
        assert told == {"address": told["address"], "study": "runs.db", "needs_token": True}
        assert "no run yet" in asked(f"{told['address']}main?token={TOKEN}")[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
