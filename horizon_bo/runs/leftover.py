"""Left over: what did a loop that is gone leave to an engine?"""

from collections.abc import Sequence
from pathlib import Path

from horizon_bo.runs.engines.protocol import Engine, Placed, job_name, stored_exit
from horizon_bo.runs.folder import locked, read_json
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import engine_of
from horizon_bo.study.trials import Study


def left_over(engine: Engine, folders: Sequence[Path]) -> dict[Path, Placed]:
    """The last attempts in these folders that wait or run, or whose end nobody has read."""
    last = {folder: _last_attempt(folder) for folder in folders}
    begun = {folder: attempt for folder, attempt in last.items() if attempt > 0}
    names = {folder: job_name(folder, attempt) for folder, attempt in begun.items()}
    known = engine.adopt(list(names.values()))
    return {
        folder: Placed(engine, folder, attempt)
        for folder, attempt in begun.items()
        if not (folder / "outcome.json").exists()
        and (names[folder] in known or stored_exit(folder, attempt) is not None)
    }


def cancel_left_over(study: Study, root: Path, plan: RunPlan) -> tuple[str, ...]:
    """End what an earlier loop left under way; the names of the folders of those runs.

    The runs stay pending.
    """
    pending = {str(trial.id) for trial in study.trials if trial.status == "pending"}
    folders = [root / name for name in sorted(pending | {"target"})]
    with locked(root) as lock, engine_of(plan, lock, ()) as engine:
        found = left_over(engine, folders)
        alive = {folder: job for folder, job in found.items() if job.exit() is None}
        engine.cancel([job_name(job.folder, job.attempt) for job in alive.values()])
    return tuple(folder.name for folder in alive)


def _last_attempt(folder: Path) -> int:
    """The number of the last attempt that was begun in a folder, 0 where there was none."""
    record = read_json(folder / "run.json")
    return record["attempt"] if record else 0
