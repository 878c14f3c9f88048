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
    command_group,
    errors_as_exit_codes,
    example,
    names,
    option,
    pair,
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
    float | None, option("--params", "N", "Non-embedding parameters of the run, a count.")
]
Tokens = Annotated[float | None, option("--tokens", "D", "Training tokens, a count.")]
Batch = Annotated[float | None, option("--batch-tokens", "B", "Tokens per optimizer step.")]
Flops = Annotated[float | None, option("--flops", "C", "Training compute, FLOP; left out: 6 N D.")]
Rate = Annotated[float | None, option("--learning-rate", "X", "Peak learning rate.")]
Loss = Annotated[float | None, option("--loss", "L", "Loss, nats per token, for critical batches.")]
UniqueTokens = Annotated[
    float | None, option("--unique-tokens", "U", "Tokens before repetition, a count.")
]
Steps = Annotated[float | None, option("--steps", "T", "Optimizer steps, for schedule laws.")]
Smaller = Annotated[
    float | None, option("--smaller", "K", "Size over the compute-optimal one: its extra compute.")
]
Inputs = Annotated[
    Sequence[str] | None,
    option(
        "--inputs",
        "A,B,…",
        "What the best rate or batch may depend on: params, tokens, batch_tokens, flops.",
        names,
    ),
]
TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="CSV, JSONL or Parquet, one run a row.")
]
Family = Annotated[str, typer.Argument(metavar="FAMILY", help="A family from `law list`.")]
Draws = Annotated[int, typer.Option(min=2, metavar="K", help="Bootstraps or posterior draws.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the resampling.")]
Law = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A law to ask; repeat for several.")
]
WidthRatio = Annotated[
    float | None, option("--width-ratio", "M", "µP: target's width over the proxy's.")
]
DepthRatio = Annotated[
    float | None, option("--depth-ratio", "M", "µP: target's layers over the proxy's.")
]
ExpertWidthRatio = Annotated[
    float | None,
    option("--expert-width-ratio", "M", "µP: an expert's hidden features; left out: width's."),
]
ActiveRatio = Annotated[
    float | None,
    option("--active-ratio", "M", "µP: experts that a token passes, target's over proxy's."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    law = command_group(
        "What the published laws say, and what your own runs say of them.",
        example("horizon-bo law eval step --params 1e9 --tokens 1e11"),
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
    loss: Loss = None,
    unique_tokens: UniqueTokens = None,
    steps: Steps = None,
    schedule: Annotated[str, typer.Option(help="cosine, constant or wsd.")] = "cosine",
    smaller: Smaller = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate one law at a run; a loss law given --flops alone splits that budget."""
    from horizon_bo.published.answers import Question, answer

    question = Question(
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        flops=flops,
        learning_rate=learning_rate,
        loss=loss,
        unique_tokens=unique_tokens,
        steps=steps,
        params_factor=smaller,
        schedule=schedule,
    )
    with errors_as_exit_codes():
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
        float | None, option("--batch-tokens", "B", "Keep the runs of this batch, tokens per step.")
    ] = None,
    inputs: Inputs = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a family to a table of runs, with intervals and its error in extrapolation."""
    with errors_as_exit_codes():
        from horizon_bo.cli.law_fits import Options, fit_family
        from horizon_bo.tables.logged import columns_of

        options = Options(
            draws=draws,
            by=by,
            bayesian=bayesian,
            best=best_of_cells,
            seed=seed,
            inputs=tuple(inputs or ()),
        )
        record, remarks = fit_family(family, columns_of(table, batch_tokens), options)
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
        float, option("--flops-factor", "K", "Compute of a run over 6 N D, for laws of compute.")
    ] = 1.0,
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
        record, remarks = compare_records(names or (), run, table, flops_factor)
        if figure is not None:
            draw(names or (), run, table, figure)
            record["figure"] = str(figure)
    _show(record, remarks, as_json)


def transfer(
    learning_rate: Annotated[
        float, option("--learning-rate", "X", "Peak rate tuned on the proxy.")
    ],
    from_params: Annotated[float, option("--from-params", "N", "Parameters of the proxy.")],
    from_tokens: Annotated[float, option("--from-tokens", "D", "Training tokens of the proxy.")],
    params: Params = None,
    tokens: Tokens = None,
    from_batch_tokens: Annotated[
        float | None, option("--from-batch-tokens", "B", "Tokens per step of the proxy.")
    ] = None,
    batch_tokens: Batch = None,
    law: Law = None,
    width_ratio: WidthRatio = None,
    depth_ratio: DepthRatio = None,
    expert_width_ratio: ExpertWidthRatio = None,
    active_ratio: ActiveRatio = None,
    as_json: AsJson = False,
) -> None:
    """Carry a tuned rate to another run, by one law or by all with their spread."""
    with errors_as_exit_codes():
        from horizon_bo.published.transfer import transfer as carry

        start = _run(from_params, from_tokens, from_batch_tokens)
        end = _run(params or from_params, tokens or from_tokens, batch_tokens or from_batch_tokens)
        found = carry(learning_rate, start, end, law)
        record = asdict(found)
        ratios = {
            "width": width_ratio,
            "depth": depth_ratio,
            "expert_width": expert_width_ratio,
            "active_experts": active_ratio,
        }
        given = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        if given:
            record["mup_factors"] = _mup(start, end, given)
    remarks = dict.fromkeys(text for answer in found.laws for text in answer.remarks)
    _show(record, (*remarks, *found.left_out), as_json)


def audit(
    learning_rate: Annotated[float, option("--learning-rate", "X", "Peak rate planned or used.")],
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
        found = [asdict(judge(run, learning_rate, name)) for name in law or SPEAKING]
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
        Sequence[float] | None, option("--params", "LO,HI", "Range of parameter counts.", pair)
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or adafactor.")] = None,
    parametrization: Annotated[str | None, typer.Option(help="standard or mup.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how known models were trained: rate, batch (tokens), schedule, decay, source."""
    from horizon_bo.cli.law_view import show_recipes
    from horizon_bo.published.recipes import find_recipes

    found = find_recipes(
        name=name, params=params, optimizer=optimizer, parametrization=parametrization
    )
    if as_json:
        show_json({"recipes": [asdict(recipe) for recipe in found]})
    else:
        show_recipes(found)


def _run(params: float | None, tokens: float | None, batch_tokens: float | None) -> "Horizon":
    from horizon_bo.errors import InvalidSpaceError
    from horizon_bo.study.horizons import Horizon

    if params is None or tokens is None:
        missing = "--params" if params is None else "--tokens"
        raise InvalidSpaceError(f"{missing} is missing, expected a count; give it like 6.7e9")
    return Horizon(params=params, tokens=tokens, batch_tokens=batch_tokens)


def _mup(start: "Horizon", end: "Horizon", ratios: Mapping[str, float]) -> dict[str, float]:
    from horizon_bo.published.mup import Growth, transfer_factors

    batch = 1.0
    if start.batch_tokens is not None and end.batch_tokens is not None:
        batch = end.batch_tokens / start.batch_tokens
    growth = Growth(
        batch_tokens=batch,
        tokens=end.tokens / start.tokens,
        params=end.params / start.params,
        **ratios,
    )
    return asdict(transfer_factors(growth))


def _show(record: Mapping[str, Any], remarks: Sequence[str], as_json: bool) -> None:
    remark(dict.fromkeys(remarks))
    if as_json:
        show_json(record)
    else:
        show_record(record)
