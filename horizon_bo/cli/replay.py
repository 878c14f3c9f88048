"""Command line of replays: buy again from a logged sweep, score what was said, tell a story."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    Experts,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show,
    show_json,
)
from horizon_bo.errors import InvalidSpaceError

if TYPE_CHECKING:
    from horizon_bo.evaluation.cases import Case

Budget = Annotated[float, option("--budget", "F", "What a method may spend, in target runs.")]
Out = Annotated[
    Path, typer.Option(help="JSON lines, one per state; finished replays are not repeated.")
]
Sweep = Annotated[
    str | None, typer.Argument(metavar="SWEEP", help="Table of logged runs; instead of --cases.")
]
Cases = Annotated[
    Path | None, typer.Option(metavar="CASES.json", help="Many cases; instead of SWEEP.")
]
Only = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Cases whose name matches, like 'same-*'.")
]
TargetParams = Annotated[
    float | None, option("--target-params", "N", "Non-embedding parameters of the target, a count.")
]
TargetTokens = Annotated[
    float | None, option("--target-tokens", "D", "Training tokens of the target, a count.")
]
BatchTokens = Annotated[
    float | None, option("--batch-tokens", "B", "Tokens per optimizer step of the target.")
]
PoolBatch = Annotated[
    str, typer.Option(help="same: buy rows of the target's batch; any: of every batch.")
]
MaxRunCost = Annotated[float | None, option("--max-run-cost", "G", "Dearest row, in target runs.")]
MaxParamsRatio = Annotated[
    float | None, option("--max-params-ratio", "R", "Largest row, relative to the target's size.")
]
MaxTokensRatio = Annotated[
    float | None, option("--max-tokens-ratio", "R", "Longest row, relative to the target's tokens.")
]
OnlyParams = Annotated[
    float | None, option("--only-params", "N", "Buy rows of this size alone, in parameters.")
]
Optimizer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Optimizer; left out: its rows' own, else adamw.")
]
Methods = Annotated[
    str,
    typer.Option(help="Separated by commas: horizon, horizon-random, random, zero."),
]
Seeds = Annotated[int, typer.Option(min=1, metavar="K", help="Make each replay with K seeds.")]
PriorCenters = Annotated[
    list[float] | None,
    option("--prior-center", "X", "Guess of the best learning rate; repeat for several."),
]
Stop = Annotated[bool, typer.Option("--stop", help="End when the method advises to.")]
Jobs = Annotated[int, typer.Option(min=1, metavar="K", help="Processes, of one thread each.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command(
        epilog=example(
            "horizon-bo replay stdlib_gpt.csv --target-params 97280 --target-tokens 3999744",
            "--max-params-ratio 0.5 --max-run-cost 0.1 --budget 0.1 --prior-center 3e-3",
            "--methods zero,random --out out.jsonl",
        )
    )(replay)
    app.command(epilog=example("horizon-bo score out.jsonl --cases cases.json --figure f.png"))(
        score
    )


def replay(
    budget: Budget,
    out: Out,
    sweep: Sweep = None,
    cases: Cases = None,
    only: Only = None,
    target_params: TargetParams = None,
    target_tokens: TargetTokens = None,
    batch_tokens: BatchTokens = None,
    pool_batch: PoolBatch = "same",
    max_run_cost: MaxRunCost = None,
    max_params_ratio: MaxParamsRatio = None,
    max_tokens_ratio: MaxTokensRatio = None,
    only_params: OnlyParams = None,
    optimizer: Optimizer = None,
    experts: Experts = False,
    methods: Methods = "horizon",
    seeds: Seeds = 1,
    prior_center: PriorCenters = None,
    stop: Stop = False,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Replay methods on logged runs: the target's rows are hidden, other rows may be bought."""
    about = {
        "batch_tokens": batch_tokens,
        "max_run_cost": max_run_cost,
        "max_params_ratio": max_params_ratio,
        "max_tokens_ratio": max_tokens_ratio,
        "only_params": only_params,
        "optimizer": optimizer,
        "experts": experts or None,
    }
    with errors_as_exit_codes():
        single = (sweep, target_params, target_tokens, pool_batch, about)
        chosen = _chosen_cases(cases, sweep, only) if cases else [_single_case(*single)]
        terms = {"prior_centers": prior_center or [None], "seeds": seeds, "budget": budget}
        terms |= {"obey_stop": stop, "beside": cases.parent if cases else None}
        made = _replay_all(chosen, methods.split(","), terms, out, jobs)
    show({"out": str(out), "replays": made}, f"{made} replays in {out}", as_json=as_json)


def score(
    lines: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Output of replay.")],
    cases: Annotated[Path, typer.Option(metavar="CASES.json", help="Cases with their truth.")],
    figure: Annotated[
        Path | None,
        typer.Option(metavar="F.png", help="Draw regret and overhead against spend."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score replays against the smoothed truth: regret, overhead, calibration."""
    with errors_as_exit_codes():
        from rich.console import Console

        from horizon_bo.evaluation.cases import load_cases
        from horizon_bo.evaluation.replays import read_lines
        from horizon_bo.evaluation.score import finished, score_rows
        from horizon_bo.evaluation.score_view import draw_scores, print_scores

        known = load_cases(cases)
        states, unfinished = finished(read_lines(lines))
        rows = score_rows(states, known)
        if figure is not None:
            draw_scores(states, known, figure)
    if unfinished:
        remark([f"{unfinished} replays have not ended and are left out; replay again to finish"])
    if as_json:
        for row in rows:
            show_json(row)
        return
    console = Console()
    # a table cut to 80 columns in a file or pipe would lose its numbers
    print_scores(rows, console if console.is_terminal else Console(width=150))


def show_progress(fractions: Iterator[float], title: str) -> None:
    """Run to the end, with a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=1.0)
        for fraction in fractions:
            progress.update(bar, completed=fraction)


def _chosen_cases(cases: Path, sweep: str | None, only: str | None) -> "list[Case]":
    from horizon_bo.evaluation.cases import load_cases

    if sweep is not None:
        raise InvalidSpaceError(
            f"SWEEP {sweep} and --cases {cases} arrived, expected one of them; leave one out"
        )
    chosen = [case for case in load_cases(cases) if fnmatch(case.name, only or "*")]
    if not chosen:
        raise InvalidSpaceError(f"--only {only} matches no case, expected at least one; widen it")
    return chosen


def _single_case(
    sweep: str | None,
    target_params: float | None,
    target_tokens: float | None,
    pool_batch: str,
    about: Mapping[str, float | str | None],
) -> "Case":
    from horizon_bo.evaluation.cases import Case

    if sweep is None:
        raise InvalidSpaceError(
            "no SWEEP and no --cases arrived, expected one of them; name a table"
        )
    if target_params is None or target_tokens is None:
        missing = "--target-params" if target_params is None else "--target-tokens"
        raise InvalidSpaceError(f"{missing} is missing, expected a count with SWEEP; add it")
    given: dict[str, Any] = {name: value for name, value in about.items() if value is not None}
    told = [
        f"{name}={value}" if isinstance(value, str) else f"{name}={value:.12g}"
        for name, value in given.items()
    ]
    target = f"{Path(sweep).stem}-{target_params:.12g}-{target_tokens:.12g}"
    return Case(
        name=" ".join([target, pool_batch, *told]),  # says everything, so that resuming is safe
        sweep=sweep,
        target_params=target_params,
        target_tokens=target_tokens,
        pool_batch=pool_batch,
        **given,
    )


def _replay_all(
    chosen: "Sequence[Case]", methods: Sequence[str], terms: dict[str, Any], out: Path, jobs: int
) -> int:
    from horizon_bo.evaluation.replays import replay_tasks, run_replays
    from horizon_bo.store.threads import keep_to_one_thread

    keep_to_one_thread()
    tasks = replay_tasks(chosen, methods, **terms)
    show_progress(run_replays(tasks, out, jobs=jobs), f"{len(tasks)} replays")
    return len(tasks)
