"""Command line, prior: what do old sweeps say of the next one?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.tables import Mapped, checked_table
from horizon_bo.cli.terminal import (
    AsJson,
    Experts,
    Optimizer,
    Parametrization,
    command_group,
    errors_as_exit_codes,
    example,
    remark,
    show,
)
from horizon_bo.errors import InvalidSpaceError

if TYPE_CHECKING:
    from horizon_bo.learning.corpus import Recipe
    from horizon_bo.published.evidence import Evidence

Without = Annotated[
    list[str] | None,
    typer.Option(metavar="DATA", help="Data that must not speak, nor what is related to it."),
]
group = command_group(
    "What public sweeps, and your own, say of the next one.",
    example("horizon-bo prior show --compare"),
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.add_typer(group, name="prior")


@group.command("show", epilog=example("horizon-bo prior show --optimizer muon --compare"))
def show_prior(
    file: Annotated[
        Path | None, typer.Argument(metavar="OURS.json", help="Left out: what ships.")
    ] = None,
    optimizer: Optimizer = "adamw",
    parametrization: Parametrization = "standard",
    experts: Experts = False,
    without: Without = None,
    compare: Annotated[bool, typer.Option("--compare", help="A row for each sweep too.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="F.png", help="Draw what each sweep says of the exponents."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how the best rate may move with size, tokens and batch: mean and spread of exponents."""
    about = {"parametrization": parametrization, "experts": experts}
    with errors_as_exit_codes():
        from horizon_bo.learning.opinions import opinions, population_opinion
        from horizon_bo.published.evidence import usable

        evidence = usable(_evidence(file), without or ())
        said = [population_opinion(evidence, optimizer, **about)]
        said += opinions(evidence) if compare or figure else []
        if figure is not None:
            from horizon_bo.report.prior_view import draw_opinions

            draw_opinions(said, figure)
    for each in said if compare else said[:1]:
        rows = [
            f"{name} {mean:+.2f} ± {sd:.2f}" if sd is not None else f"{name} not told"
            for name, (mean, sd) in each.exponents.items()
        ]
        show(each.record(), f"{each.name}: " + ", ".join(rows), as_json=as_json)


@group.command(
    "learn", epilog=example("horizon-bo prior learn stdlib_gpt.csv --map auto -o ours.json")
)
def learn_prior(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OURS.json", help="File to write.")],
    sweeps: Annotated[
        list[str] | None, typer.Argument(metavar="SWEEP…", help="Tables, one recipe's runs each.")
    ] = None,
    from_study: Annotated[
        list[str] | None, typer.Option(metavar="OLD.db", help="Studies to learn from.")
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="What ships, anew, from this folder of public sweeps.")
    ] = None,
    optimizer: Optimizer = "adamw",
    parametrization: Parametrization = "standard",
    experts: Experts = False,
    mapped: Mapped = None,
    as_json: AsJson = False,
) -> None:
    """Add what your own sweeps say to what ships, and write both into a file.

    A sweep of your own counts for two public ones. Up to half a minute a sweep.
    """
    about = {"optimizer": optimizer, "parametrization": parametrization, "experts": experts}
    with errors_as_exit_codes():
        from horizon_bo.learning.identified import FINE, PARTICLES
        from horizon_bo.learning.kept import write_evidence
        from horizon_bo.learning.learn import learnt, public_recipes
        from horizon_bo.store.threads import one_thread

        recipes = [*(public_recipes(public) if public else ()), *_own(sweeps or (), mapped, about)]
        recipes += _old(from_study or ())
        if not recipes:
            raise InvalidSpaceError(
                "no SWEEP, no --from-study and no --public arrived, expected one; name a table"
            )
        base, particles = ((), FINE) if public else (_evidence(None), PARTICLES)
        with one_thread():
            evidence = learnt(recipes, base, _told, particles)
        write_evidence(out, evidence)
    record = {"file": str(out), "recipes": len(evidence), "new": len(recipes)}
    show(record, f"{out}: {len(evidence)} recipes, {len(recipes)} of them new", as_json=as_json)


def _evidence(file: Path | None) -> "tuple[Evidence, ...]":
    from horizon_bo.learning.kept import read_prior
    from horizon_bo.published.evidence import evidence_from, shipped

    return shipped() if file is None else evidence_from(read_prior(file), str(file))


def _own(
    sweeps: Sequence[str], mapped: list[str] | None, about: Mapping[str, Any]
) -> "list[Recipe]":
    from horizon_bo.evaluation.cases import find_sweep
    from horizon_bo.learning.learn import own_recipes

    tables = [str(find_sweep(name)) if "." in name and ":" not in name else name for name in sweeps]
    return [
        recipe
        for name in tables
        for recipe in own_recipes(Path(name).stem, checked_table(name, mapped).runs, **about)
    ]


def _old(studies: Sequence[str]) -> "list[Recipe]":
    from horizon_bo import HorizonTuner
    from horizon_bo.learning.learn import recipes_of_study

    return [
        recipe
        for name in studies
        for recipe in recipes_of_study(HorizonTuner.open(name).study, Path(name).stem)
    ]


def _told(each: "Evidence") -> None:
    remark([f"{each.name}: {each.rows} runs"])
