"""Built-in trainer: suggestions become its runs, and a study is trained and resumed for real."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace
from horizon_bo.errors import HorizonBOError, InvalidObjectiveError, InvalidSpaceError
from horizon_bo.runs.builtin import (
    builtin_command,
    builtin_config,
    shaped_horizon,
    shaped_model,
    shaped_scale,
)
from horizon_bo.study.changes import start
from horizon_bo.study.trials import Study, Suggestion
from horizon_bo.training.config import Recipe, run_config

BATCH = 256


def small(**changes) -> Study:
    target = shaped_horizon("48x2", 4e5, batch_tokens=BATCH)
    space = SearchSpace(
        learning_rate=(1e-3, 0.1),
        scales=[shaped_scale("16x2"), shaped_scale("32x2")],
        tokens=(2e4, 8e4),
    )
    return Study(**{"target": target, "space": space, "budget": 0.2 * target.flops, **changes})


def suggested(study: Study, **changes) -> Suggestion:
    scale = study.space.scales[1]
    run = Suggestion(
        id=7,
        learning_rate=0.01,
        params=scale.params,
        tokens=5e4,
        batch_tokens=BATCH,
        flops=scale.flops(5e4),
        scale=scale,
        schedule=study.target.schedule,
        averaging=study.target.averaging,
    )
    return replace(run, **changes)


def test_a_shape_fixes_parameters_and_compute():
    scale = shaped_scale("64x2")
    assert (scale.params, dict(scale.settings)) == (
        97_280,
        {"width": 64, "depth": 2, "head_dim": 16},
    )
    assert scale.flops_per_token == 6 * (97_280 + 256 * 64) + 12 * 2 * 128 * 64
    assert shaped_model("768x12x64").head_dim == 64
    assert shaped_horizon("64x2", 1e6).flops == scale.flops(1e6)
    with pytest.raises(InvalidSpaceError, match="WIDTHxDEPTH"):
        shaped_model("64")


def test_a_suggestion_becomes_the_trainers_config():
    study = small(seed=100, parametrization="mup")
    base = study.space.scales[0]
    config = builtin_config(suggested(study), base, study, Recipe(weight_decay=0.2))
    assert (config.model.width, config.model.depth, config.model.base_width) == (32, 2, 16)
    assert config.model.parametrization == "mup"
    assert (config.recipe.weight_decay, config.recipe.batch_tokens) == (0.2, BATCH)
    assert (config.learning_rates, config.seeds, config.tokens) == ((0.01,), (107,), 50_000)


def test_branches_cooldown_and_averagings_reach_the_trainer():
    target = shaped_horizon("48x2", 4e5, batch_tokens=BATCH, schedule="wsd")
    space = replace(small().space, averagings=("none", "lawa"), cooldown=0.25)
    study = small(target=target, space=space)
    run = suggested(study, branches=(25_000.4, 5e4), cooldown=0.25, averaging="lawa")
    config = builtin_config(run, study.space.scales[0], study, Recipe())
    assert config.branches == (25_000, 50_000)
    assert config.recipe.cooldown == 0.25
    assert config.averagings == ("lawa",)


def test_a_size_that_one_shape_has_needs_no_settings(tmp_path):
    space = replace(small().space, scales=(Scale(params=25_088),))
    command = builtin_command(small(space=space))
    (tmp_path / "7").mkdir()
    argv = command.argv(suggested(small()), tmp_path / "7")
    config = run_config(json.loads(Path(argv[argv.index("--config") + 1]).read_text()))
    assert (config.model.width, config.model.depth) == (32, 2)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"scales": (Scale(params=25_000),)}, {}, "no width and depth give"),
        (
            {"scales": (Scale(params=9_999, settings={"width": 32, "depth": 2}),)},
            {},
            "has 25,088 parameters",
        ),
        ({"scales": (Scale(params=1e4, settings={"width": 33, "depth": 2}),)}, {}, "be built"),
        (
            {"scales": (Scale(params=1e4, settings={"width": 32, "depth": 2, "gpus": 8}),)},
            {},
            "gpus",
        ),
        ({"schedules": ("step",)}, {}, "schedule 'step'"),
        ({"averagings": ("mean",)}, {}, "averaging 'mean'"),
        ({}, {"recipe": {"momentum": 0.9}}, "momentum"),
        ({}, {"recipe": {"optimizer": "sgd"}}, "optimizer is 'sgd'"),
        ({}, {"text": ["absent.txt"]}, r"absent\.txt is not a file"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_starts(changes, options, said):
    study = small(space=replace(small().space, **changes))
    with pytest.raises(HorizonBOError, match=said) as caught:
        builtin_command(study, **options)
    assert "\n" not in str(caught.value)


def test_runs_of_one_study_share_recipe_and_text(tmp_path):
    study = small()
    (tmp_path / "7").mkdir()
    builtin_command(study).argv(suggested(study), tmp_path / "7")
    builtin_command(study).argv(suggested(study), tmp_path / "7")
    other = builtin_command(study, recipe={"weight_decay": 0.0})
    with pytest.raises(InvalidObjectiveError, match="differs from that of earlier runs"):
        other.argv(suggested(study), tmp_path / "7")


@pytest.mark.slow
def test_a_study_is_trained_to_its_target_and_the_second_call_adds_nothing(tmp_path):
    target = shaped_horizon("48x2", 1e5, batch_tokens=BATCH)
    study = small(target=target, space=replace(small().space, tokens=(1e4, 2e4)))
    tuner = HorizonTuner(
        target=study.target,
        space=study.space,
        budget=study.budget,
        prior_center=0.02,
        study=tmp_path / "runs.db",
        regret_tolerance=1e3,  # any rate will do: the advice is to stop, at any moment
    )
    command = builtin_command(tuner.study)
    report = tuner.run(
        command,
        folder=tmp_path / "runs",
        parallel=2,
        max_runs=3,
        until_budget=True,
        train_target=True,
    )
    trials = tuner.study.trials
    assert [trial.status for trial in trials] == ["completed"] * 3
    for trial in trials:
        result = json.loads((tmp_path / "runs" / str(trial.id) / "result.json").read_text())
        assert trial.loss == result["loss"]
        assert trial.flops == pytest.approx(result["flops"])
    assert report.target is not None
    assert report.target.outcome.status == "completed"
    assert report.target.outcome.loss is not None
    # better than the small runs, which saw a fifth of its tokens at most
    assert report.target.outcome.loss < min(trial.loss for trial in trials if trial.loss)
    again = HorizonTuner.open(tmp_path / "runs.db").run(
        command, folder=tmp_path / "runs", max_runs=3, train_target=True, until_budget=False
    )
    assert again.target == report.target
    assert again.observed == ()


@pytest.mark.slow
def test_a_trunk_with_branches_and_averages_is_trained_and_read(tmp_path):
    target = shaped_horizon("48x2", 4e5, batch_tokens=BATCH, schedule="wsd")
    space = replace(small().space, cooldown=0.2, averagings=("none", "lawa"))
    tuner = HorizonTuner(target=target, space=space, budget=0.2 * target.flops)
    scale = space.scales[0]
    run = replace(
        suggested(small(), scale=scale, params=scale.params, tokens=4e4, schedule="wsd"),
        id=0,
        branches=(2e4, 4e4),
        cooldown=0.2,
        flops=scale.flops(4.4e4),
    )
    tuner._stored = replace(tuner._stored, study=start(tuner.study, [run]))
    tuner.run(builtin_command(tuner.study), folder=tmp_path / "runs", max_runs=1)
    told = [(t.tokens, t.schedule, t.averaging, t.status) for t in tuner.study.trials]
    assert told == [(2e4, "wsd", "none", "completed"), (4e4, "wsd", "none", "completed")]
    short, long = (trial.loss for trial in tuner.study.trials)
    assert short is not None
    assert long is not None
    assert long < short


def test_a_target_of_counts_and_one_of_a_shape_differ_in_compute_only():
    shaped, counted = shaped_horizon("64x2", 1e6), Horizon(params=97_280, tokens=1e6)
    assert (shaped.params, shaped.tokens) == (counted.params, counted.tokens)
    assert shaped.flops > counted.flops
