"""Sizes: counts that hold embeddings, and the sparsity of experts."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Horizon, Scale
from horizon_bo.core.candidates import pool_of_space
from horizon_bo.core.inference import believe
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.learning.learn import recipes_of_study
from horizon_bo.study.changes import import_runs
from horizon_bo.study.corrections import enqueue
from horizon_bo.study.extension import for_target
from horizon_bo.study.horizons import refuse_unlikely_sizes
from horizon_bo.study.records import study_from, study_record
from horizon_bo.study.sizes import non_embedding
from horizon_bo.study.trials import Study, log_inputs
from horizon_bo.tables.trials import carried
from tests.studies import SPACE, TARGET, logged, small_study

VOCABULARY = 50_304


@given(st.floats(1e4, 1e13), st.floats(1, 1e6))
def test_what_is_left_and_its_embedding_make_up_the_count(params, vocabulary):
    left = non_embedding(params, vocabulary)
    width = (left / 0.12) ** (1 / 3)
    assert left + vocabulary * width == pytest.approx(params, rel=1e-9)
    assert 0 < left < params


def test_a_count_without_embeddings_is_the_size_to_the_last_bit():
    assert non_embedding(1.07e9, None) == 1.07e9
    assert TARGET.size() == TARGET.params
    assert TARGET.without_embeddings == TARGET


@pytest.mark.parametrize(
    ("counted", "left", "tables"),
    [(124.4e6, 85.1e6, 1), (354.8e6, 302.3e6, 1), (1557.6e6, 1475.6e6, 1), (6.738e9, 6.476e9, 2)],
)
def test_sizes_of_gpt2_and_llama_are_found_to_seven_per_cent(counted, left, tables):
    vocabulary = tables * (32_000 if tables == 2 else 50_257)
    assert non_embedding(counted, vocabulary) == pytest.approx(left, rel=0.07)


def with_embeddings(params: float) -> float:
    """The count of a model of so many non-embedding parameters that holds its embedding."""
    return params + VOCABULARY * (params / 0.12) ** (1 / 3)


def test_a_study_that_counts_embeddings_believes_what_one_without_them_does():
    runs = [logged(learning_rate=1e-3 * 2**k, loss=3.0 + 0.02 * (k - 1) ** 2) for k in range(4)]
    plain = import_runs(small_study(), runs)
    target = replace(TARGET, params=with_embeddings(TARGET.params), vocabulary=VOCABULARY)
    scales = [Scale(params=with_embeddings(scale.params)) for scale in SPACE.scales]
    counted = import_runs(
        small_study(target=target, space=replace(SPACE, scales=scales)),
        [replace(run, params=with_embeddings(run.params)) for run in runs],
    )
    for mine, theirs in zip(counted.trials, plain.trials, strict=True):
        assert log_inputs(mine, target) == pytest.approx(log_inputs(theirs, TARGET), abs=1e-9)
    assert believe(counted).center.log_lr == pytest.approx(believe(plain).center.log_lr, abs=1e-9)
    assert believe(counted).target.log_optimum.mean() == pytest.approx(
        believe(plain).target.log_optimum.mean(), abs=1e-3
    )
    naive = replace(counted, target=replace(target, vocabulary=None))
    assert log_inputs(naive.trials[0], naive.target)[1] > log_inputs(plain.trials[0], TARGET)[1]


def test_another_target_is_counted_alike():
    counted = small_study(target=replace(TARGET, vocabulary=VOCABULARY))
    other = replace(TARGET, params=2 * TARGET.params)
    with pytest.raises(
        InvalidSpaceError, match="hold no embedding, expected an embedding of 50304"
    ):
        for_target(counted, other)
    with pytest.raises(InvalidSpaceError, match="an embedding of 50304 tokens, expected no embedd"):
        for_target(small_study(), replace(other, vocabulary=VOCABULARY))
    same = for_target(counted, replace(other, vocabulary=VOCABULARY))
    assert same.target.params == 2 * TARGET.params


def test_what_is_learnt_from_an_old_study_goes_with_sizes_as_laws_count():
    runs = [logged(learning_rate=1e-3 * 2**k, loss=3.0 + 0.02 * (k - 1) ** 2) for k in range(4)]
    study = import_runs(small_study(target=replace(TARGET, vocabulary=VOCABULARY)), runs)
    (recipe,) = recipes_of_study(study, "old")
    assert {run.params for run in recipe.runs} == {non_embedding(6e7, VOCABULARY)}


def test_runs_carried_to_another_study_say_what_their_counts_hold():
    study = import_runs(small_study(target=replace(TARGET, vocabulary=VOCABULARY)), [logged()])
    assert carried(study, "old")[1] == (
        "parameters in old hold an embedding of 50304 tokens: import them into a study that counts "
        "so, begun with --vocabulary 50304",
    )
    assert carried(import_runs(small_study(), [logged()]), "old")[1] == ()


def sparse_study(target: float | None, *scales: float | None) -> Study:
    """A study of experts: sparsity of the target and of each scale."""
    inputs = {} if target is None else {"sparsity": target}
    named = [Scale(params=(6 + k) * 1e7, sparsity=each) for k, each in enumerate(scales)]
    return small_study(
        target=replace(TARGET, inputs=inputs), space=replace(SPACE, scales=named or SPACE.scales)
    )


def test_a_target_with_inactive_parameters_is_one_of_experts():
    assert sparse_study(8.0).experts
    assert not sparse_study(1.0).experts
    assert not sparse_study(None).experts


def test_runs_on_offer_have_the_sparsity_of_their_scale_else_the_targets():
    study = sparse_study(8.0, 4.0, None)
    by_size = {trial.params: trial.inputs["sparsity"] for trial in pool_of_space(study)}
    assert by_size == {6e7: 4.0, 7e7: 8.0}
    asked = enqueue(study, learning_rate=1e-3, params=6e7, tokens=1e9)
    assert asked.trials[-1].inputs == {"sparsity": 4.0}


def test_sparsity_is_a_coordinate_where_it_differs():
    alike = import_runs(sparse_study(8.0), [logged(inputs={"sparsity": 8.0})])
    assert alike.coordinates == ()
    other = import_runs(sparse_study(8.0), [logged(inputs={"sparsity": 2.0})])
    assert other.places(other.trials[0]) == (pytest.approx(4 * math.log(2 / 8)),)


def test_whether_active_or_all_parameters_count_is_learnt():
    """Of models with as many parameters in all, the best rate of which stays, all count."""
    total = 2e9
    target = Horizon(
        params=1e9, tokens=2e10, batch_tokens=262_144, inputs={"sparsity": total / 1e9}
    )
    study = replace(small_study(target=target, budget=target.flops), prior_center=2e-3)

    def slope(best_rate) -> float:
        runs = [
            logged(
                learning_rate=best_rate(params) * math.exp(offset),
                params=params,
                tokens=tokens,
                loss=2.5 + 0.2 * (1e9 / params) ** 0.3 + 0.05 * offset**2,
                inputs={"sparsity": total / params},
            )
            for params in (5e7, 2e8, 5e8)
            for tokens in (5e9, 1e10)
            for offset in (-1.0, -0.3, 0.4, 1.0)
        ]
        c = believe(import_runs(study, runs)).posterior.coefficients
        return float((c.law.optimum_per_params - 4 * c.optimum_per_input[:, 0]).mean())

    assert slope(lambda params: 2e-3) == pytest.approx(0.0, abs=0.1)
    assert slope(lambda params: 2e-3 * (1e9 / params) ** 0.36) == pytest.approx(-0.36, abs=0.1)


def test_sizes_are_kept_and_leave_no_trace_where_nobody_said_them():
    study = sparse_study(8.0, 4.0, None)
    study = replace(study, target=replace(study.target, vocabulary=VOCABULARY))
    assert study_from(json.loads(json.dumps(study_record(study)))) == study
    plain = json.dumps(study_record(small_study()))
    assert "vocabulary" not in plain
    assert "sparsity" not in plain


@pytest.mark.parametrize("value", [0.5, 0, -1, math.nan, "8x"])
def test_a_sparsity_that_cannot_be_is_refused_in_one_line(value):
    with pytest.raises(
        InvalidSpaceError, match=r"sparsity of a scale is .* expected a number from"
    ):
        Scale(params=1e8, sparsity=value)


def test_a_vocabulary_that_cannot_be_is_refused_in_one_line():
    with pytest.raises(InvalidSpaceError, match="vocabulary of the horizon is -1"):
        Horizon(params=1e9, tokens=2e10, vocabulary=-1)


def test_scales_that_say_their_sparsity_ask_for_the_targets():
    study = sparse_study(None, 4.0)
    with pytest.raises(InvalidSpaceError, match="60M parameters says its sparsity, 4, and the tar"):
        refuse_unlikely_sizes(study.target, study.space)
