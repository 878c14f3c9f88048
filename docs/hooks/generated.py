"""Generated: which pages does the build write from the code, so that they cannot go stale?

The command line's own help, the public names, the modules of published laws and of the trainer,
and the catalogue of laws.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import horizon_bo
from horizon_bo.adapters.cli import app
from horizon_bo.published.catalogue import Entry, catalogue

ROOT = Path(horizon_bo.__file__).parent

#: Kinds of law in the order of the page, with what each says.
KINDS = {
    "rate": "Best learning rate",
    "batch": "Batch",
    "loss": "Loss",
    "schedule": "Loss under any schedule",
    "decay": "Weight decay",
    "rule": "Rules that carry a rate from one model to another",
    "family": "Families to fit to your own runs",
}
UNITS = {
    "params": "params",
    "tokens": "tokens",
    "batch_tokens": "tokens per step",
    "flops": "FLOP",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages; called by MkDocs."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> Mapping[str, str]:
    """Every generated page, by its path below `docs`."""
    return {
        "reference/cli.md": "\n".join(cli_page()),
        "reference/python.md": "\n".join(python_page()),
        "reference/published.md": "\n".join(package_page("published", PUBLISHED)),
        "reference/training.md": "\n".join(package_page("training", TRAINING)),
        "reference/laws.md": "\n".join(laws_page()),
    }


PUBLISHED = """Scaling laws as values with units, range and source; pure functions of them. The laws
themselves are [listed here](laws.md)."""
TRAINING = """A small language-model trainer that knows nothing of the tuner. From the command line:
`horizon-bo run --builtin`, or by itself `python -m horizon_bo.training`."""


def cli_page() -> Iterator[str]:
    """Every command with its arguments, options and example, as `--help` tells them."""
    yield "# Command line\n"
    yield "What `--help` says, command by command. Results go to stdout, remarks to stderr; exit"
    yield "code 0 is success, 2 a mistake told in one line, 1 a bug.\n"
    group = typer.main.get_command(app)
    yield from _commands(group, "horizon-bo")


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        called = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, called)
            continue
        context = command.make_context(called, [], resilient_parsing=True)
        yield f"## {called}\n"
        yield f"{command.help}\n"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{called} {usage}\n```\n"
        yield from _parameters(command, context)
        yield from _example(command.epilog)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    yield "| argument or option | meaning |\n| --- | --- |"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield f"| `{record[0]}` | {record[1].replace('|', '\\|')} |"
    yield ""


def _example(epilog: str | None) -> Iterator[str]:
    if epilog:
        lines = epilog.replace("\b", "").strip().splitlines()[1:]
        yield "```bash\n" + "\n".join(line[2:] for line in lines) + "\n```\n"


def python_page() -> Iterator[str]:
    """The public names, from their docstrings."""
    yield "# Python\n"
    yield "All public names; `from horizon_bo import HorizonTuner`. Names with units:"
    yield "[the table](../index.md#names-and-units).\n"
    first = ("HorizonTuner", "Horizon", "Scale", "SearchSpace")
    for name in (*first, *(n for n in horizon_bo.__all__ if n not in first)):
        yield f"::: horizon_bo.{horizon_bo._HOMES[name]}.{name}\n"


def package_page(package: str, said: str) -> Iterator[str]:
    """All modules of a package, from their docstrings."""
    yield f"# horizon_bo.{package}\n\n{said}\n"
    for path in sorted((ROOT / package).glob("[a-z]*.py")):
        yield f"## {package}.{path.stem}\n"
        yield f"::: horizon_bo.{package}.{path.stem}"
        yield "    options:\n      show_root_heading: false\n      heading_level: 3\n"


def laws_page() -> Iterator[str]:
    """Every law, rule and family of the catalogue."""
    yield "# Published laws\n"
    yield "What `horizon-bo law list` lists, written when this page was built. Rates are as given to"
    yield "the optimizer, N and params are non-embedding parameters, D and tokens training tokens, B"
    yield "tokens per optimizer step, C training FLOP, unless the formula's source says otherwise."
    yield "A range is that of the runs behind a law; outside it the commands remark on it.\n"
    for kind, title in KINDS.items():
        yield f"## {title}\n"
        for entry in catalogue():
            if entry.kind == kind:
                yield from _law(entry)


def _law(entry: Entry) -> Iterator[str]:
    yield f"### {entry.name} {{ #{entry.kind}-{entry.name} }}\n"
    yield f"    {entry.formula}\n"
    ranges = ", ".join(
        f"{low:.3g} to {high:.3g} {UNITS.get(name, name)}"
        for name, (low, high) in entry.validity.items()
    )
    for label, text in (
        ("Source", entry.source),
        ("Runs", "; ".join(filter(None, (entry.parametrization, ranges, ", ".join(entry.data))))),
        ("Note", entry.note),
    ):
        if text:
            yield f"- {label}: {text}"
    yield ""
