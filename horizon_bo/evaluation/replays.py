"""Replay runs: how are many replays made in parallel, written as lines, and resumed?

Each state is appended to the output as one line as soon as it is known. A replay whose last line
says `final` is done; when a sweep of replays is started again, done ones are skipped and the lines
of unfinished ones are dropped first.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from horizon_bo.errors import InvalidSpaceError, InvalidTableError, StorageError
from horizon_bo.evaluation.cases import Case, Problem, load_problem
from horizon_bo.evaluation.replay import METHODS, replay
from horizon_bo.store.threads import keep_to_one_thread

#: Fields that tell one replay from another in a file of lines.
KEY = ("case", "prior_center", "method", "seed")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One replay to make: a case, a method and the knowledge it starts from.

    Args:
        case: What is hidden and what may be bought.
        method: Name of the method, a key of `METHODS`.
        prior_center: Guess of the optimal rate at the target; `None` asks published laws.
        seed: Seed of every random choice.
        budget: What may be spent, in target runs.
        obey_stop: End when the method advises to.
        beside: Folder of the cases file, where sweeps are looked for first.
    """

    case: Case
    method: str
    prior_center: float | None
    seed: int
    budget: float
    obey_stop: bool = False
    beside: Path | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this replay from the others in one file."""
        return (self.case.name, self.prior_center, self.method, self.seed)


def replay_tasks(
    cases: Sequence[Case],
    methods: Sequence[str],
    *,
    prior_centers: Sequence[float | None],
    seeds: int,
    budget: float,
    obey_stop: bool = False,
    beside: Path | None = None,
) -> tuple[Task, ...]:
    """Every case × centre × method × seed."""
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise InvalidSpaceError(
            f"method {unknown[0]!r} is unknown, expected one of {', '.join(METHODS)}; correct it"
        )
    return tuple(
        Task(
            case=case,
            method=method,
            prior_center=center,
            seed=seed,
            budget=budget,
            obey_stop=obey_stop,
            beside=beside,
        )
        for case in cases
        for center in prior_centers
        for method in methods
        for seed in range(seeds)
    )


def run_replays(
    tasks: Sequence[Task],
    out: Path,
    *,
    jobs: int = 1,
    make_lines: Callable[[Task], Iterator[dict[str, Any]]] | None = None,
) -> Iterator[float]:
    """Make the replays that `out` does not hold yet; yields the fraction done, at least per replay.

    With `jobs` above 1 each replay runs in a process with one thread. Results depend on neither.

    Args:
        tasks: The replays wanted.
        out: File of lines, which grows.
        jobs: Processes.
        make_lines: Makes one replay, a function of a module; `None` means `lines_of`.
    """
    make_lines = make_lines or lines_of
    left = _resumed(tasks, out)
    done = float(len(tasks) - len(left))
    yield done / max(1, len(tasks))
    if jobs == 1:
        for task in left:
            for line in make_lines(task):
                append_line(out, line)
                yield (done + min(1.0, line.get("spent", 0.0) / task.budget)) / len(tasks)
            done += 1
    else:
        context = get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=keep_to_one_thread) as pool:
            futures = [pool.submit(_write_replay, task, out, make_lines) for task in left]
            for future in as_completed(futures):
                future.result()
                done += 1
                yield done / len(tasks)
    yield 1.0


def lines_of(task: Task) -> Iterator[dict[str, Any]]:
    """The states of one replay with everything needed to score them."""
    problem = load_problem(task.case, task.beside)
    study = problem.study(budget=task.budget, prior_center=task.prior_center, seed=task.seed)
    header = _header(task, problem)
    for state in replay(problem, METHODS[task.method], study, obey_stop=task.obey_stop):
        yield {**header, **state}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a replay file; a last line cut short by a killed process is left out."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidTableError(
            f"{path} cannot be read ({error.strerror}), expected the output of `horizon-bo "
            "replay`; check the path"
        ) from error
    lines = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            if not line.endswith("\n"):
                break
            raise InvalidTableError(
                f"line {number} of {path} is no JSON ({line.strip()[:40]!r}), expected the output "
                "of `horizon-bo replay`; repair it or name another file"
            ) from error
    if any(not isinstance(line, dict) or not set(KEY) <= set(line) for line in lines):
        raise InvalidTableError(
            f"{path} holds lines without {', '.join(KEY)}, expected the output of "
            "`horizon-bo replay`; name that file"
        )
    return lines


def append_line(out: Path, line: dict[str, Any]) -> None:
    """Append one line in a single write, so that lines of several processes do not mix."""
    try:
        handle = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (json.dumps(line) + "\n").encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(
            f"{out} refused a line ({error.strerror}), expected a writable disk with space; "
            "mend it and start again, finished replays are kept"
        ) from error


def _header(task: Task, problem: Problem) -> dict[str, Any]:
    return {
        "case": task.case.name,
        "sweep": Path(task.case.sweep).name,
        "target_params": problem.target.params,
        "target_tokens": problem.target.tokens,
        "batch_tokens": problem.target.batch_tokens,
        "pool_batch": task.case.pool_batch,
        "prior_center": task.prior_center,
        "method": task.method,
        "seed": task.seed,
        "budget": task.budget,
        "obey_stop": task.obey_stop,
    }


def _resumed(tasks: Sequence[Task], out: Path) -> list[Task]:
    """The tasks that are not done, after their unfinished lines were dropped from the file."""
    if not out.exists():
        return list(tasks)
    lines = read_lines(out)
    _refuse_other_terms(tasks, lines, out)
    finished = {_key(line) for line in lines if line.get("final")}
    kept = [line for line in lines if _key(line) in finished]
    if len(kept) < len(lines) or not out.read_text().endswith("\n"):
        _rewrite(out, kept)
    return [task for task in tasks if task.key not in finished]


def _refuse_other_terms(tasks: Iterable[Task], lines: Iterable[dict[str, Any]], out: Path) -> None:
    """A replay under another budget is another replay."""
    held = {_key(line): (line.get("budget"), line.get("obey_stop")) for line in lines}
    for task in tasks:
        wanted = (task.budget, task.obey_stop)
        budget, obey_stop = held.get(task.key, wanted)
        if (budget, obey_stop) != wanted:
            raise InvalidTableError(
                f"{out} holds {task.case.name} with budget {budget} and stop {obey_stop}, "
                f"expected {task.budget} and {task.obey_stop}; name another --out"
            )


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in KEY)


def _rewrite(out: Path, lines: Iterable[dict[str, Any]]) -> None:
    fresh = out.with_name(out.name + ".part")
    fresh.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(fresh, out)


def _write_replay(
    task: Task, out: Path, make_lines: Callable[[Task], Iterator[dict[str, Any]]]
) -> None:
    for line in make_lines(task):
        append_line(out, line)
