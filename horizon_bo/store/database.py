"""Database: how do many processes write to one study in turn, and none is refused?

Only short transactions, in which nothing is computed, and one writer at a time: on SQLite whoever
holds a lock on `FILE.lock`, which the system hands on in the order of asking (SQLite's own lock is
taken by chance), on PostgreSQL whoever holds an advisory lock. When the server goes away the whole
transaction is done again on a new connection, so what it does must bear being done twice.
"""

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    Table,
    create_engine,
    event,
    literal,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from horizon_bo.errors import (
    HorizonBOError,
    MissingExtraError,
    StorageError,
    StudyFormatError,
    StudyNotFoundError,
)
from horizon_bo.store.address import Address, masked

T = TypeVar("T")

#: How long a writer waits for a program that holds SQLite's own lock, in seconds.
_BUSY_S = 30
#: How long a server that was reached before is waited for, in seconds: a restart, a fail-over.
PATIENCE_S = 300.0
#: How long a server is waited for at first contact, in seconds; its name may be mistyped.
FIRST_PATIENCE_S = 5.0
#: First and longest wait before a transaction is repeated, in seconds.
_WAITS_S = (0.1, 5.0)
#: How libpq notices that a server or the way to it is gone: in seconds, and for what was sent and
#: not acknowledged in milliseconds.
_NOTICED: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "tcp_user_timeout": 30_000,
}
#: A writer that is silent this long within a transaction is gone, in seconds: the server ends it.
_SILENCE_S = 30
#: Key of PostgreSQL's advisory lock; the database holds nothing else that uses such locks.
_LOCK_KEY = 0x686F72697A6F6E
#: How often those who wait at a file look whether somebody called, in seconds.
_LISTENS_S = 0.1
#: Where those who wait are called, within a database.
_CHANNEL = "horizon_bo"
#: What SQLite says of a file that it cannot read.
_DAMAGED = ("not a database", "malformed", "no such", "no column", "not decode")
#: What servers say while they restart or are full (SQLSTATE); `None` is a broken connection.
_PASSING_STATES = {None, "08000", "08003", "08006", "25P03", "40001", "40P01", "53300"} | {
    *("57P01", "57P02", "57P03", "57P05")
}
#: What a server that is there says first: it starts, ends, or has too many clients.
_ANSWERED = "FATAL:"
#: What they say, without a SQLSTATE, to those who will never be let in.
_NEVER = ("authentication failed", "does not exist", "no pg_hba.conf entry", "translate host name")


@dataclass(frozen=True)
class Database:
    """A database that processes of one machine (SQLite) or of many (PostgreSQL) share.

    Args:
        address: Where it is; its name for people hides the password.
        engine: Connections to it.
        keeps: Whether a connection is kept for the next transaction.
        waiting: Entered wherever something is waited for, which may be broken off then.
    """

    address: Address
    engine: Engine
    keeps: bool = False
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext

    def read(self, work: Callable[[Connection], T], patience_s: float | None = None) -> T:
        """Do `work` in a transaction that writes nothing and waits for nobody."""
        return self._repeated(lambda: self._done(work, writes=False), patience_s)

    def write(self, work: Callable[[Connection], T], patience_s: float | None = None) -> T:
        """Do `work` in a transaction while nobody else writes; durable once this returns."""
        return self._repeated(lambda: self._done(work, writes=True), patience_s)

    def note(self, work: Callable[[Connection], T], patience_s: float | None = None) -> T:
        """As `write`, for what need not outlast a power cut: who waits, who is still there.

        On a server many do so at once: it is for rows that are the caller's own, and for what is
        changed in one statement. Without patience it is tried once.
        """
        return self._repeated(lambda: self._done(work, writes=True, durable=False), patience_s)

    @contextmanager
    def kept_open(self) -> Iterator["Database"]:
        """The same database with one connection for several transactions in a row."""
        if self.keeps:
            yield self
            return
        try:
            yield replace(self, keeps=True)
        finally:
            self.rest()

    def rest(self) -> None:
        """Close what is kept open; the next transaction opens it again."""
        self.engine.dispose()

    def pause(self, seconds: float) -> None:
        """Wait so long."""
        with self.waiting():
            time.sleep(seconds)

    def call(self, connection: Connection) -> None:
        """Wake those who listen, as soon as this transaction is done."""
        if self.address.path is None:
            connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")
        else:
            connection.info["calls"] = True

    def called(self) -> int:
        """When somebody called last, as far as that is known; from here on no call is missed."""
        if self.address.path is None:
            self._listening(lambda connection: None)
            return 0
        with suppress(FileNotFoundError):
            return os.stat(f"{self.address.path}.lock").st_mtime_ns
        return 0

    def listen(self, seconds: float, since: int) -> None:
        """Wait until somebody has called since, or so long."""
        until = time.monotonic() + seconds
        if self.address.path is not None:
            while self.called() == since and time.monotonic() < until:
                self.pause(_LISTENS_S)
            return

        def work(connection: Connection) -> None:
            server: Any = connection.connection.driver_connection
            with self.waiting():
                list(server.notifies(timeout=seconds, stop_after=1))
                list(server.notifies(timeout=0.0))  # further ones say the same

        self._listening(work)

    def _listening(self, work: Callable[[Connection], object]) -> None:
        """Do something with a connection that is called; where it fails, the next read says so."""
        dialect: Any = self.engine.dialect
        try:
            with self.engine.connect() as connection:
                if not connection.info.get("listens"):
                    connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
                    connection.info["listens"] = True
                work(connection)
        except (SQLAlchemyError, dialect.loaded_dbapi.Error):
            self.rest()
            self.pause(_WAITS_S[0])

    def refuse_absent(self) -> None:
        """SQLite would make an empty file of a name that is not there."""
        path = self.address.path
        if path is not None and not path.is_file():
            raise StudyNotFoundError(
                f"{self.address.shown} does not exist, expected a study file; "
                f"make one with `horizon-bo init {self.address.shown} …`"
            )

    def _done(self, work: Callable[[Connection], T], *, writes: bool, durable: bool = True) -> T:
        with _clear_errors(self.address), self._turn() if writes else nullcontext():
            with self.engine.connect() as connection:
                if not self.keeps:
                    connection.detach()
                self._refuse_another_file(connection)
                with connection.begin():
                    for statement in self._beginning(writes=writes, durable=durable):
                        connection.exec_driver_sql(statement)
                    done, calls = work(connection), connection.info.pop("calls", False)
            if calls:
                with suppress(OSError):  # those who wait look by themselves, too
                    os.utime(f"{self.address.path}.lock")
            return done

    def _refuse_another_file(self, connection: Connection) -> None:
        """Who keeps a file open would not notice that another has taken its place."""
        number = _number(self.address.path)
        if connection.info.setdefault("file", number) != number:
            raise StorageError(
                f"{self.address.shown} is another file than it was, expected the one that was "
                "opened; nothing was written, open it again"
            )

    def _beginning(self, *, writes: bool, durable: bool) -> list[str]:
        """What a transaction begins with; one statement of a server's is one by itself."""
        if self.address.path is not None:
            mode = "FULL" if durable else "NORMAL"
            return [f"PRAGMA synchronous = {mode}", "BEGIN IMMEDIATE"] if writes else ["BEGIN"]
        if not writes:
            return []
        begin = f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{_SILENCE_S}s'"
        if not durable:
            return [f"{begin}; SET LOCAL synchronous_commit = off"]
        return [f"{begin}; SELECT pg_advisory_xact_lock({_LOCK_KEY})"]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait in line for SQLite's file; PostgreSQL has its line within the transaction."""
        path = self.address.path
        if path is None:
            yield
            return
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _repeated(self, attempt: Callable[[], T], patience_s: float | None) -> T:
        """Make an attempt again, with growing pauses, as long as the server is away."""
        patience_s = PATIENCE_S if patience_s is None else patience_s
        began_s, (wait_s, longest_s) = time.monotonic(), _WAITS_S
        while True:
            try:
                return attempt()
            except _AwayError as error:
                if patience_s > 0 and _ANSWERED in str(error):
                    patience_s = PATIENCE_S
                if time.monotonic() - began_s > patience_s:
                    raise StorageError(
                        f"{self.address.shown} cannot be reached since {patience_s:.0f} s "
                        f"({error}), expected a running server; nothing acknowledged is lost, "
                        "start it or correct the address, and repeat the call"
                    ) from error
            self.pause(wait_s * random.uniform(0.5, 1.0))  # many come back at once
            wait_s = min(2 * wait_s, longest_s)


class _AwayError(Exception):
    """The server is not there at this moment."""


def database_at(address: Address) -> Database:
    """The database at an address; nothing is read or written yet."""
    try:
        return Database(address, _engine(address))
    except ImportError as error:
        raise MissingExtraError(address.shown, "psycopg", "postgres") from error


def _engine(address: Address) -> Engine:
    """Connections on which transactions begin where we say."""
    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": -1}
    if address.path is None:
        server = {"isolation_level": "AUTOCOMMIT", "use_native_hstore": False}
        return create_engine(address.url, connect_args=_NOTICED, **server, **pool)
    engine = create_engine(address.url, **pool)
    event.listen(engine, "connect", _made_ready)
    return engine


def _made_ready(connection: Any, _: Any) -> None:
    """Transactions begin where we say, also around DDL."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * _BUSY_S}")
    connection.execute("PRAGMA journal_mode = WAL")


def _number(path: Path | None) -> int | None:
    """The number of a file, which another one in its place has not."""
    try:
        return None if path is None else path.stat().st_ino
    except FileNotFoundError:
        return 0


def clock(connection: Connection) -> float:
    """Seconds since 1970 by the clock of the database, which all workers share."""
    return float(connection.scalar(select(moment(connection))) or 0.0)


def moment(connection: Connection) -> ColumnElement[float]:
    """The database's clock within a statement."""
    if connection.dialect.name == "sqlite":
        return literal(time.time())  # SQLite has none of its own: it lives on this machine
    return literal_column("extract(epoch FROM clock_timestamp())::float8", Float())


def upsert(connection: Connection, table: Table) -> Any:
    """An insertion that says what is to be done where the row is there already."""
    # the words of PostgreSQL take long to load where SQLite is asked
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


@contextmanager
def _clear_errors(address: Address) -> Iterator[None]:
    """Turn what a database may say into one clear line."""
    where = address.shown
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        raise _damaged(where, str(error)) from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, HorizonBOError):
            raise
        said = masked((str(getattr(error, "orig", None) or error).splitlines() or [""])[0])
        if address.path is None and _passes(error, said):
            raise _AwayError(said) from error
        if any(mark in said for mark in _DAMAGED):
            raise _damaged(where, said) from error
        if address.path is None and isinstance(error, OperationalError | InterfaceError):
            raise StorageError(
                f"{where} lets nobody in ({said}), expected a database that this user may write "
                "to; correct the address"
            ) from error
        raise StorageError(
            f"{where} refused the event ({said}), expected a writable disk with space; nothing "
            "of this call was recorded, mend the disk and repeat it"
        ) from error


def _damaged(where: str, said: str) -> StudyFormatError:
    return StudyFormatError(
        f"{where} is damaged or no study ({said}), expected an SQLite file written by "
        "`horizon-bo init`; restore a copy"
    )


def _passes(error: Exception, said: str) -> bool:
    """Whether what a server said will pass by itself: it restarts, or is full for a moment."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state in _PASSING_STATES and not any(mark in said for mark in _NEVER)
