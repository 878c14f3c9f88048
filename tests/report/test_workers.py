"""Workers: a page says who makes runs, how far they are, and what tuning costs in GPU-hours."""

from dataclasses import asdict, replace

from horizon_bo import Scale
from horizon_bo.report.page import config_text, report_page, workers_part
from horizon_bo.report.series import study_figures
from horizon_bo.report.workers import UnderWay, under_way
from horizon_bo.runs.cost import gpu_hours
from horizon_bo.runs.folder import write_attempt, write_json
from horizon_bo.store.asks import Ask, entered
from horizon_bo.store.opening import study_store
from horizon_bo.study.branches import suggestion
from tests.pages import read_page
from tests.studies import SPACE, pending_trial, small_study, tuner_with_pending

FAST = Scale(params=6e7, gpus=8, tokens_per_second=4e5)


def test_what_tuning_costs_is_beside_the_flops_and_above_the_config():
    space = replace(SPACE, scales=(FAST,))
    study = small_study(prior_center=1.5e-3, space=space).with_trials(pending_trial())
    figures = study_figures(study)
    cost = gpu_hours(study, (), figures.recommendation.expected_overhead)
    assert cost is not None
    page = read_page(report_page(figures, "runs.db", "now", cost=cost, library=False))
    told = {n.field: float(n.value) for n in page.numerals if (n.field or "").startswith("gpu")}
    assert told == {
        f"gpu_hours.{name}": getattr(cost, name) for name in ("spent", "budget", "overhead")
    }
    assert page.json("recommendation")["gpu_hours"] == asdict(cost)
    target = 8 * study.target.flops / FAST.flops(4e5) / 3600
    assert f"# about {target:,.0f} GPU-hours; tuning took 5.56\n" in config_text(
        figures, "runs.db", cost
    )
    assert "GPU" not in config_text(figures, "runs.db")


def test_a_page_shows_runs_of_a_loop_and_of_workers_how_far_they_are_and_who_waits(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    store, root = study_store(str(tmp_path / "runs.db")), tmp_path / "runs"
    (root / "0").mkdir(parents=True)
    write_attempt(root / "0", suggestion([tuner.study.trials[0]], tuner.study), ("train",), 3)
    holder = {"attempt": 3, "host": "node7", "pid": 12, "began_s": 0.0}
    write_json(root / "0" / "holder.json", holder)
    (root / "0" / "progress.jsonl").write_text('{"tokens": 4e8, "loss": 4.0}\n')
    stored, ask = store.read(), Ask()
    store.database.note(lambda connection: entered(store, stored, ask, connection))
    now = under_way(store, tuner.study, root, ())
    assert [(run.state, run.worker, run.done) for run in now.runs] == [
        ("running", "node7:12", 0.4),
        ("handed out", None, None),
    ]
    words = read_page(workers_part(now)).words
    assert "40 %" in words
    assert f"1 waits for a suggestion: {now.askers[0]}." in words
    assert "GPU-h" not in words
    assert "0.5 GPU-h" in read_page(workers_part(replace(now, gpu_hours={0: 0.5}))).words
    assert workers_part(UnderWay()) == ""
