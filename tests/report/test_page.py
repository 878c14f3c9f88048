"""A page says what `recommend` says, whatever the study, and loads nothing from anywhere."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.core.inference import believe
from horizon_bo.report.chart_parts import log_axis, rate_label
from horizon_bo.report.figures import StudyFigures
from horizon_bo.report.numbers import numeral, plain_rate, shown
from horizon_bo.report.page import config_text, equivalent_flops, report_page
from horizon_bo.report.series import state_of, study_figures
from horizon_bo.study.changes import import_runs
from tests.beliefs import CELLS, STRADDLING, WORLD, diverged, fresh, informed
from tests.pages import read_page
from tests.studies import TARGET, pending_trial, small_study, small_tuner

#: How each number of a recommendation is written, and where it stands in the JSON.
KINDS = {
    "learning_rate": "rate",
    "interval_50.0": "rate",
    "interval_50.1": "rate",
    "interval_90.0": "rate",
    "interval_90.1": "rate",
    "expected_regret": "loss",
    "predicted_loss": "level",
    "expected_overhead": "share",
    "divergence_probability": "probability",
    "spent": "flops",
    "value_of_next_run": "loss",
}


@pytest.fixture(scope="module")
def figures() -> StudyFigures:
    return study_figures(*informed())


def bare(figures: StudyFigures, name: str = "runs.db") -> str:
    """The page without the chart library, which says nothing."""
    return report_page(figures, name, "2026-11-24 12:00 UTC", library=False)


def called(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_every_number_is_the_one_that_recommend_prints_as_json(tmp_path):
    path, out = str(tmp_path / "runs.db"), tmp_path / "report.html"
    small_tuner(study=path).import_runs(WORLD.sweep(CELLS, STRADDLING), count_cost=True)
    said = json.loads(called("recommend", path, "--json").stdout)
    assert called("report", path, "-o", str(out)).exit_code == 0
    page = read_page(out.read_text())
    assert page.json("recommendation") == said
    for name, kind in KINDS.items():
        key, _, position = name.partition(".")
        value = said[key][int(position)] if position else said[key]
        found = [n for n in page.numerals if n.field == name]
        assert found, name
        assert {(float(n.value), n.text) for n in found} == {(value, shown(value, kind))}
    assert {n.field for n in page.numerals} == {None, *KINDS}
    assert said["reason"] in page.words
    assert all(warning in page.words for warning in said["warnings"])


def test_the_regret_in_flops_is_what_the_overhead_has_above_the_spend(figures):
    best = figures.recommendation
    regret_share = best.expected_overhead - best.spent / TARGET.flops
    assert equivalent_flops(figures) == pytest.approx(regret_share * TARGET.flops)
    page = read_page(bare(figures))
    assert shown(equivalent_flops(figures), "flops") in {n.text for n in page.numerals}


def test_a_page_loads_nothing_and_forbids_it(figures):
    whole = report_page(figures, "runs.db", "now")
    assert set(read_page(whole).loaded) == {"data:,", "#answer"}
    assert "default-src 'none'" in whole
    assert "connect-src 'none'" in whole


def test_ids_are_unique_and_every_chart_has_its_place(figures):
    html = bare(figures)
    page = read_page(html)
    assert len(page.ids) == len(set(page.ids))
    charts = page.json("charts")
    assert set(charts) == {"bowl", "opinions", "tokens", "params", "regret", "interval", "runs"}
    assert all(f'data-chart="{name}"' in html for name in charts)


def test_charts_draw_the_recommendation_exactly(figures):
    best = figures.recommendation
    charts = read_page(bare(figures)).json("charts")
    (marked,) = [t for t in charts["bowl"]["data"] if t.get("name") == "recommended"]
    assert (marked["x"], marked["y"]) == ([best.learning_rate], [best.expected_regret])
    spans = [(s["x0"], s["x1"]) for s in charts["bowl"]["layout"]["shapes"]]
    assert spans == [best.interval_90, best.interval_50]
    for along in ("tokens", "params"):
        (at,) = [t for t in charts[along]["data"] if t.get("name") == "recommended"]
        assert at["y"] == [best.learning_rate]


def test_every_run_is_in_both_charts_of_the_best_rate_and_in_the_table(figures):
    page = read_page(bare(figures))
    for along in ("tokens", "params"):
        texts = [
            text
            for trace in page.json("charts")[along]["data"]
            if isinstance(trace.get("hovertext"), list)
            for text in trace["hovertext"]
        ]
        assert {text.split(":")[0] for text in texts} == {f"run {k}" for k in range(9)}
    losses = {shown(trial.loss, "level") for trial in figures.study.trials}
    assert losses <= {n.text for n in page.numerals}


def test_the_config_is_yaml_that_says_what_the_target_is(figures):
    config = yaml.safe_load(config_text(figures, "runs.db"))
    assert config == {
        "learning_rate": float(f"{figures.recommendation.learning_rate:.4g}"),
        "params": 1_000_000_000,
        "tokens": 20_000_000_000,
        "batch_tokens": 262_144,
        "schedule": "cosine",
        "averaging": "none",
    }


@pytest.mark.parametrize("rate", [2e-5, 1.25e-7, 3e-4, 0.1])
def test_a_rate_in_a_config_is_a_number_to_yaml(rate):
    assert yaml.safe_load(f"x: {plain_rate(rate)}") == {"x": rate}


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\x0b", "\x00"])
def test_a_name_with_line_breaks_writes_nothing_into_the_config(figures, end):
    plain = config_text(figures, "runs learning_rate: 1")
    assert config_text(figures, f"runs{end}learning_rate: 1") == plain


def test_a_rate_in_a_config_has_four_digits():
    assert plain_rate(0.000590712345) == "0.0005907"
    assert plain_rate(5.9071234e-5) == "5.907e-05"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.0026977, "rate", "2.70e-3"),
        (0.0, "loss", "0"),
        (0.00307, "loss", "0.00307"),
        (2.5e-5, "loss", "2.5e-5"),
        (-0.0123, "loss", "−0.0123"),
        (1.3950445, "level", "1.3950"),
        (0.0168, "share", "1.68 %"),
        (10.42, "share", "1,042 %"),
        (2e-9, "probability", "< 0.1 %"),
        (0.0, "probability", "0.0 %"),
        (0.25, "probability", "25.0 %"),
        (9.836e13, "flops", "9.84e13 FLOP"),
        (0.0, "flops", "0 FLOP"),
        (1_024, "count", "1,024"),
        (524_288, "count", "524k"),
        (999_900, "count", "1M"),
        (1.07e9, "count", "1.07B"),
        (-0.04, "octaves", "−0.04"),
        (-0.004, "octaves", "0.00"),
        (-1.26, "octaves", "−1.3"),
        (math.nan, "loss", "–"),
    ],
)
def test_numbers_read_as_a_practitioner_writes_them(value, kind, text):
    assert shown(value, kind) == text
    assert float(numeral(value, kind).split('"')[1]) == pytest.approx(value, nan_ok=True, abs=0)


@pytest.mark.parametrize("decades", [0.0, 0.1, 0.5, 1.3, 3.2, 12.0])
def test_an_axis_has_two_to_six_round_labels(decades):
    axis = log_axis("rate", 1.7e-4, 1.7e-4 * 10**decades, rate_label)
    assert 2 <= len(axis["tickvals"]) <= 6
    assert len(set(axis["ticktext"])) == len(axis["tickvals"])
    low, high = axis["range"]
    assert all(low <= math.log10(tick) <= high for tick in axis["tickvals"])


def test_a_study_without_a_run_says_so_and_answers_from_the_prior():
    study, belief = fresh()
    figures = study_figures(study, belief)
    page = read_page(bare(figures))
    assert "This study has no run yet" in page.words
    center = math.exp(belief.center.log_lr)
    assert figures.recommendation.learning_rate == pytest.approx(center)
    assert set(page.json("charts")) == {"bowl", "opinions", "tokens", "params"}
    assert "All 0 runs" not in page.words


def test_a_study_of_diverged_runs_alone_says_what_is_missing():
    runs = diverged(WORLD.sweep(CELLS[:1], (3, 4)))
    figures = study_figures(import_runs(small_study(prior_center=1.5e-3), runs))
    page = read_page(bare(figures))
    assert "No run of this study has reached a loss" in page.words
    assert "every run diverged" in page.words
    names = [trace["name"] for trace in page.json("charts")["tokens"]["data"] if "name" in trace]
    assert "diverged" in names
    assert "runs" not in page.json("charts")


def test_a_study_whose_runs_are_under_way_says_so():
    study = small_study(prior_center=1.5e-3).with_trials(pending_trial())
    page = read_page(bare(study_figures(study)))
    assert "No run of this study has reported a loss yet" in page.words
    assert "1 under way" in page.words
    assert "regret" in page.json("charts")


def test_names_and_recipes_cannot_smuggle_markup_in(figures):
    evil = "<script>alert(1)</script>"
    recipes = np.array([evil] * 9)
    tricked = replace(figures, runs=replace(figures.runs, recipe=recipes))
    html = bare(tricked, evil)
    assert evil not in html
    assert evil in read_page(html).words


def test_a_missing_study_is_one_line_and_exit_code_2(tmp_path):
    result = called("report", str(tmp_path / "none.db"))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "does not exist" in result.stderr


def test_report_wants_a_study_or_the_example_but_not_both(tmp_path):
    for given in ((), (str(tmp_path / "runs.db"), "--example")):
        result = called("report", *given)
        assert result.exit_code == 2
        assert "expected STUDY or --example" in result.stderr


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = str(tmp_path / "runs.db")
    small_tuner(study=path)
    result = called("report", path, "-o", str(tmp_path / "absent" / "report.html"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    (tmp_path / "folder.html").mkdir()
    assert called("report", path, "-o", str(tmp_path / "folder.html")).exit_code == 2
    left = {entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("runs.db")}
    assert left == {"folder.html"}  # a study's own files aside: its lock, its write-ahead log


def test_report_tells_where_it_wrote_as_json(tmp_path):
    path, out = str(tmp_path / "runs.db"), tmp_path / "page.html"
    tuner = small_tuner(study=path, prior_center=1.5e-3)
    record = json.loads(called("report", path, "-o", str(out), "--json").stdout)
    assert record["report"] == str(out)
    assert record["bytes"] == out.stat().st_size
    assert record["learning_rate"] == pytest.approx(tuner.recommend().learning_rate)


@pytest.mark.slow
def test_the_page_of_200_runs_is_small_beside_the_chart_library():
    runs = WORLD.sweep(CELLS, np.linspace(-2, 3, 67))[:200]
    study = import_runs(small_study(prior_center=1.5e-3), runs, count_cost=True)
    belief = believe(study)
    # one belief stands for all of the history, whose number is what counts here
    figures = study_figures(study, belief, state=lambda _: state_of(belief))
    assert len(figures.runs.id) == 200
    assert len(bare(figures).encode()) < 500_000  # a third of what is allowed


@pytest.mark.slow
def test_the_example_is_a_study_of_the_sweep_that_ships(tmp_path):
    out = tmp_path / "report.html"
    result = called("report", "--example", "-o", str(out))
    assert result.exit_code == 0, result.output
    page = read_page(out.read_text())
    best = page.json("recommendation")
    # three seeds of the target itself are lowest between 3.9e-3 and 7.8e-3
    assert best["interval_90"][0] < 7.8e-3
    assert best["interval_90"][1] > 3.9e-3
