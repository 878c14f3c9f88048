"""Public sweeps: downloaded once, checked, and written in our columns."""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.problems.sweeps import SWEEPS, fetched, table_of
from horizon_bo.tables.logged import logged_table

ROWS = "lr,N,D,bs,smooth loss\n1e-3,100000,2000000,16,3.5\n2e-3,100000,2000000,16,3.25\n"


@pytest.fixture
def served(tmp_path):
    """A real web server with one sweep on it; yields the sweep and its requests."""
    (tmp_path / "dense.csv").write_text(ROWS)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, form, *given):
            asked.append(form % given)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds between looks
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/dense.csv"
    sha256 = hashlib.sha256(ROWS.encode()).hexdigest()
    yield replace(SWEEPS[0], url=url, sha256=sha256), asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_sweep_is_downloaded_once_and_reads_as_logged_runs(served, tmp_path):
    sweep, asked = served
    first = fetched(sweep, tmp_path / "cache")
    assert fetched(sweep, tmp_path / "cache") == first
    assert len(asked) == 1
    table_of(sweep, first).to_csv(tmp_path / "ours.csv", index=False)
    runs = logged_table(tmp_path / "ours.csv").runs
    assert [run.loss for run in runs] == [3.5, 3.25]
    assert {(run.params, run.tokens, run.batch_tokens) for run in runs} == {(1e5, 2e6, 16 * 2048)}


def test_a_file_that_is_not_the_pinned_one_is_refused(served, tmp_path):
    sweep, _ = served
    with pytest.raises(ValueError, match="hash"):
        fetched(replace(sweep, sha256="0" * 64), tmp_path / "cache")


def test_every_sweep_states_its_licence_and_a_pinned_address():
    for sweep in SWEEPS:
        assert sweep.licence
        assert len(sweep.sha256) == 64
        assert "/main/" not in sweep.url
        assert "/master/" not in sweep.url
