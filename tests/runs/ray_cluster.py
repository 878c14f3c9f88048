"""A real Ray of a head and two nodes on this machine: started, hurt and stopped."""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.postgres import free_port

STARTED: "dict[str, subprocess.Popen[bytes]]" = {}
PROGRAM = Path(sys.executable).parent / "ray"
#: Ray replaces 127.0.0.1 by the machine's outer address, but no other one of the loopback range.
HEAD = "127.0.0.2"
NODES = {"node1": "127.0.0.3", "node2": "127.0.0.4"}
#: Ray listens on every address all the same, so that whoever wants in needs a token. Dead nodes are
#: to be noticed within seconds: they refuse every check at once, while one that is only starved by
#: its machine has ten seconds to answer. What is not needed is left out, as on its command line.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_enable_open_telemetry": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def missing() -> str | None:
    """Why Ray cannot be started here, if so."""
    if find_spec("ray") is None or not PROGRAM.exists():
        return "ray is not installed, expected the extra ray"
    return None if sys.platform == "linux" else "no Linux, expected its loopback range"


@contextmanager
def ray_cluster(folder: Path) -> Iterator[Path]:
    """A running cluster, by the folder of its processes' ids; all of them are gone afterwards."""
    port = free_port()
    given = {
        **SETTINGS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ADDRESS": f"{HEAD}:{port}",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        temporary = f"--temp-dir={folder}"
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", temporary)
        _start(folder, "head", HEAD, *head)
        for name in NODES:  # one after the other: at once they time out
            start_node(folder, name)
        yield folder
    finally:
        for path in folder.glob("*.pid"):
            kill_node(folder, path.stem)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def start_node(folder: Path, name: str) -> None:
    """Start one node, for the first time or again."""
    _start(folder, name, NODES[name], f"--address={os.environ['RAY_ADDRESS']}", "--num-cpus=2")


def kill_node(folder: Path, name: str) -> None:
    """End all processes of a node at once, as a power cut would."""
    path = folder / f"{name}.pid"
    session = int(path.read_text())
    path.unlink()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getsid(process.pid) == session:
                found.append(process)
                process.kill()
    psutil.wait_procs(found, 10)
    STARTED.pop(name).wait()


def _start(folder: Path, name: str, address: str, *more: str) -> None:
    """Start a part in a session of its own, by which it is ended: `ray stop` ends every Ray.

    On a starved machine Ray gives up after less than a minute, so it is tried again.
    """
    log = folder / f"{name}.log"
    given = (f"--node-ip-address={address}", "--object-store-memory=80000000", "--block", *more)
    spared = ("--disable-usage-stats", "--include-log-monitor=false", "--no-monitor")
    for attempts_left in (2, 1, 0):
        with log.open("wb") as out:
            process = subprocess.Popen(
                [PROGRAM, "start", *spared, *given],
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "RAY_ADDRESS": ""},
                preexec_fn=_end_with_the_tests,
            )
        STARTED[name] = process
        (folder / f"{name}.pid").write_text(str(process.pid))
        until_s = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < until_s:
            if "Ray runtime started" in log.read_text():
                return
            time.sleep(0.1)
        assert attempts_left, log.read_text()
        assert "timed out during startup" in log.read_text(), log.read_text()
        kill_node(folder, name)


def _end_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
