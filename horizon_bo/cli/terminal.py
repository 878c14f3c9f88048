"""Terminal: how does a command read numbers, print results and fail?

Typer reads what is given through the parsers here, since its own errors take several lines.

Results go to stdout, remarks to stderr. A deliberate error is one line and exit code 2; a bug
keeps its traceback and exit code 1.
"""

import errno
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any

import typer

from horizon_bo.errors import HorizonBOError, InvalidSpaceError, UnknownTrialError
from horizon_bo.study.quantities import quantity, quoted

#: A number of GPU-hours, as people write it.
_GPU_HOURS = re.compile(r"(.+?)[\s_-]*gpu[\s_-]*h(?:ours?)?", re.IGNORECASE)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Parametrization = Annotated[
    str, typer.Option(help="standard, mup, or hypersphere where weights keep their norms.")
]
Optimizer = Annotated[
    str, typer.Option(metavar="NAME", help="Optimizer whose rate is tuned, e.g. adamw or muon.")
]
Experts = Annotated[
    bool, typer.Option("--experts", help="Sizes are the active ones of a mixture of experts.")
]
StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Path or URL of the study (postgresql://USER@HOST/DB), with its name behind # where "
        "there are several.",
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Where runs keep config, logs, outcome; else STUDY.runs."),
]
#: Digits of a count or an id on the command line.
_MOST_DIGITS = 18


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Show a deliberate error as one line on stderr and exit 2; let bugs show a traceback."""
    try:
        yield
    except (HorizonBOError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, HorizonBOError):
            if error.errno != errno.ENAMETOOLONG:
                raise
            error = InvalidSpaceError(_too_long(error.filename))
        line = " ".join(str(error).split())
        typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)
        raise typer.Exit(code=2) from error


def _too_long(name: object) -> str:
    shown = quoted(str(name))
    return f"{shown} has {len(str(name))} characters, more than a file's name may; shorten it"


def command_group(help_: str, epilog: str = "") -> typer.Typer:
    """A command with commands of its own."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=help_, epilog=epilog
    )


def example(*lines: str) -> str:
    r"""The end of a command's help: one call, kept in the lines it is written in.

    A paragraph that starts with a backspace is one that click does not wrap.
    """
    return "\b\nExample:\n  " + " \\\n    ".join(lines)


def trial_id(text: str) -> int:
    """The id of a suggestion, as an argument."""
    with errors_as_exit_codes():
        if not str(text).isdecimal() or len(str(text)) > _MOST_DIGITS:
            raise UnknownTrialError(
                f"trial {quoted(text)} is unknown, expected a whole number; use the suggestion's id"
            )
        return int(text)


def whole_number(text: str, flag: str) -> int:
    """A whole number of any sign; what is no sensible one says so further in."""
    if not text.removeprefix("-").isdecimal() or len(text) > _MOST_DIGITS:
        raise InvalidSpaceError(f"{flag} is {quoted(text)}, expected a whole number; correct it")
    return int(text)


def any_number(text: str, flag: str) -> float:
    """A number of any sign, also as 7B, 45M or 2%; NaN and infinity are numbers here."""
    value = quantity(str(text))
    if value is None:
        raise InvalidSpaceError(
            f"{flag} is {quoted(text)}, expected a number; write it like 3e-4, 524288, 7B or 2%"
        )
    return value


def positive_number(text: str, flag: str) -> float:
    """A positive finite number."""
    value = any_number(text, flag)
    if not (math.isfinite(value) and value > 0):
        raise InvalidSpaceError(
            f"{flag} is {quoted(text)[1:-1]}, expected a finite number > 0; correct it"
        )
    return value


def active_and_all(text: str, flag: str) -> tuple[float, dict[str, float]]:
    """Parameters, and their sparsity as an input where active ones stand over all: 3B/30B."""
    active, stroke, every = text.partition("/")
    params = positive_number(active, flag)
    if not stroke:
        return params, {}
    total = positive_number(every, flag)
    if total < params:
        raise InvalidSpaceError(
            f"{flag} is {text!r}, expected active parameters over all, such as 3B/30B; swap them"
        )
    return params, {"sparsity": total / params}


def target_runs(text: str, flag: str) -> float:
    """A budget in target runs: a share of one, since more than one would be no tuning."""
    value = positive_number(text, flag)
    if value > 1:
        meant = f"{value:g}% for a share of it, or " if value < 100 else ""
        raise InvalidSpaceError(
            f"{flag} is {quoted(text)[1:-1]} target runs, expected at most 1; write {meant}0.05 "
            "for a twentieth of the target's compute (only Python takes FLOP)"
        )
    return value


@dataclass(frozen=True)
class Hours:
    """A budget in GPU-hours."""

    value: float


def target_runs_or_hours(text: str, flag: str) -> float | Hours:
    """A budget in target runs, or in GPU-hours where it says so: `200gpu-hours`."""
    hours = _GPU_HOURS.fullmatch(text.strip())
    return target_runs(text, flag) if hours is None else Hours(positive_number(hours[1], flag))


def positive_numbers(text: str, flag: str) -> list[float]:
    """Positive numbers separated by commas."""
    return [positive_number(part, flag) for part in text.split(",")]


def pair(text: str, flag: str) -> tuple[float, ...]:
    """Two positive numbers separated by a comma."""
    values = tuple(positive_numbers(text, flag))
    if len(values) != 2:
        raise InvalidSpaceError(f"{flag} is {text!r}, expected LOW,HIGH; give two numbers")
    return values


def names(text: str, flag: str) -> list[str]:
    """Words separated by commas."""
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise InvalidSpaceError(f"{flag} is {text!r}, expected A,B,…; separate names by one comma")
    return words


def named_numbers(text: str, flag: str) -> dict[str, float]:
    """Numbers by name, as in `weight_decay=0.1,beta2=0.95`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in found:
            raise InvalidSpaceError(
                f"{flag} is {quoted(text)}, expected NAME=VALUE,… with each name once; write it "
                f"like {flag} weight_decay=0.1,beta2=0.95"
            )
        found[name] = any_number(value, f"{name} of {flag}")
    return found


def option(
    flag: str, metavar: str, text: str, parse: Callable[[str, str], Any] = positive_number
) -> Any:
    """An option with a value, read by a function of the text given and the flag.

    Args:
        flag: Its name, such as `--tokens`.
        metavar: What stands for the value in the help.
        text: The help, with the unit.
        parse: Reads the value, a positive number unless said otherwise.
    """

    def parser(given: Any) -> Any:
        with errors_as_exit_codes():
            return parse(str(given), flag)

    return typer.Option(flag, metavar=metavar, help=text, parser=parser)


Without = Annotated[
    Sequence[float] | None,
    option("--without", "N1,N2,…", "Scales to leave out, by parameters (count).", positive_numbers),
]


Inputs = Annotated[
    Any,
    option(
        "--inputs",
        "NAME=X,…",
        "Numbers of the target's recipe: weight_decay, warmup_share, final_share (final over peak "
        "rate), beta2, decay_share (of wsd), sparsity (all parameters over active ones). Left out: "
        "those of most runs.",
        named_numbers,
    ),
]


def show_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on one line; what is not finite becomes null."""
    typer.echo(json.dumps(_finite(record)))


def show(record: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print a result as one JSON object, or as a sentence."""
    if as_json:
        show_json(record)
    else:
        typer.echo(sentence)


def show_fields(record: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, record)) + 2
    for name, value in record.items():
        typer.echo(f"{name:<{width}}{value}")


def remark(lines: Iterable[str]) -> None:
    """Print remarks on stderr, one a line."""
    for line in lines:
        typer.echo(f"note: {line}", err=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _finite(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
