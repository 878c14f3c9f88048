"""Objectives: how does a suggestion become a training run?

A `Command` gives the arguments of a process; a `Function` is called in this very process. A
command template, a function that must run elsewhere and the built-in trainer are all commands.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs.folder import write_json
from horizon_bo.study.quantities import quoted
from horizon_bo.study.trials import Study, Suggestion

#: A function that trains: it gives the final loss, or a mapping like `result.json`.
Train = Callable[[Suggestion], float | Mapping[str, Any]]

#: Placeholders of every template; a scale's settings are added by name.
PLACEHOLDERS: tuple[str, ...] = (
    "learning_rate", "params", "tokens", "batch_tokens", "flops", "schedule", "averaging",
    "branches", "cooldown", "id", "seed", "folder",
)  # fmt: skip
_COUNTS = ("params", "tokens", "batch_tokens")
#: A name in braces; other braces, such as those of JSON, stay as they are.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class Command:
    """A training command.

    Args:
        argv: Gives the arguments that train a run whose folder is the second argument, and may
            write what the command needs (a config) into that folder, which exists.
    """

    argv: Callable[[Suggestion, Path], tuple[str, ...]]


@dataclass(frozen=True)
class Function:
    """A Python function that trains in this process."""

    train: Train


def objective_from(
    given: str | Sequence[str] | Train | Command,
    study: Study,
    *,
    elsewhere: bool,
    target_settings: Mapping[str, Any] | None,
) -> Command | Function:
    """The objective that a user means, checked before anything is started.

    Args:
        given: A template as one string or as arguments, a function, or a command.
        study: Whose scales the placeholders must name.
        elsewhere: A function has to run in a process of its own.
        target_settings: Settings of the target where it will be trained too.
    """
    if isinstance(given, Command):
        return given
    if callable(given):
        return function_command(given) if elsewhere else Function(given)
    try:
        arguments = tuple(shlex.split(given) if isinstance(given, str) else given)
    except ValueError as error:
        raise InvalidObjectiveError(
            f"the command {given!r} cannot be split ({error}), expected the quoting of a shell; "
            "close the quote"
        ) from error
    if not arguments:
        raise InvalidObjectiveError("the command is empty, expected a program; name one")
    return template_command(arguments, study, target_settings)


def template_command(
    arguments: Sequence[str], study: Study, target_settings: Mapping[str, Any] | None = None
) -> Command:
    """A command whose `{placeholders}` are filled argument by argument, never by a shell.

    Raises:
        InvalidObjectiveError: A placeholder is unknown, the rate is in none, or the program is
            not found.
    """
    settings = [scale.settings for scale in study.space.scales]
    settings += [] if target_settings is None else [target_settings]
    known = set(PLACEHOLDERS) | set.intersection(*(set(names) for names in settings))
    if study.target.batch_tokens is None and study.space.batch_tokens is None:
        known.discard("batch_tokens")
    found = _PLACEHOLDER.findall(" ".join(arguments))
    for name in found:
        if name not in known:
            raise InvalidObjectiveError(
                f"the command has the placeholder {{{name}}}, expected one of "
                f"{', '.join(sorted(known))}; correct it, or give every scale that setting"
            )
    if not {"learning_rate", "folder"} & set(found):
        raise InvalidObjectiveError(
            f"the command {quoted(shlex.join(arguments))} has no {{learning_rate}}, expected it, "
            "or {folder} whose run.json holds the rate, else all runs train at one rate; add it, "
            "as in --lr {learning_rate}"
        )
    if not _PLACEHOLDER.search(arguments[0]):
        refuse_missing_program(arguments[0])

    def argv(run: Suggestion, folder: Path) -> tuple[str, ...]:
        values = _values(run, folder, study.seed)
        fill = lambda match: values[match[1]]  # noqa: E731
        return tuple(_PLACEHOLDER.sub(fill, argument) for argument in arguments)

    return Command(argv)


def refuse_missing_program(program: str) -> None:
    """Raise where a program cannot be found or run."""
    if shutil.which(program) is None:
        raise InvalidObjectiveError(
            f"the command {program!r} is not found, expected a program on the PATH or the path of "
            "one that may be executed; install it or correct the name"
        )


def function_command(train: Train) -> Command:
    """A command that calls a Python function in a process of its own.

    Raises:
        InvalidObjectiveError: Another process could not find the function by its name.
    """
    module = sys.modules.get(getattr(train, "__module__", None) or "")
    name = getattr(train, "__qualname__", "")
    file = getattr(module, "__file__", None)
    if file is None or getattr(module, name, None) is not train:
        raise InvalidObjectiveError(
            f"{train!r} is known to this process only, expected a function at the top level of a "
            "file to call it in processes of their own; move it there, or leave out parallel, "
            "gpus and timeout_s"
        )
    where = {"module": train.__module__, "file": file, "name": name}

    def argv(_: Suggestion, folder: Path) -> tuple[str, ...]:
        write_json(folder / "function.json", {**where, "path": sys.path})
        return sys.executable, "-m", "horizon_bo.runs.function_run", str(folder)

    return Command(argv)


def result_text(result: float | Mapping[str, Any]) -> str:
    """What a function returned as the text of `result.json`; NaN and infinity may be in it."""
    record = dict(result) if isinstance(result, Mapping) else {"loss": result}
    return json.dumps(record, default=float)  # scalars of numpy and torch


def _values(run: Suggestion, folder: Path, seed: int) -> dict[str, str]:
    """What each placeholder stands for; a run's seed is the study's plus its id."""
    values = dict(run.scale.settings) | {
        name: getattr(run, name) for name in PLACEHOLDERS if name not in ("seed", "folder")
    }
    return {
        "seed": str(seed + run.id),
        "folder": str(folder.resolve()),
        **{name: _printed(name, value) for name, value in values.items()},
    }


def _printed(name: str, value: Any) -> str:
    """A value as programs read it: counts and whole numbers without point or exponent.

    Branches are separated by commas, and empty for a run that is read once.
    """
    if name == "branches":
        return ",".join(str(round(tokens)) for tokens in value)
    if value is None:
        return ""
    if isinstance(value, float) and (name in _COUNTS or value.is_integer()):
        return str(round(value))
    return str(value)
