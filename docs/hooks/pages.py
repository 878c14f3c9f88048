"""Pages: what does the build write from the code, so that it cannot go stale?

The command line's own help, the public names, the modules of published laws and of the trainer,
the catalogue of laws, the table of priors, a figure; and what people also read beside the code: the
notebooks, the benchmark page with its pictures, its log, the changes and the README's results.
"""

from collections.abc import Iterator, Mapping
from inspect import isfunction
from pathlib import Path
from typing import Any

import typer
from figures import bowls_figure
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import horizon_bo
from horizon_bo.cli.app import app
from horizon_bo.core.priors import EXPECTED
from horizon_bo.learning.opinions import Opinion, opinions, population_opinion
from horizon_bo.published.catalogue import Entry, catalogue
from horizon_bo.published.evidence import shipped

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "horizon_bo"

#: Files beside the code that are pages too, and how links between them change.
BESIDE = {
    "benchmarks.md": "benchmarks/README.md",
    "benchmarks-races.md": "benchmarks/races.md",
    "benchmarks-replays.md": "benchmarks/replays.md",
    "benchmarks-measured.md": "benchmarks/measured.md",
    "benchmarks-backtest.md": "benchmarks/backtest.md",
    "benchmark-log.md": "benchmarks/LOG.md",
    "changes.md": "CHANGELOG.md",
}
LINKS = {
    "](LOG.md)": "](benchmark-log.md)",
    "](races.md": "](benchmarks-races.md",
    "](replays.md": "](benchmarks-replays.md",
    "](measured.md": "](benchmarks-measured.md",
    "](backtest.md": "](benchmarks-backtest.md",
    "](benchmarks/README.md)": "](benchmarks.md)",
    "](benchmarks/figures/": "](figures/",
    "](benchmarks/LOG.md)": "](benchmark-log.md)",
}
#: Pictures of the benchmark page.
PICTURES = ROOT / "benchmarks" / "figures"

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
    for path, content in {**pages(), **figures()}.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put tables where a page asks for them; called by MkDocs."""
    tables = {
        "<!-- priors -->": priors_table(),
        "<!-- evidence -->": evidence_table(),
        "<!-- results -->": section((ROOT / "README.md").read_text(), "Results"),
    }
    for place, lines in tables.items():
        markdown = markdown.replace(place, "\n".join(lines))
    return markdown


def figures() -> Mapping[str, bytes]:
    """Every figure, by its path below `docs`."""
    return {
        "assets/bowls.svg": bowls_figure(PACKAGE / "data" / "stdlib_gpt.csv"),
        **{f"figures/{path.name}": path.read_bytes() for path in sorted(PICTURES.glob("*.png"))},
    }


def pages() -> Mapping[str, str]:
    """Every generated page, by its path below `docs`."""
    return {
        **{page: _linked((ROOT / path).read_text()) for page, path in BESIDE.items()},
        "examples.md": "\n".join(examples_page()),
        "reference/cli.md": "\n".join(cli_page()),
        "reference/python.md": "\n".join(python_page()),
        "reference/published.md": "\n".join(package_page("published", PUBLISHED)),
        "reference/training.md": "\n".join(package_page("training", TRAINING)),
        "reference/laws.md": "\n".join(laws_page()),
    }


EXAMPLES = """The notebooks of the folder `notebooks`. Each makes one claim and ends by checking it.
Continuous integration runs them all."""
#: The page has a heading for a module already.
MODULE_OPTIONS = """    options:
      show_root_heading: false
      show_root_toc_entry: false
      heading_level: 3
"""
LAWS = """What `horizon-bo law list` lists, written when this page was built. Rates are as given to
the optimizer, N and params are non-embedding parameters, D and tokens training tokens, B tokens per
optimizer step, C training FLOP, unless the formula says otherwise. A range is that of the runs
behind a law; the commands remark on any use outside it."""
PUBLISHED = """Scaling laws as values with units, range and source; pure functions of them. The laws
themselves are [listed here](laws.md)."""
TRAINING = """A small language-model trainer that knows nothing of the tuner. From the command line:
`horizon-bo run --builtin`, or by itself `python -m horizon_bo.training`."""


def _linked(text: str) -> str:
    for old, new in LINKS.items():
        text = text.replace(old, new)
    return text


def section(text: str, title: str) -> Iterator[str]:
    """The lines below a heading of a page, up to the next one of its level."""
    _, _, rest = text.partition(f"\n## {title}\n")
    assert rest, f"a heading {title!r} is expected"
    yield _linked(rest.partition("\n## ")[0].strip())


def priors_table() -> Iterator[str]:
    """Location and scale of every coefficient before the first run."""
    yield "| coefficient | location | scale | tails |\n| --- | --- | --- | --- |"
    for name, prior in EXPECTED.items():
        tails = "heavy" if prior.heavy else "normal"
        yield f"| `{name}` | {prior.location:g} | {prior.scale:g} | {tails} |"


def evidence_table() -> Iterator[str]:
    """What is expected of the exponents, and what each recipe of the corpus said of them."""
    yield "| recipe | optimizer | runs | params | tokens | batch | source |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    evidence = shipped()
    for optimizer in ("adamw", "muon"):
        about = {"parametrization": "standard", "experts": False}
        expected = population_opinion(evidence, optimizer, **about)
        yield _opinion_row(expected, "", "all of them together")
    for each, said in zip(evidence, opinions(evidence), strict=True):
        yield _opinion_row(said, str(each.rows or ""), each.source)


def _opinion_row(said: Opinion, rows: str, source: str) -> str:
    told = ["" if sd is None else f"{mean:+.2f} ± {sd:.2f}" for mean, sd in said.exponents.values()]
    return f"| {said.name} | {said.optimizer} | {rows} | {' | '.join(told)} | {source} |"


def examples_page() -> Iterator[str]:
    """Every notebook, its text as text and its code as code."""
    yield f"# Worked examples\n\n{EXAMPLES}\n"
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        yield f"<!-- {path.name} -->\n"
        for cell in path.read_text().split("# %%")[1:]:
            kind, _, text = cell.partition("\n")
            if "[markdown]" in kind:
                lines = (line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
                yield "\n".join(f"#{line}" if line.startswith("#") else line for line in lines)
            else:
                yield f"```python\n{text.strip()}\n```\n"


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
            meaning = record[1].replace("|", "\\|")
            yield f"| `{record[0]}` | {meaning} |"
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
        home = getattr(horizon_bo, name).__module__
        for method in vars(getattr(horizon_bo, name)).values():
            where = getattr(method, "__module__", home)
            if isfunction(method) and where.startswith("horizon_bo.") and where != home:
                yield f"::: {where}.{method.__name__}\n"  # the class takes it from another file


def package_page(package: str, said: str) -> Iterator[str]:
    """All modules of a package, from their docstrings."""
    yield f"# horizon_bo.{package}\n\n{said}\n"
    for path in sorted((PACKAGE / package).glob("[a-z]*.py")):
        yield f"## {package}.{path.stem}\n"
        yield f"::: horizon_bo.{package}.{path.stem}"
        yield MODULE_OPTIONS


def laws_page() -> Iterator[str]:
    """Every law, rule and family of the catalogue."""
    yield "# Published laws\n"
    yield f"{LAWS}\n"
    for kind, title in KINDS.items():
        yield f"## {title}\n"
        yield "| law | formula | runs behind it | source |\n| --- | --- | --- | --- |"
        yield from (_law(entry) for entry in catalogue() if entry.kind == kind)
        yield ""


def _law(entry: Entry) -> str:
    ranges = [
        f"{low:.3g} to {high:.3g} {UNITS.get(name, name)}"
        for name, (low, high) in entry.validity.items()
    ]
    cells = (
        f"`{entry.name}`",
        f"`{entry.formula}`",
        _joined(entry.parametrization, *ranges, *entry.data),
        _joined(entry.source, entry.note),
    )
    return f"| {' | '.join(cells)} |"


def _joined(*parts: str) -> str:
    return "; ".join(part.replace("|", "\\|") for part in parts if part)
