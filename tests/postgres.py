"""A PostgreSQL server of the tests' own, with the programs of the distribution's package."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar
from uuid import uuid4

import pytest

#: Where Debian and others keep the server's programs, which are not on the PATH.
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


@dataclass(frozen=True)
class Server:
    """A server on this machine.

    Args:
        programs: Folder of its programs.
        folder: Folder of its data and its log.
        port: Where it listens, on 127.0.0.1 only.
    """

    programs: Path
    folder: Path
    port: int
    most_connections: ClassVar[int] = 100

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid4().hex[:12]}"
        connection = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "horizon"]
        done(self.programs / "createdb", *connection, name)
        return f"postgresql://horizon@127.0.0.1:{self.port}/{name}"

    def connection(self) -> Any:
        """An open connection, which somebody else could have had."""
        import psycopg

        return psycopg.connect(f"postgresql://horizon@127.0.0.1:{self.port}/postgres")

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / "server.log"
        done(self.programs / "pg_ctl", "-D", self.data, "-l", log, "-w", "-t", "60", "start")

    def stop(self, how: str) -> None:
        """Stop it: `fast` as a restart does, `immediate` as a crash does."""
        done(self.programs / "pg_ctl", "-D", self.data, "-m", how, "-w", "-t", "60", "stop")

    @property
    def data(self) -> Path:
        """Folder of its data."""
        return self.folder / "data"


def done(*command: object) -> None:
    """Run a program to its end, as the user `postgres` where this is root's: root is refused."""
    argv = [str(part) for part in command]
    if os.getuid() == 0:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        argv = [*user, "env", "-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", *argv]
    ended = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@contextmanager
def postgres() -> Iterator[Server]:
    """A server for a while; the test is skipped, saying why, where there can be none."""
    programs = installed()
    folder = Path(mkdtemp(prefix="horizon_bo_postgres_"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    server = Server(programs, folder, free_port())
    try:
        given = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
        done(programs / "initdb", "-D", server.data, "-U", "horizon", *given)
        with (server.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {server.port}\n"
                f"unix_socket_directories = ''\nmax_connections = {Server.most_connections}\n"
            )
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def installed() -> Path:
    """The newest installed version's programs."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: extra `postgres`")
    found = [path for pattern in FOLDERS for path in Path("/").glob(pattern[1:])]
    if not found:
        pytest.skip("PostgreSQL's programs are not installed: apt-get install postgresql")
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, and PostgreSQL refuses to run as root")
    return max(
        found, key=lambda path: [int(part) for part in path.parts[-2].split(".") if part.isdigit()]
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def main() -> int:
    """Run a command whose word {address} is a new database of a server that lives as long."""
    with postgres() as server:
        words = [word.format(address=server.database()) for word in sys.argv[1:]]
        return subprocess.run(words, check=False).returncode


if __name__ == "__main__":  # python -m tests.postgres horizon-bo status {address}
    sys.exit(main())
