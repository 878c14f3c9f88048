"""Command line of the literature: list, show, evaluate, fit and compare laws, transfer, audit.

A command loads, calls and prints. What is heavy is imported inside it, so that `--help` is quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.law_view import show_record
from horizon_bo.cli.terminal import (
    AsJson,
    errors_as_exit_codes,
    example,
    optional,
    pair,
    positive_number,
    remark,
    show_json,
)

if TYPE_CHECKING:
    from horizon_bo import Horizon

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `law list`.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Laws that state a rate; all.")
]
Params = Annotated[
    str | None, typer.Option(metavar="N", help="Non-embedding parameters of the run, a count.")
]
Tokens = Annotated[str | None, typer.Option(metavar="D", help="Training tokens, a count.")]
Batch = Annotated[str | None, typer.Option(metavar="B", help="Tokens per optimizer step.")]
Flops = Annotated[
    str | None, typer.Option(metavar="C", help="Training compute, FLOP; left out: 6 N D.")
]
Rate = Annotated[str | None, typer.Option(metavar="X", help="Peak learning rate.")]
TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="CSV, JSONL or Parquet, one run a row.")
]
Family = Annotated[str, typer.Argument(metavar="FAMILY", help="A family from `law list`.")]
Draws = Annotated[int, typer.Option(min=2, metavar="K", help="Bootstraps or posterior draws.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the resampling.")]
Law = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A law to ask; repeat for several.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    law = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        help="What the published laws say, and what your own runs say of them.",
        epilog=example("horizon-bo law eval step --params 1e9 --tokens 1e11"),
    )
    law.command("list", epilog=example("horizon-bo law list --kind rate"))(list_laws)
    law.command("show", epilog=example("horizon-bo law show step"))(show)
    law.command("eval", epilog=example("horizon-bo law eval step --params 1e9 --tokens 1e11"))(
        evaluate
    )
    law.command("fit", epilog=example("horizon-bo law fit chinchilla runs.csv --draws 200"))(fit)
    law.command(
        "compare",
        epilog=example(
            "horizon-bo law compare step bjorck --params 1e9 --tokens 1e11",
            "--figure laws.png",
        ),
    )(compare)
    app.add_typer(law, name="law")
    app.command(
        epilog=example(
            "horizon-bo transfer --learning-rate 2e-3 --from-params 2e8 --from-tokens 1e10",
            "--params 2e8 --tokens 1e11 --law bjorck",
        )
    )(transfer)
    app.command(
        epilog=example(
            "horizon-bo audit --params 6.7e9 --tokens 1e12 --learning-rate 3e-4 --law bjorck"
        )
    )(audit)
    app.command(epilog=example("horizon-bo recipes --name llama --params 5e9,8e9"))(recipes)


def list_laws(
    kind: Annotated[
        str | None,
        typer.Option(help="rate, batch, loss, schedule, decay, rule or family; left out: all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List laws, transfer rules and families that can be fitted."""
    from horizon_bo.published.catalogue import catalogue

    entries = [entry for entry in catalogue() if kind in (None, entry.kind)]
    with errors_as_exit_codes():
        if not entries:
            from horizon_bo.errors import InvalidSpaceError

            kinds = ", ".join(dict.fromkeys(entry.kind for entry in catalogue()))
            raise InvalidSpaceError(f"--kind is {kind!r}, expected one of {kinds}; correct it")
    if as_json:
        show_json({"laws": [asdict(entry) for entry in entries]})
        return
    width = max(len(entry.name) for entry in entries) + 2
    for entry in entries:
        typer.echo(f"{entry.kind:<10}{entry.name:<{width}}{entry.formula}")


def show(name: Name, as_json: AsJson = False) -> None:
    """Show one law: formula, units, range of its runs, data, source."""
    from horizon_bo.published.catalogue import entries_named

    with errors_as_exit_codes():
        entries = [asdict(entry) for entry in entries_named(name)]
    if as_json:
        show_json({"laws": entries})
        return
    for entry in entries:
        show_record(entry)


def evaluate(
    name: Name,
    params: Params = None,
    tokens: Tokens = None,
    batch_tokens: Batch = None,
    flops: Flops = None,
    learning_rate: Rate = None,
    loss: Annotated[
        str | None, typer.Option(metavar="L", help="Loss, nats per token, for critical batches.")
    ] = None,
    unique_tokens: Annotated[
        str | None, typer.Option(metavar="U", help="Tokens before repetition, a count.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="T", help="Optimizer steps, for schedule laws.")
    ] = None,
    schedule: Annotated[str, typer.Option(help="cosine, constant or wsd.")] = "cosine",
    smaller: Annotated[
        str | None,
        typer.Option(metavar="K", help="Size over the compute-optimal one: its extra compute."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate one law at a run; a loss law given --flops alone splits that budget."""
    from horizon_bo.published.answers import Question, answer

    given = {
        "params": params,
        "tokens": tokens,
        "batch_tokens": batch_tokens,
        "flops": flops,
        "learning_rate": learning_rate,
        "loss": loss,
        "unique_tokens": unique_tokens,
        "steps": steps,
    }
    with errors_as_exit_codes():
        values = {k: optional(text, f"--{k.replace('_', '-')}") for k, text in given.items()}
        factor = optional(smaller, "--smaller")
        question = Question(**values, params_factor=factor, schedule=schedule)
        record, remarks = answer(name, question)
    _show(record, remarks, as_json)


def fit(
    family: Family,
    table: TableArgument,
    draws: Draws = 1000,
    by: Annotated[
        str, typer.Option(help="Resample each run, or whole cells: run or cell.")
    ] = "run",
    bayesian: Annotated[
        bool, typer.Option("--bayesian", help="Posterior draws instead of bootstraps.")
    ] = False,
    best_of_cells: Annotated[
        bool,
        typer.Option("--best-of-cells", help="Keep the lowest loss of each (params, tokens)."),
    ] = False,
    batch_tokens: Annotated[
        str | None, typer.Option(metavar="B", help="Keep the runs of this batch, tokens per step.")
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="What the best rate or batch may depend on: params, tokens, batch_tokens, flops.",
        ),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a family to a table of runs, with intervals and its error in extrapolation."""
    with errors_as_exit_codes():
        from horizon_bo.cli.law_fits import Options, fit_family
        from horizon_bo.tables.law_table import read_columns

        options = Options(
            draws=draws,
            by=by,
            bayesian=bayesian,
            best=best_of_cells,
            seed=seed,
            inputs=tuple(inputs.split(",")) if inputs else (),
        )
        batch = optional(batch_tokens, "--batch-tokens")
        record, remarks = fit_family(family, read_columns(table, batch), options)
    _show(record, remarks, as_json)


def compare(
    names: Names = None,
    params: Params = None,
    tokens: Tokens = None,
    batch_tokens: Batch = None,
    table: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="Sweeps to judge the laws on: excess over the best."),
    ] = None,
    flops_factor: Annotated[
        str, typer.Option(metavar="K", help="Compute of a run over 6 N D, for laws of compute.")
    ] = "1",
    figure: Annotated[
        Path | None,
        typer.Option(help="Picture of the optimum against tokens, with the table's best runs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare laws at one run, on a table of sweeps, or in a picture."""
    with errors_as_exit_codes():
        from horizon_bo.cli.law_compare import compare_records, draw

        run = None if params is None and tokens is None else _run(params, tokens, batch_tokens)
        factor = positive_number(flops_factor, "--flops-factor")
        record, remarks = compare_records(names or (), run, table, factor)
        if figure is not None:
            draw(names or (), run, table, figure)
            record["figure"] = str(figure)
    _show(record, remarks, as_json)


def transfer(
    learning_rate: Annotated[str, typer.Option(metavar="X", help="Peak rate tuned on the proxy.")],
    from_params: Annotated[str, typer.Option(metavar="N", help="Parameters of the proxy.")],
    from_tokens: Annotated[str, typer.Option(metavar="D", help="Training tokens of the proxy.")],
    params: Params = None,
    tokens: Tokens = None,
    from_batch_tokens: Annotated[
        str | None, typer.Option(metavar="B", help="Tokens per step of the proxy.")
    ] = None,
    batch_tokens: Batch = None,
    law: Law = None,
    width_ratio: Annotated[
        str | None, typer.Option(metavar="M", help="µP: target's width over the proxy's.")
    ] = None,
    depth_ratio: Annotated[
        str | None, typer.Option(metavar="M", help="µP: target's layers over the proxy's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry a tuned rate to another run, by one law or by all with their spread."""
    with errors_as_exit_codes():
        from horizon_bo.published.transfer import transfer as carry

        start = _run(from_params, from_tokens, from_batch_tokens)
        end = _run(params or from_params, tokens or from_tokens, batch_tokens or from_batch_tokens)
        rate = positive_number(learning_rate, "--learning-rate")
        found = carry(rate, start, end, law)
        record = asdict(found)
        widths = optional(width_ratio, "--width-ratio"), optional(depth_ratio, "--depth-ratio")
        if any(ratio is not None for ratio in widths):
            record["mup_factors"] = _mup(start, end, *widths)
    remarks = dict.fromkeys(text for answer in found.laws for text in answer.remarks)
    _show(record, (*remarks, *found.left_out), as_json)


def audit(
    learning_rate: Annotated[str, typer.Option(metavar="X", help="Peak rate planned or used.")],
    params: Params = None,
    tokens: Tokens = None,
    batch_tokens: Batch = None,
    law: Law = None,
    as_json: AsJson = False,
) -> None:
    """Say how far a run's rate lies from the optimum, in octaves, nats and FLOP.

    Without --law the laws that state a rate are asked in turn, and the default prior is shown.
    """
    with errors_as_exit_codes():
        from horizon_bo.published.audit import audit as judge
        from horizon_bo.published.prior import SPEAKING, prior_center

        run = _run(params, tokens, batch_tokens)
        rate = positive_number(learning_rate, "--learning-rate")
        found = [asdict(judge(run, rate, name)) for name in law or SPEAKING]
        prior = prior_center(run)
    remarks = [text for answer in found for text in answer.pop("remarks")]
    if law is not None and len(law) == 1:
        record: dict[str, Any] = found[0]
    else:
        center = {"learning_rate": prior.learning_rate, "log_sd": prior.log_sd}
        record = {"laws": found, "prior": {**center, "sources": prior.sources}}
    _show(record, remarks, as_json)


def recipes(
    name: Annotated[str | None, typer.Option(help="Part of a model's or family's name.")] = None,
    params: Annotated[
        str | None, typer.Option(metavar="LO,HI", help="Range of parameter counts.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or adafactor.")] = None,
    parametrization: Annotated[str | None, typer.Option(help="standard or mup.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how known models were trained: rate, batch (tokens), schedule, decay, source."""
    from horizon_bo.cli.law_view import show_recipes
    from horizon_bo.published.recipes import find_recipes

    with errors_as_exit_codes():
        found = find_recipes(
            name=name,
            params=None if params is None else pair(params, "--params"),
            optimizer=optimizer,
            parametrization=parametrization,
        )
    if as_json:
        show_json({"recipes": [asdict(recipe) for recipe in found]})
    else:
        show_recipes(found)


def _run(params: str | None, tokens: str | None, batch_tokens: str | None) -> "Horizon":
    from horizon_bo.errors import InvalidSpaceError
    from horizon_bo.study.horizons import Horizon

    if params is None or tokens is None:
        missing = "--params" if params is None else "--tokens"
        raise InvalidSpaceError(f"{missing} is missing, expected a count; give it like 6.7e9")
    return Horizon(
        params=positive_number(params, "--params"),
        tokens=positive_number(tokens, "--tokens"),
        batch_tokens=optional(batch_tokens, "--batch-tokens"),
    )


def _mup(
    start: "Horizon", end: "Horizon", width: float | None, depth: float | None
) -> dict[str, float]:
    from horizon_bo.published.mup import Growth, transfer_factors

    batch = 1.0
    if start.batch_tokens is not None and end.batch_tokens is not None:
        batch = end.batch_tokens / start.batch_tokens
    growth = Growth(
        width=width or 1.0,
        depth=depth or 1.0,
        batch_tokens=batch,
        tokens=end.tokens / start.tokens,
        params=end.params / start.params,
    )
    return asdict(transfer_factors(growth))


def _show(record: Mapping[str, Any], remarks: Sequence[str], as_json: bool) -> None:
    remark(dict.fromkeys(remarks))
    if as_json:
        show_json(record)
    else:
        show_record(record)
