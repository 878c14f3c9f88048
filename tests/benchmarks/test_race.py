"""Race: what a rival is told, what it gets for a proposal, and what is recorded of it."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer

from benchmarks.harness import bench
from benchmarks.harness.methods import entries
from benchmarks.harness.race import PENALTY, job_of, nearest, point_of, race_of
from benchmarks.rivals.protocol import Answer, Entry, Job, Point, best_at_largest
from horizon_bo.core.inference import study_expectation
from horizon_bo.evaluation.cases import Case, problem_on
from horizon_bo.evaluation.replay import replay
from horizon_bo.evaluation.replays import Task
from horizon_bo.study.trials import LoggedRun

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def runs() -> list[LoggedRun]:
    """Three cells and a target; the highest rate diverges at the smallest size."""
    made = []
    for params, tokens in ((1e6, 1e8), (1e6, 2e8), (2e6, 2e8), (4e6, 8e8)):
        for rate in RATES:
            diverged = params == 1e6 and rate == RATES[-1]
            loss = 3.0 + 0.1 * math.log(rate / 2e-3) ** 2 - 0.1 * math.log(params * tokens / 1e14)
            made.append(
                LoggedRun(
                    learning_rate=rate,
                    params=params,
                    tokens=tokens,
                    loss=None if diverged else loss,
                    diverged=diverged,
                )
            )
    return made


CASE = Case(name="small-4M", sweep="", target_params=4e6, target_tokens=8e8)


@dataclass
class Scripted:
    """Proposes given points and remembers what it is told."""

    job: Job
    proposals: list[Point]
    told: list[tuple[Point, float, bool]] = field(default_factory=list)

    def suggest(self, affordable):
        """The next of the script."""
        return self.proposals[len(self.told)] if len(self.told) < len(self.proposals) else None

    def observe(self, point, loss, *, diverged):
        """Remember it."""
        self.told.append((point, loss, diverged))

    def recommend(self):
        """The rate of the last run."""
        return Answer(learning_rate=self.told[-1][0].learning_rate if self.told else 5e-3)


def raced(proposals: list[Point]):
    problem = problem_on(CASE, runs())
    study = problem.study(budget=0.5, prior_center=2e-3, seed=0)
    entry = Entry(name="scripted", make=lambda job: Scripted(job, proposals), given="")
    race = race_of(entry, problem, study)
    return race, list(replay(problem, race.method, study))


def test_a_proposal_becomes_the_nearest_row_and_the_rival_is_told_that_row():
    race, states = raced([Point(learning_rate=2.2e-3, params=1.1e6, tokens=1.1e8)])
    (point, loss, diverged), *_ = race.rival.told
    assert (point.learning_rate, point.params, point.tokens) == (2e-3, 1e6, 1e8)
    assert loss == next(r.loss for r in runs() if r.learning_rate == 2e-3)
    assert not diverged
    assert states[-1]["learning_rate"] == 2e-3


def test_a_row_is_never_bought_twice():
    again = [Point(learning_rate=2e-3, params=1e6, tokens=1e8)] * 3
    race, states = raced(again)
    rows = [state["row"] for state in states if state["row"] is not None]
    assert len(rows) == len(set(rows)) == 3
    assert [asked["repeat"] for asked in race.asked] == [False, True, True]


def test_a_diverged_run_is_charged_in_full_and_told_as_the_penalty():
    race, states = raced([Point(learning_rate=8e-3, params=1e6, tokens=1e8)])
    worst = max(run.loss for run in runs()[:12] if run.loss)
    assert race.rival.told == [(point_of_row(3), PENALTY * worst, True)]
    assert states[-1]["spent"] == pytest.approx(1e6 * 1e8 / (4e6 * 8e8))


def point_of_row(row: int) -> Point:
    problem = problem_on(CASE, runs())
    return point_of(next(trial for trial in problem.pool if trial.row == row))


def test_a_rival_never_sees_the_target_or_its_losses():
    problem = problem_on(CASE, runs())
    job = job_of(problem, problem.study(budget=0.5, prior_center=None, seed=0))
    assert len(job.points) == 12
    assert all(point.params < 4e6 for point in job.points)
    assert "loss" not in vars(job.points[0])


def test_a_proposal_as_near_to_two_rows_is_a_tie_and_takes_the_first():
    problem = problem_on(CASE, runs())
    job = job_of(problem, problem.study(budget=0.5, prior_center=None, seed=0))
    between = Point(learning_rate=math.sqrt(2e-3 * 4e-3), params=1e6, tokens=1e8)
    position, distance, tie = nearest(job, between, problem.pool)
    assert tie
    assert problem.pool[position].learning_rate == 2e-3
    assert distance == pytest.approx(math.log(2) / 2 / math.log(8))


def test_the_dearest_cell_that_was_tried_at_three_rates_answers():
    cheap = [(Point(learning_rate=r, params=1e6, tokens=1e8), 3 + r) for r in RATES[:3]]
    dear = [(Point(learning_rate=r, params=2e6, tokens=1e8), 2 - r) for r in RATES[:3]]
    one = [(Point(learning_rate=8e-3, params=4e6, tokens=1e8), 1.0)]
    assert best_at_largest(cheap, 1.0).learning_rate == 1e-3
    assert best_at_largest(cheap + dear, 1.0).learning_rate == 4e-3
    assert best_at_largest(cheap + one, 1.0).learning_rate == 1e-3
    assert best_at_largest(cheap[:2] + one, 1.0).learning_rate == 8e-3
    assert best_at_largest([], 1.0).learning_rate == 1.0


def test_a_failing_rival_is_recorded_and_the_run_exits_with_1(tmp_path, monkeypatch):
    def fails(job):
        raise RuntimeError("no such\nkernel")

    broken = Entry(name="broken", make=fails, given="")
    monkeypatch.setattr(bench, "entries", lambda: {**entries(), "broken": broken})
    smoke = Path(bench.__file__).parents[1] / "smoke.json"
    with pytest.raises(typer.Exit) as stop:
        bench.main(cases=smoke, out=tmp_path, methods="broken,zero", budget=["0.05"])
    assert stop.value.exit_code == 1
    (line,) = map(json.loads, (tmp_path / "main-0.05" / "broken.jsonl").read_text().splitlines())
    assert line["error"] == "RuntimeError: no such kernel"
    assert line["final"]
    (zero,) = map(json.loads, (tmp_path / "main-0.05" / "zero.jsonl").read_text().splitlines())
    assert zero["step"] == 0
    assert "error" not in zero


def test_a_method_without_use_for_a_guess_is_replayed_once(monkeypatch):
    blind = Entry(name="blind", make=lambda job: Scripted(job, []), given="", uses_center=False)
    monkeypatch.setattr(bench, "entries", lambda: {"blind": blind})
    tasks = bench.tasks_of([CASE], "blind", [1e-3, 2e-3], 2, 0.1, Path())
    assert [(t.prior_center, t.seed) for t in tasks] == [(None, 0), (None, 1)]
    assert len(bench.tasks_of([CASE], "zero", [1e-3, 2e-3], 2, 0.1, Path())) == 4


def test_harder_pools_only_ever_shrink():
    wide, narrow = bench.narrowed(
        [CASE, Case(**{**vars(CASE), "max_params_ratio": 0.1, "max_tokens_ratio": 1.0})], 0.25
    )
    assert (wide.max_params_ratio, wide.max_tokens_ratio) == (0.25, 0.25)
    assert (narrow.max_params_ratio, narrow.max_tokens_ratio) == (0.1, 0.25)


def test_a_line_says_where_it_comes_from_and_what_the_shared_read_out_says():
    (case,) = bench.load_cases(Path(bench.__file__).parents[1] / "smoke.json")
    task = Task(case=case, method="horizon-random", prior_center=0.01, seed=0, budget=0.2)
    lines = list(bench.lines_of(task))
    assert len(lines) >= 3
    assert {"commit", "machine", "versions", "peak_mib", "wall_s"} <= set(lines[0])
    study = bench.load_problem(case).study(budget=0.2, prior_center=0.01, seed=0)
    center = math.exp(study_expectation(study)[0].log_lr)
    assert (lines[0]["readout"], lines[0]["learning_rate"]) == (0.01, pytest.approx(center, 1e-5))
    assert [line["flops"] for line in lines] == sorted(line["flops"] for line in lines)
    assert lines[-1]["final"]
