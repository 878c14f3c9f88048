"""Losses: which loss does the last line of a command say?

The line has to be the loss: a number, `loss=2.91`, `val_loss: 2.91`, "final loss 2.91", or
`{"loss": 2.91}`. Seconds, gigabytes and the numbers of jobs are none.
"""

import re
from collections.abc import Mapping
from typing import Any

from horizon_bo.study.quantities import quantity
from horizon_bo.tables.objects import parsed_object

_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_OF_WHAT = (
    r"(?:(?:final|last|best|mean|average|avg|val|valid|validation|eval|evaluation|test|dev|train|"
    r"training|held[-_ ]?out)[\s_/.-]+)*"
)
#: A line that is a loss: a number alone, or one that is said to be the loss.
_LOSS_LINE = re.compile(
    rf"(?P<named>{_OF_WHAT}loss\s*(?:=|:|\s|\bis\b)\s*)?(?P<number>{_NUMBER})"
    r"(?:\s*nats?(?:\s*(?:/|per)\s*token)?)?\.?",
    re.IGNORECASE,
)
#: Where an object that is printed as the last line may hold the loss, the first that is there.
_LOSS_KEYS = (
    "loss", "final_loss", "val_loss", "val/loss", "valid_loss", "validation_loss", "eval_loss",
    "eval/loss",
)  # fmt: skip
#: A whole number of so many digits, alone on a line, is the number of a job or a process.
_JOB_DIGITS = 4
#: What terminals colour lines with.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: How much of a line is quoted, and how much of it is read, in characters.
_QUOTED, _LONGEST_LINE = 200, 100_000


class UnreadableLossError(ValueError):
    """What a command left says no loss."""


def said_loss(line: str) -> Mapping[str, Any]:
    """What the last line of a command says, as `result.json` would.

    Raises:
        UnreadableLossError: It says no loss; a number with other words may be of anything.
    """
    line = _COLOURS.sub("", line).strip()
    if line.startswith("{") and (found := _printed_object(line)) is not None:
        return found
    match = _LOSS_LINE.fullmatch(line[:_LONGEST_LINE])
    if match is None:
        said = f"the last line of output is {line[:_QUOTED]!r}" if line else "the output is empty"
        raise UnreadableLossError(
            f"{said}, expected the loss alone, as in 2.91, or loss=2.91; print it last or write "
            "result.json into {folder}"
        )
    if match["named"] is None and match["number"].isdecimal() and len(line) >= _JOB_DIGITS:
        raise UnreadableLossError(
            f"the last line of output is {line[:_QUOTED]!r}, a whole number as jobs and processes "
            f"have, expected the loss; print loss={line[:_QUOTED]} if it is one"
        )
    return {"loss": float(match["number"])}


def _printed_object(line: str) -> Mapping[str, Any] | None:
    """An object that was printed as JSON or as Python does, with its loss; `None` without one."""
    record = parsed_object(line[:_LONGEST_LINE])
    key = next((key for key in _LOSS_KEYS if key in (record or {})), None)
    if record is None or (key is None and record.get("diverged") is not True):
        return None
    loss = None if key is None else record[key]
    return {**record, "loss": quantity(loss) if isinstance(loss, str) else loss}
