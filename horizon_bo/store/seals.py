"""Seals: is an event still what was written?

A disk that fails, or a copy that went wrong, may alter one digit of a loss, which no database
notices. So the JSON of an event ends in the sum (CRC-32) of all that matters of it. Events that
older versions wrote have none and are taken as they are.
"""

import json
import zlib
from typing import Any

from horizon_bo.errors import StudyFormatError

_NAME = "crc32"
_SEAL = f', "{_NAME}": '


def sealed(study: str, sequence: int, kind: str, payload: str) -> str:
    """An event's JSON object with the sum behind all else.

    Args:
        study: Id of its study.
        sequence: Number of the event.
        kind: What happened.
        payload: A JSON object that is not empty.
    """
    return f"{payload[:-1]}{_SEAL}{_sum(study, sequence, kind, payload)}}}"


def unsealed(study: str, sequence: int, kind: str, payload: str) -> dict[str, Any]:
    """What `sealed` was given, read; an event that was altered is refused."""
    record = json.loads(payload)
    if _NAME not in record:
        return record
    body, _, _ = payload.rpartition(_SEAL)
    if record.pop(_NAME) != _sum(study, sequence, kind, f"{body}}}"):
        raise StudyFormatError(
            f"event {sequence} is not what was written (its sum differs), expected it unchanged; "
            "restore a copy of the study"
        )
    return record


def _sum(study: str, sequence: int, kind: str, payload: str) -> int:
    return zlib.crc32(f"{study} {sequence} {kind} {payload}".encode())
