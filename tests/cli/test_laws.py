"""The literature on the command line: results on stdout, remarks on stderr, examples that work."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.study.horizons import Horizon
from tests.published.sweeps import chinchilla_table, lr_sweep, steplaw

TOP = dict(get_command(app).commands)  # type: ignore[attr-defined]
COMMANDS = {
    **{f"law {name}": command for name, command in TOP["law"].commands.items()},
    **{name: TOP[name] for name in ("transfer", "audit", "recipes")},
}


def call(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line))


def record(line: str) -> dict:
    result = call(f"{line} --json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def example(name: str) -> str:
    text = COMMANDS[name].epilog.split("Example:")[1]
    return " ".join(text.replace("\\\n", " ").split()).removeprefix("horizon-bo ")


def write(folder: Path, table: dict, name: str = "runs.csv") -> None:
    pd.DataFrame(table).to_csv(folder / name, index=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_the_literature_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, chinchilla_table(rows=60))
    plain = call(example(name))
    assert plain.exit_code == 0, plain.output
    assert plain.stdout
    assert record(example(name))


def test_the_picture_shows_the_rates_of_each_law_and_the_best_runs(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lr_sweep())
    assert call(example("law compare") + " --table runs.csv").exit_code == 0
    ax = drawn["laws.png"].axes[0]
    for name in ("step", "bjorck"):
        law = learning_rate_law(name)
        assert any(
            np.allclose(
                line.get_ydata(),
                [law.learning_rate(Horizon(params=1e9, tokens=t)) for t in line.get_xdata()],
            )
            for line in ax.lines
        ), name
    (best,) = ax.collections
    assert len(best.get_offsets()) == 16  # a run for each of four sizes at four lengths


def test_auditing_llama_by_the_joint_law():
    found = record("audit --params 6.7e9 --tokens 1e12 --learning-rate 3e-4 --law bjorck")
    assert f"{found['optimal_learning_rate']:.1e}" == "1.1e-04"
    assert round(found["octaves"], 2) == 1.45
    assert 0 < found["excess_loss"] < 0.027
    assert "2409.19913" in found["source"]
    assert found["equivalent_flops"] > 0


def test_evaluating_step_law_says_which_constants_speak():
    found = record("law eval step --params 1e9 --tokens 1e11")
    assert round(found["learning_rate"], 5) == 1.63e-3
    assert found["learning_rate_by"] == "published constants"
    assert round(found["bootstrap_learning_rate"], 5) == 1.66e-3
    low, high = found["interval_90"]
    assert low < found["learning_rate"] < high
    assert round(found["batch_tokens"] / 2048) == 541


def test_out_of_range_use_is_remarked_once_on_stderr():
    result = call("law eval bjorck --params 6.7e9 --tokens 1e12")
    assert result.exit_code == 0
    assert result.stderr.count("extrapolated") == 1
    assert "7.6e+08 to 2.7e+09" in result.stderr
    assert "extrapolated" not in result.stdout


def test_a_budget_is_split_and_a_smaller_model_priced():
    found = record("law eval chinchilla --flops 1e21 --smaller 0.5")
    assert 0.19 < found["compute_overhead"] < 0.22
    assert 6 * found["params"] * found["tokens"] == pytest.approx(1e21)


def test_laws_of_every_kind_evaluate():
    repeated = "law eval muennighoff --params 1e9 --tokens 1e11 --unique-tokens 1e10"
    assert record(repeated)["effective_tokens"] < 1e11
    assert record("law eval epoch --params 1e9 --tokens 1e11")["loss"] > 1.8172
    assert record("law eval kaplan-critical --loss 2.2")["batch_tokens"] > 4e6
    decay = "law eval power-lines --params 1e9 --tokens 2e10 --batch-tokens 1e6"
    assert record(decay + " --learning-rate 3e-4")["weight_decay"] > 0
    schedule = "law eval mpl-100m --learning-rate 3e-4 --steps 24000"
    cosine, constant = record(schedule), record(schedule + " --schedule constant")
    assert 2.651 < cosine["loss"] < constant["loss"]


def test_all_laws_together_answer_transfer_and_audit():
    moved = "transfer --learning-rate 2e-3 --from-params 2e8 --from-tokens 1e10 --params 2e9"
    found = record(moved + " --tokens 1e11 --width-ratio 3 --depth-ratio 2")
    assert found["lowest"] < found["learning_rate"] < found["highest"]
    assert found["mup_factors"]["residual_multiplier"] == 0.5
    audited = record("audit --params 6.7e9 --tokens 1e12 --learning-rate 3e-4")
    assert {law["law"] for law in audited["laws"]} >= {"step", "bjorck", "kaplan"}
    assert audited["prior"]["sources"]


def test_recipes_and_lists_are_one_object():
    (recipe,) = record("recipes --name 'chinchilla'")["recipes"]
    assert recipe["learning_rate"] == 1e-4
    kinds = {entry["kind"] for entry in record("law list --kind rate")["laws"]}
    assert kinds == {"rate"}
    assert [entry["kind"] for entry in record("law show step")["laws"]] == ["rate", "batch"]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("chinchilla", "--bayesian --draws 50"),
        ("kaplan-loss", "--by cell --draws 20"),
        ("bnsl-flops", "--draws 5"),
    ],
)
def test_loss_families_are_fitted_to_a_file(family, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, chinchilla_table(rows=80))
    found = record(f"law fit {family} runs.csv {options}")
    assert found["rows"] == 80
    assert found["extrapolation_error"] > 0
    assert set(found["interval_90"]) == set(found["coefficients"])


def test_optima_are_fitted_to_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lr_sweep(batches=(131_072.0, 262_144.0)))
    fixed = record("law fit learning-rate-fixed-batch runs.csv --draws 20")
    assert fixed["exponents"]["params"] == pytest.approx(-0.5, abs=0.02)
    few = record("law fit search-factor runs.csv --batch-tokens 262144 --draws 20")
    assert few["exponents"]["tokens"] == pytest.approx(-0.3, abs=0.05)
    assert record("law fit learning-rate runs.csv --draws 20")["extrapolation_error"] is not None
    assert record("law fit batch runs.csv --draws 20")["exponents"]
    by_compute = record("law fit learning-rate runs.csv --draws 20 --inputs flops")
    assert set(by_compute["exponents"]) == {"flops"}


def test_schedule_laws_are_fitted_to_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    for curve, steps in enumerate((1000, 2000, 4000)):
        for step in range(50, steps + 1, 50):
            rate = 1e-3 * (1 - 0.9 * step / steps)
            area = sum(1e-3 * (1 - 0.9 * s / steps) for s in range(step))
            rows.append((curve, step, rate, 2.0 + 0.5 * area**-0.4))
    write(tmp_path, pd.DataFrame(rows, columns=["curve", "step", "learning_rate", "loss"]))
    found = record("law fit annealing runs.csv --draws 5")
    assert found["coefficients"]["irreducible"] == pytest.approx(2.0, rel=0.05)
    assert found["extrapolation_error"] < 0.01


def test_laws_are_judged_on_the_public_sweep(data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, steplaw(data_folder, "steplaw"))
    result = call("law compare --table runs.csv --flops-factor 1.125 --json")
    found = json.loads(result.stdout)["excess"]
    assert [one["law"] for one in found] == ["step", "porian", "deepseek", "bjorck", "kaplan"]
    assert "step was fitted to these data" in result.stderr


BAD_LINES = {
    "no law": ("law eval stepp --params 1e9 --tokens 1e11", "law is 'stepp'"),
    "no law to show": ("law show no", "expected one of step"),
    "no size": ("law eval step --tokens 1e11", "params is missing"),
    "no units": ("law eval zhou --params 1e9 --tokens 1e11", "use `transfer`"),
    "a family": ("law eval search-factor --params 1e9 --tokens 1e11", "use `horizon-bo law fit`"),
    "a rule": ("law eval width --params 1e9 --tokens 1e11", "use `horizon-bo transfer`"),
    "a word": ("law eval step --params big --tokens 1e11", "--params is 'big'"),
    "no kind": ("law list --kind rates", "--kind is 'rates'"),
    "nothing": ("law compare", "give --params and --tokens, or --table"),
    "no file": ("law fit chinchilla no.csv", "'no.csv' is no file"),
    "no format": ("law fit chinchilla runs.xlsx", "ends in '.xlsx'"),
    "no family": ("law fit no runs.csv", "family is 'no'"),
    "no resampling": ("law fit chinchilla runs.csv --by moon", "--by is 'moon'"),
    "no column": ("law fit muennighoff runs.csv", "expected also unique_tokens"),
    "no batch": ("law fit chinchilla runs.csv --batch-tokens 1e6", "no column batch_tokens"),
    "one size": ("law fit chinchilla one.csv", "3 different params (there are 1)"),
    "past zero": ("audit --params 2e10 --tokens 1e12 --learning-rate 1e-4 --law kaplan", "zero"),
    "no rate": ("audit --params 2e10 --tokens 1e12 --learning-rate 0", "--learning-rate is 0"),
    "no target": ("audit --learning-rate 1e-3 --params 1e9", "--tokens is missing"),
    "no schedule": (
        "law eval mpl-25m --learning-rate 1e-3 --steps 9 --schedule step",
        "schedule is 'step'",
    ),
    "no picture": (
        "law compare --params 1e9 --tokens 1e10 --figure no/laws.png",
        "cannot be written",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_questions_are_one_line_and_exit_code_2(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, chinchilla_table(rows=30))
    write(tmp_path, {**chinchilla_table(rows=30), "params": [1e9] * 30}, "one.csv")
    line, expected = BAD_LINES[name]
    result = call(line)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_the_literature_answers_without_torch_or_pandas():
    code = (
        "import sys; from horizon_bo.published import answers, audit, prior, transfer; "
        "print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    imported = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert imported == "[]\n"
