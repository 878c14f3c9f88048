"""Address: which database does a text name, which study in it, and how is it shown to people?

    runs.db    runs.db#7b    sqlite:///runs.db    postgresql://user@host/database#7b

What follows `#` is the study's name; a database that holds one study needs none. A password is
used and never shown.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from horizon_bo.errors import StorageError
from horizon_bo.study.quantities import LONGEST_NAME

#: Schemes that mean PostgreSQL; each is read by psycopg 3.
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
#: What stands between the user's name and the host of a URL.
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^\s]*@")
_PARAMETER = re.compile(r"([?&](?:password|sslpassword)=)[^&#\s]*", re.IGNORECASE)
#: Longest address, in characters: the longest path that systems take.
_LONGEST = 4096


@dataclass(frozen=True)
class Address:
    """Where a study is kept.

    Args:
        url: The database.
        study: Name of the study in it; `None` means the only one.
    """

    url: URL
    study: str | None

    @property
    def shown(self) -> str:
        """The address as people may see it: a path as it was given, a URL without its password."""
        if self.path is not None and self.url.drivername == "sqlite":
            where = str(self.path)
        else:
            where = masked(self.url.render_as_string(hide_password=True))
        return where if self.study is None else f"{where}#{self.study}"

    @cached_property
    def path(self) -> Path | None:
        """The file of an SQLite database, `None` for a server."""
        return Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None


def address_of(text: str | PathLike[str], name: str | None = None) -> Address:
    """The address that a path or a URL means, and perhaps a study's name behind `#`.

    Raises:
        StorageError: It names no database that can keep a study.
    """
    given = fspath(text)
    if len(given) > _LONGEST:
        raise StorageError(
            f"the study's address has {len(given)} characters, expected up to {_LONGEST}; "
            "choose a shorter path"
        )
    where, named = _split(given)
    if name is not None and named is not None and name != named:
        raise StorageError(
            f"{masked(given)} names the study {named!r} and the name given is {name!r}, "
            "expected one; leave one out"
        )
    study = _checked(named if name is None else name)
    try:
        url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
    except (ArgumentError, ValueError) as error:
        raise _refused(given, "it cannot be read as a URL") from error
    if url.drivername in _POSTGRESQL:
        return Address(url.set(drivername="postgresql+psycopg"), study)
    if url.get_backend_name() != "sqlite":
        raise _refused(given, f"{url.drivername} is not supported")
    if url.database in (None, "", ":memory:"):
        raise StorageError(
            f"{given!r} names a database in memory, which keeps nothing; "
            "expected a path, pass study=None for a study that need not last"
        )
    return Address(url, study)


def masked(text: str) -> str:
    """A text without the passwords of the URLs in it."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def _split(text: str) -> tuple[str, str | None]:
    """Database and study's name; a file whose own name has a `#` is found as it is."""
    where, mark, name = text.rpartition("#")
    if not mark or "@" in name or "/" in name or ("://" not in text and _is_file(text)):
        return text, None
    return where, name


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long a name for a file
        return False


def _checked(name: str | None) -> str | None:
    if name is None:
        return None
    if not name.strip() or len(name) > LONGEST_NAME or "#" in name or not name.isprintable():
        raise StorageError(
            f"the study's name is {name[:40]!r}, expected up to {LONGEST_NAME} printable "
            "characters without #; choose another"
        )
    return name


def _refused(text: str, reason: str) -> StorageError:
    return StorageError(
        f"{masked(text)!r} is not an address of a study ({reason}), expected a path, "
        "sqlite:///PATH or postgresql://USER@HOST/DATABASE; correct it"
    )
