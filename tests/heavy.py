"""Heavy: which tests take a third of a second or more, so that `make check` leaves them out?

They stand in `heavy.txt` and bear the mark `heavy`. On a machine that does nothing else,
`pytest -p no:xdist -m 'not gpu' --durations 0 | python -m tests.heavy` lists them anew.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

LIST = Path(__file__).with_name("heavy.txt")
#: Seconds from which a test is heavy, with what it sets up.
LEAST_S = 0.33
_DURATION = re.compile(r"^(\d+\.\d+)s (?:call|setup) +(tests/[^\[\s]+)")


def listed() -> frozenset[str]:
    """The heavy tests, by file and name."""
    return frozenset(LIST.read_text().split())


def heavy(report: Iterable[str]) -> list[str]:
    """The heavy tests among the durations that pytest printed, sorted."""
    found = [found.groups() for line in report if (found := _DURATION.match(line))]
    return sorted({name for seconds, name in found if float(seconds) >= LEAST_S})


if __name__ == "__main__":
    LIST.write_text("".join(f"{name}\n" for name in heavy(sys.stdin)))
