"""Shown: do the outputs on the documentation's pages look like what the commands above them print?

`python -m tests.shown tutorial.md` types a page in full, trainings included, and writes what was
printed into its blocks of language `output`; the tests type it shortened and compare.
"""

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from horizon_bo.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
#: Stands in an output for any lines.
LEFT_OUT = "…"
#: Lines that a sentence is printed on at most.
WRAPPED = 3
#: By how much a number may differ on another machine, whose last bits differ.
TOLERANCE = 0.02


class Block(NamedTuple):
    """A fenced block: its language, the file it stands for if it names one, its text."""

    language: str
    title: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    for found in FENCE.finditer(page):
        yield Block(*found.groups(default=""))


def calls(text: str) -> list[list[str]]:
    """The arguments of each `horizon-bo` in a block."""
    lines = [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words and words[0] == "horizon-bo"]


def printed(call: list[str]) -> str:
    """What a call prints; it has to succeed."""
    result = CliRunner().invoke(app, call)
    if isinstance(result.exception, Exception):  # a bug, not an exit code
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def not_printed(shown: str, said: str) -> list[str]:
    """The lines of an output that a command did not print in this order, numbers compared.

    A sentence on one line may have been printed on up to `WRAPPED` of them.
    """
    missing, rest = [], said.splitlines()
    for line in shown.splitlines():
        ends = (
            start + count
            for start in range(len(rest))
            for count in range(1, WRAPPED + 1)
            if alike(line.rstrip(), " ".join(map(str.rstrip, rest[start : start + count])))
        )
        end = next(ends, None)
        if end is None and line != LEFT_OUT:
            missing.append(line)
        rest = rest[end or 0 :]
    return missing


def alike(shown: str, said: str) -> bool:
    """Whether two lines have the same words and, but for the last bits, the same numbers."""
    if NUMBER.split(shown) != NUMBER.split(said):
        return False
    return all(map(_close, NUMBER.findall(shown), NUMBER.findall(said)))


def _close(one: str, other: str) -> bool:
    first, second = (float(text.replace(",", "").replace("−", "-")) for text in (one, other))
    last_digit = min(map(_last_digit, (one, other)))
    most = max(TOLERANCE * max(abs(first), abs(second)), 1.001 * last_digit)
    return abs(first - second) <= most


def _last_digit(number: str) -> float:
    """What the last decimal is worth; nothing in a whole number."""
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0


def rewritten(page: str) -> str:
    """The page with what its commands print now in its outputs; a cut one is cut as before.

    Files that it shows by name are written first.
    """
    said = ""

    def block(found: re.Match[str]) -> str:
        nonlocal said
        if found["title"]:
            Path(found["title"]).write_text(found["text"])
        if found["language"] == "bash":
            said = "".join(map(printed, calls(found["text"])))
        if found["language"] != "output":
            return found[0]
        first, cut, last = found["text"].partition(f"{LEFT_OUT}\n")
        lines = said.splitlines(keepends=True)
        if cut:
            lines[first.count("\n") : len(lines) - last.count("\n")] = [cut]
        return f"```output\n{''.join(lines)}```"

    return FENCE.sub(block, page)


def main(pages: list[str]) -> None:
    """Write the outputs of pages, named below `docs`, anew."""
    for page in pages:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            text = rewritten((DOCS / page).read_text())
        (DOCS / page).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
