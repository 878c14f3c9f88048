"""Run folder: what is kept of a run on disk, and whose folder is it?

Each run has one: `run.json` (the suggestion, the command, which attempt), `stdout.log` and
`stderr.log` (earlier attempts as `stdout.1.log`, …), what the trainer writes (`result.json`,
`progress.jsonl`), and `outcome.json` once the run has ended for good.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from horizon_bo.errors import (
    InvalidObjectiveError,
    StorageError,
    StudyBusyError,
    StudyFormatError,
    StudyNotFoundError,
)
from horizon_bo.store.address import address_of
from horizon_bo.study.horizons import Scale
from horizon_bo.study.records import as_json, plain, scale_record, with_inputs
from horizon_bo.study.trials import Suggestion

#: How much of a log's end is read, in bytes.
_TAIL_BYTES = 65_536


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one clear line."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError | StudyBusyError):
            raise
        raise StorageError(
            f"{folder} cannot be written ({error.strerror or error}), expected a writable disk "
            "with space; the study is intact and unfinished runs stay pending, mend the disk "
            "and run again"
        ) from error


@contextmanager
def locked(root: Path) -> Iterator[int]:
    """Hold the folder of a study's runs for one loop; yields the lock's file descriptor.

    The lock lives as long as a process that inherited the descriptor: a loop cannot start
    before the commands of a killed one are gone.
    """
    with clear_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyBusyError(
                f"{root} is held by another loop, expected one loop a study; wait for it, or end "
                "it and run again"
            ) from error
        yield descriptor
    finally:
        os.close(descriptor)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record durably, whole or not at all."""
    text = as_json(record)
    draft = path.with_suffix(".draft")
    with clear_disk_errors(path.parent):
        with draft.open("w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Say, where a study cannot be told of an outcome, that its folder holds it."""
    try:
        yield
    except (StorageError, StudyFormatError, StudyNotFoundError) as error:
        raise type(error)(
            f"{error}; how run {folder.name} ended is kept in {folder}, and the same command will "
            "report it"
        ) from error


def read_json(path: Path) -> Any | None:
    """What a JSON file holds; `None` where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def begin_attempt(folder: Path, run: Suggestion) -> int:
    """Make a run's folder ready for another attempt; the attempt's number, from 1.

    The logs of an attempt before keep its number, and its result is removed.
    """
    refuse_another_study(folder, run)
    before = read_json(folder / "run.json")
    attempt = 1 + (before["attempt"] if before else 0)
    with clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("stdout", "stderr"):
            log = folder / f"{name}.log"
            if log.exists():
                log.replace(folder / f"{name}.{attempt - 1}.log")
        for name in ("result", "outcome"):
            (folder / f"{name}.json").unlink(missing_ok=True)
    return attempt


def write_attempt(
    folder: Path, run: Suggestion, argv: Sequence[str], attempt: int, gpus: float | None = None
) -> None:
    """Keep what is about to be started, and on how many GPUs as far as that is known."""
    record = {"suggestion": suggestion_record(run), "argv": list(argv), "attempt": attempt}
    write_json(folder / "run.json", record if gpus is None else {**record, "gpus": gpus})


def stored_run(folder: Path) -> Suggestion | None:
    """The run that a folder was made for, `None` where it was made for none yet."""
    record = read_json(folder / "run.json")
    return None if record is None else suggestion_from(record["suggestion"])


def refuse_another_study(folder: Path, run: Suggestion) -> None:
    """Raise where the folder holds a run of the same id that is another one."""
    there = stored_run(folder)
    if there is not None and _identity(there) != _identity(run):
        raise InvalidObjectiveError(
            f"{folder} holds a run at learning rate {there.learning_rate:g} on "
            f"{there.tokens:g} tokens, expected {run.learning_rate:g} on {run.tokens:g}: it "
            "belongs to another study; name another folder"
        )


def _identity(run: Suggestion) -> str:
    """What makes a run this one and no other, as JSON keeps it (tuples become lists).

    Its compute is left out: what was planned is replaced by what was measured.
    """
    return as_json({**suggestion_record(run), "flops": None})


def suggestion_record(run: Suggestion) -> dict[str, Any]:
    """A suggestion as JSON can hold it."""
    return with_inputs({**plain(run), "scale": scale_record(run.scale)})


def suggestion_from(record: Mapping[str, Any]) -> Suggestion:
    """The suggestion that `suggestion_record` described."""
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return Suggestion(**{**given, "scale": Scale(**record["scale"])})


def default_folder(study: str) -> Path:
    """Where a study's runs are kept unless the user says otherwise: beside it."""
    place = address_of(study)
    if "://" in study or place.path is None:
        raise InvalidObjectiveError(
            f"{place.shown} is a URL and no folder was given, expected a place for its runs; "
            "name one with --folder"
        )
    return place.path.with_suffix(".runs" if place.study is None else f".{place.study}.runs")


def known_folder(study: str, folder: str | None) -> Path | None:
    """Where a study's runs are kept, by what the user says or else beside it, if that is known."""
    return None if folder is None and "://" in study else Path(folder or default_folder(study))


def tail(path: Path) -> str:
    """The end of a log, empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(path: Path) -> str:
    """The last line of a log that is not blank, empty where there is none."""
    lines = [line.strip() for line in tail(path).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def last_progress(folder: Path) -> dict[str, float]:
    """Tokens and loss by the last whole line of a trainer's `progress.jsonl`, where known."""
    for line in reversed(tail(folder / "progress.jsonl").splitlines()):
        try:
            record = json.loads(line)
        except ValueError:  # half a line: the trainer is writing it
            continue
        if isinstance(record, dict):
            known = {key: record.get(key) for key in ("tokens", "loss")}
            return {k: float(v) for k, v in known.items() if isinstance(v, int | float)}
    return {}
