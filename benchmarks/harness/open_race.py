"""Open race: what does every method say, run by run, where anything may be run?

    python -m benchmarks.emulators build
    python -m benchmarks.harness.open_race --methods horizon,optuna-gp --seeds 3 --out build/open
    python -m benchmarks.harness.open_race --share 2/5 --out build/open   # a fifth of it, elsewhere

Each method proposes runs in its own space and gets what it asks for, shortened where the rest of
the budget does not pay it; one that advises to stop is obeyed. `NAME@0.02` is told a budget of two
per cent instead of ten, for those who spend whatever they are told. Writes `OUT/METHOD.jsonl`, one
line per state. Finished races are not repeated, a method that fails is recorded with its error, and
shares of a race are joined by joining their lines.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.emulators.__main__ import BUILT
from benchmarks.emulators.emulator import Emulator, read
from benchmarks.harness.bench import provenance
from benchmarks.harness.methods import entries, missing
from benchmarks.problems.continuous import TARGETS, Contest, Target
from benchmarks.problems.trained import TrainedContest
from benchmarks.rivals.protocol import Answer, Job, Point, Rival
from horizon_bo.core import policy
from horizon_bo.core.inference import believe
from horizon_bo.errors import BudgetExhaustedError
from horizon_bo.evaluation.replays import append_line, read_lines
from horizon_bo.evaluation.score import outcome
from horizon_bo.study.trials import Study, Trial

#: Told to every method, in target runs.
BUDGET = 0.10
#: Nobody starts more runs than this for one decision.
MOST_RUNS = 60
#: The rivals of the first race: hand procedures, searches at a proxy, and models that know scale.
RIVALS = (
    "token-horizon-large",
    "mutransfer-large",
    "grid-law-spread",
    "published-deepseek",
    "deepseek-checked",
    "optuna-tpe",
    "optuna-gp",
    "ples",
    "botorch-mfkg",
)
OURS = "horizon"


@dataclass(frozen=True)
class Move:
    """What a method says at one state: its answer, and its next run or `None`."""

    answer: dict[str, Any]
    proposal: Point | None


#: A method in the middle of a race.
Player = Callable[[Study], Move]


def ours(study: Study) -> Move:
    """The tuner."""
    belief = believe(study)
    best = policy.recommend(study, belief)
    answer = {
        "learning_rate": best.learning_rate,
        "interval_50": best.interval_50,
        "interval_90": best.interval_90,
        "expected_regret": best.expected_regret,
        "stop": best.stop,
    }
    try:
        (run,) = policy.suggest(study, belief, n=1)
    except BudgetExhaustedError:
        return Move(answer, None)
    asked = Point(
        learning_rate=run.learning_rate,
        params=run.params,
        tokens=run.tokens,
        batch_tokens=run.batch_tokens,
    )
    return Move(answer, asked)


def rival(name: str, job: Job) -> Player:
    """A rival, told what it asked for as it was really run."""
    player: Rival = entries()[name].make(job)
    heard: list[Trial] = []

    def move(study: Study) -> Move:
        for trial in study.trials[len(heard) :]:
            heard.append(trial)
            loss = job.divergence_loss if trial.loss is None else trial.loss
            player.observe(_point(trial), loss, diverged=trial.status == "diverged")
        answer: Answer = player.recommend()
        most = study.affordable
        payable = [point for point in job.points if point.cost <= most]
        proposal = player.suggest(payable) if payable else None
        said = {
            "learning_rate": answer.learning_rate,
            "interval_50": None,
            "interval_90": answer.interval_90,
            "expected_regret": None,
            "stop": False,
        }
        return Move(said, proposal)

    return move


def _point(trial: Trial) -> Point:
    return Point(
        learning_rate=trial.learning_rate,
        params=trial.params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
    )


def named(method: str) -> tuple[str, float]:
    """A method's name without the budget it is told, and that budget."""
    name, _, told = method.partition("@")
    return name, float(told) if told else BUDGET


def race(contest: Contest | TrainedContest, method: str) -> Iterator[dict[str, Any]]:
    """The states of one race in order; the last one says `final`, and why where it failed."""
    name, budget = named(method)
    study = contest.study(budget)
    header = {
        "case": contest.target.name,
        "group": contest.group,
        "recipe": contest.target.recipe,
        "prior_center": contest.guess,
        "method": method,
        "seed": contest.seed,
        "budget": budget,
        **provenance(name),
    }
    try:
        player = ours if name == OURS else rival(name, contest.job(budget))
        while True:
            began = time.process_time()
            move = player(study)
            seconds = time.process_time() - began
            over = move.answer["stop"] or len(study.trials) >= MOST_RUNS
            asked = None if over else move.proposal
            run = None if asked is None else contest.made(study, asked)
            yield {
                **header,
                **_state(contest, study, move, run is None),
                "cpu_s": round(seconds, 3),
            }
            if run is None:
                return
            study = study.with_trials(run)
    except Exception as error:  # a rival may raise anything, and its failure is a result
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield {**header, "step": len(study.trials), "final": True, "error": said}


def _state(
    contest: Contest | TrainedContest, study: Study, move: Move, done: bool
) -> dict[str, Any]:
    spent = study.spent / study.target.flops
    state = {
        "target_params": contest.target.params,
        "target_tokens": contest.target.tokens,
        "step": len(study.trials),
        "spent": spent,
        "final": done,
        **move.answer,
    }
    scored = outcome(state, contest.case)
    state |= {"regret": scored.regret, "overhead": scored.overhead, "hit_90": scored.hit_90}
    state |= {"minimum": contest.truth["minimum"]}
    if study.trials:
        made = study.trials[-1]
        state |= {"made": [made.learning_rate, made.params, made.tokens, made.loss]}
    return {name: _short(value) for name, value in state.items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_short(part) for part in value] if isinstance(value, list | tuple) else value


@cache
def _emulator(path: Path) -> Emulator:
    return read(path)


def contest(target: Target, seed: int, folder: Path) -> Contest:
    """A target in the world of a seed."""
    return Contest(target, _emulator(folder / f"{target.recipe.replace(' ', '-')}.json"), seed)


def share_of(tasks: Sequence[Any], share: str) -> list[Any]:
    """Every n-th of the tasks, from the k-th on, for a share `k/n`."""
    part, of = map(int, share.split("/"))
    if not 1 <= part <= of:
        raise typer.BadParameter(f"{share} is no share, expected k/n with 1 <= k <= n")
    return list(tasks[part - 1 :: of])


def main(
    methods: Annotated[str, typer.Option(help="Names separated by commas.")] = ",".join(
        (OURS, *RIVALS)
    ),
    only: Annotated[str, typer.Option(help="Recipes whose name begins so.")] = "",
    seeds: Annotated[int, typer.Option(min=1)] = 20,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("build/open"),
    folder: Annotated[Path, typer.Option(help="Folder of the emulators.")] = BUILT,
    share: Annotated[str, typer.Option(help="k/n: the k-th of n parts.")] = "1/1",
    minutes: Annotated[float, typer.Option(help="Begin no race after so long.")] = math.inf,
) -> None:
    """Race methods on emulators, all methods of one world after another; run again to go on."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    targets = [target for target in TARGETS if target.recipe.startswith(only)]
    worlds = [(target, seed) for seed in range(seeds) for target in targets]
    asked = [(method, named(method)[0]) for method in methods.split(",")]
    names = [method for method, name in asked if name == OURS or not missing(entries()[name])]
    done = {
        (line["method"], line["case"], line["seed"])
        for file in out.glob("*.jsonl")
        for line in read_lines(file)
        if line.get("final")
    }
    for target, seed in share_of(worlds, share):
        posed = contest(target, seed, folder)
        for name in names:
            if (name, target.name, seed) in done:
                continue
            if time.monotonic() - began > 60 * minutes:
                return
            # a race is kept whole: one that was cut off is made again
            lines = list(race(posed, name))
            for line in lines:
                append_line(out / f"{name}.jsonl", line)
            last = lines[-1]
            said = last.get("error") or f"{last['step']} runs, overhead {last['overhead']:.1%}"
            print(f"{target.name} seed {seed} {name}: {said}", flush=True)


if __name__ == "__main__":
    typer.run(main)
