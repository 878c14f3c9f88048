"""For real: who names the best rate of targets that are then really trained, for the least compute?

    python -m benchmarks.measurements.for_real --jobs 2   # goes on where it stopped
    python -m benchmarks.measurements.for_real --table    # prints what there is

Four short targets and four that are four times as long: two sizes, two lengths, standard and µP,
half of all combinations, each value in two of them. Every target gets its own grid; then every
method tunes for it within a tenth of one run of it, and the target is trained at the rate it names,
with the seed of the race.

Plan, in seconds of one core (16 ms a step at width 48, 26 at 96): a run of the short targets takes
2.5, 4, 6 and 9.5 s, 22 s in all four, of the long ones 88 s. Grids: 14 trainings and 3 of half the
length, 340 s. A seed: 8 answers a target, some of them the same rate and trained once, and 8 races
that each take a tenth of its compute, a quarter of its seconds, since small models are slow for
what they compute: 200 s, of which thought is a few. With three seeds 950 s for the short ones, 0.26
core-hours, and 1.1 for the long ones. A grid's trainings are made side by side, then the races.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.open_race import OURS, race
from benchmarks.problems.lines import whole_lines
from benchmarks.problems.trained import (
    SEEDS,
    TrainedContest,
    TrainedTarget,
    Training,
    Trainings,
    grid,
    noise,
)
from benchmarks.report.open_standings import Race, balanced, layered, paired, shared
from horizon_bo.evaluation.score import outcome

HERE = Path(__file__).parents[1]
RUNS = HERE / "results" / "for_real_runs.jsonl"
RACES = HERE / "results" / "for_real.jsonl"

#: Half of all combinations, in which each value stands twice.
SHORT = tuple(
    TrainedTarget(parametrization=parametrization, width=width, steps=steps)
    for parametrization, width, steps in (
        ("standard", 48, 144), ("mup", 96, 144), ("mup", 48, 360), ("standard", 96, 360),
    )
)  # fmt: skip
LONG = tuple(replace(target, steps=4 * target.steps) for target in SHORT)
TARGETS = SHORT + LONG
#: Ours without the guess that all others get.
UNTOLD = "horizon-no-guess"
METHODS = (
    OURS,
    UNTOLD,
    "published-deepseek",
    "mutransfer-large",
    "grid-law-spread",
    "optuna-gp",
    "optuna-tpe",
    "ples",
)
#: All of fewer worlds on one side are no rarer than 5 % by a sign test.
_FEWEST_WORLDS = 6
#: What is kept of a state of a race.
_KEPT = ("spent", "learning_rate", "interval_90", "expected_regret", "stop", "cpu_s", "made")


def tasks() -> Iterator[tuple[TrainedTarget, int, str]]:
    """Target, seed and method of every race, in order: a partial table is balanced."""
    for some in (SHORT, LONG):
        for seed in SEEDS:
            for target in some:
                yield from ((target, seed, method) for method in METHODS)


def raced(contest: TrainedContest, method: str) -> dict[str, Any]:
    """One race as a line, and the loss of the target at the rate of its end."""
    lines = list(race(contest, OURS if method == UNTOLD else method))
    head = lines[0]
    line = {
        "case": head["case"],
        "method": method,
        "seed": head["seed"],
        "guess": head["prior_center"],
        "commit": head["commit"],
        "versions": head["versions"],
        "states": [
            {name: line.get(name) for name in _KEPT} for line in lines if "error" not in line
        ],
    }
    if "error" in lines[-1]:
        line["error"] = lines[-1]["error"]
    if line["states"]:
        answer = contest.target.training(line["states"][-1]["learning_rate"], contest.seed)
        line["loss"] = contest.trainings.loss(answer)
    return line


def go_on(minutes: float, jobs: int) -> None:
    """Train and race what is missing, side by side; begin nothing after so many minutes."""
    deadline = time.monotonic() + 60 * minutes
    with ProcessPoolExecutor(jobs) as pool:
        while missing := _missing():
            list(pool.map(partial(_trained, deadline), missing))
            if time.monotonic() > deadline:
                return
        ended = whole_lines(RACES)
        done = {(line["case"], line["seed"], line["method"]) for line in ended}
        todo = [task for task in tasks() if (task[0].name, *task[1:]) not in done]
        for found in pool.map(partial(_raced, deadline), todo):
            if found is not None:
                line, said = found
                with RACES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(said, flush=True)


def _missing() -> list[Training]:
    """Trainings of the targets' grids that can be made now, the longest first."""
    losses = Trainings(RUNS).known
    runs = [run for target in TARGETS for run in grid(target, losses) if run not in losses]
    return sorted(runs, key=lambda run: -run.tokens * run.width)


def _trained(deadline: float, run: Training) -> None:
    if time.monotonic() < deadline:
        Trainings(RUNS).loss(run)


def _raced(
    deadline: float, task: tuple[TrainedTarget, int, str]
) -> tuple[dict[str, Any], str] | None:
    """A race as a line and in words; `None` where it is too late to begin one."""
    if time.monotonic() > deadline:
        return None
    target, seed, method = task
    contest = TrainedContest(target, seed, Trainings(RUNS), told=method != UNTOLD)
    line = raced(contest, method)
    return line, _said(contest, line)


def _said(contest: TrainedContest, line: dict[str, Any]) -> str:
    """A race in a few words."""
    head = f"{line['case']} seed {line['seed']} {line['method']}"
    if not line["states"] or line["loss"] is None:
        return f"{head}: {line.get('error', 'the target diverged')}"
    last, truth = line["states"][-1], contest.truth
    return (
        f"{head}: {len(line['states']) - 1} runs, {last['spent']:.1%} spent, rate "
        f"2^{math.log2(last['learning_rate']):.1f}, best 2^{math.log2(truth['optimum']):.1f}, "
        f"loss less the lowest {line['loss'] - truth['minimum']:+.3f} {line.get('error', '')}"
    )


def scored(line: dict[str, Any], trainings: Trainings) -> Race:
    """A race against the truth of its target; `trained`: what was reached above its lowest loss."""
    (target,) = (target for target in TARGETS if target.name == line["case"])
    contest = TrainedContest(target, line["seed"], trainings)
    reached = math.log(256) if line["loss"] is None else line["loss"]
    above = reached - contest.truth["minimum"]
    states = []
    for state in line["states"]:
        whole = {**state, "target_params": target.params, "target_tokens": target.tokens}
        found = outcome({"interval_50": None, **whole}, contest.case)
        states.append(
            {**state, "regret": found.regret, "overhead": found.overhead, "hit_90": found.hit_90}
            | {"trained": above, "minimum": contest.truth["minimum"]}
        )
    return Race(
        line["method"],
        contest.group,
        line["case"],
        line["seed"],
        tuple(states),
        line.get("error"),
    )


def races() -> list[Race]:
    """The races of the worlds that every method has met."""
    trainings = Trainings(RUNS)
    return shared([scored(line, trainings) for line in whole_lines(RACES) if line["states"]])


def at_end(name: str) -> Callable[[Race], float]:
    """What a race ends with."""
    return lambda race: float(race.states[-1][name])


#: Columns of the table that are means over worlds: title, value, what it is multiplied with, form.
_MEANS = (
    ("spent", "spent", 100, ".1f"),
    ("regret, mnat", "regret", 1000, ".0f"),
    ("trained, mnat", "trained", 1000, "+.0f"),
    ("overhead", "overhead", 100, ".0f"),
)


def standings(found: Sequence[Race]) -> str:
    """Every method over all worlds, the least overhead first."""
    names = sorted({race.method for race in found}, key=lambda name: _mean(found, name, "overhead"))
    head = ["method", *(title for title, *_ in _MEANS), "overhead less ours", "ours ahead"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        cells = [_cell(found, name, value, times, form) for _, value, times, form in _MEANS]
        cells += ["–", "–"] if name == OURS else _beside_ours(found, name)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(found: Sequence[Race], method: str, value: str) -> tuple[list[Any], np.ndarray]:
    own = [race for race in found if race.method == method]
    return [race.world for race in own], np.array([at_end(value)(race) for race in own])


def _mean(found: Sequence[Race], method: str, value: str) -> float:
    return balanced(*_of(found, method, value))


def _cell(found: Sequence[Race], method: str, value: str, times: float, form: str) -> str:
    low, high = layered(*_of(found, method, value))
    mean = f"{times * _mean(found, method, value):{form}}"
    return mean if value == "spent" else f"{mean} ({times * low:{form}} … {times * high:{form}})"


def _beside_ours(found: Sequence[Race], other: str) -> list[str]:
    gap = paired(found, other, OURS, at_end("overhead"))
    low, high = gap.interval
    return [
        f"{100 * gap.difference:+.0f} ({100 * low:+.0f} … {100 * high:+.0f})",
        f"{1 - gap.ahead:.0%}",
    ]


def targets_table(found: Sequence[Race]) -> str:
    """What each target is, and the mean regret there of ours and of the best other."""
    trainings = Trainings(RUNS)
    head = ["target", "best rate", "its loss", "seed noise", "ours", "least of the others"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for target in TARGETS:
        own = [race for race in found if race.case == target.name]
        if not own:
            continue
        contest = TrainedContest(target, 0, trainings)
        mean = {name: _mean(own, name, "regret") for name in {race.method for race in own}}
        best = min(mean.keys() - {OURS, UNTOLD}, key=mean.__getitem__)
        lines.append(
            f"| {target.name} | 2^{math.log2(contest.truth['optimum']):.1f} "
            f"| {contest.truth['minimum']:.3f} | {1000 * noise(target, trainings.known):.0f} mnat "
            f"| {1000 * mean[OURS]:.0f} mnat | {best}, {1000 * mean[best]:.0f} mnat |"
        )
    return "\n".join(lines)


def words(found: Sequence[Race]) -> str:
    """Who is ahead, whether that is shown, and whether trained losses bear the curve out."""
    mean = {name: _mean(found, name, "overhead") for name in {race.method for race in found}}
    others = sorted(mean.keys() - {OURS, UNTOLD}, key=mean.__getitem__)
    gap = paired(found, OURS, others[0], at_end("overhead"))
    low, high = (100 * end for end in gap.interval)
    lost = [f"`{name}` ({mean[name]:.0%})" for name in others if mean[name] < mean[OURS]]
    hits = [race.states[-1]["hit_90"] for race in found if race.method == OURS]
    claimed = np.mean([at_end("expected_regret")(race) for race in found if race.method == OURS])
    off = np.array([at_end("trained")(race) - at_end("regret")(race) for race in found])
    best, lost_by_ours = mean[others[0]], 1000 * _mean(found, OURS, "regret")
    shown = "the interval excludes zero" if low * high > 0 else "the interval holds zero"
    if gap.worlds < _FEWEST_WORLDS:
        shown = "so few worlds show nothing"
    error = 1000 * off.std(ddof=1) / math.sqrt(len(off))
    return (
        f"{gap.worlds} races a method on {len({race.case for race in found})} targets. Overhead: "
        f"ours {mean[OURS]:.0%} of a target run, of the best other, `{others[0]}`, {best:.0%}; "
        f"ours less that {100 * gap.difference:+.0f} points ({low:+.0f} … {high:+.0f}), {shown}. "
        f"Less than ours: {', '.join(lost) or 'none'}. Our 90 % intervals hold the best rate in "
        f"{np.mean(hits):.0%}; {1000 * claimed:.0f} mnat are claimed and {lost_by_ours:.0f} lost. "
        f"What was really trained at the {len(off)} answers lies {1000 * off.mean():+.0f} ± "
        f"{error:.0f} mnat from the curve's regret."
    )


def table() -> str:
    """All that is shown."""
    found = races()
    if not found:
        return "No world has been met by every method yet."
    parts = []
    for title, some in (("Short", SHORT), ("Long", LONG)):
        names = {target.name for target in some}
        if own := [race for race in found if race.case in names]:
            parts += [f"### {title} targets", words(own), standings(own)]
    return "\n\n".join((*parts, targets_table(found)))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after these")
    parser.add_argument("--jobs", type=int, default=1, help="trainings and races at once")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    given = parser.parse_args()
    if given.table:
        print(table())
    else:
        go_on(given.minutes, given.jobs)


if __name__ == "__main__":
    main()
