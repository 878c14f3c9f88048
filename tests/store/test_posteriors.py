"""Posteriors: what was drawn before is not drawn again, and is the same bit for bit."""

import os
from pathlib import Path

import numpy as np
import pytest

from horizon_bo.core.inference import Belief
from horizon_bo.core.inference import believe as inferred
from horizon_bo.store import posteriors
from horizon_bo.store.posteriors import CACHE_VARIABLE, believe
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from tests.studies import logged, small_study


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is kept, which does not exist yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "posteriors"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of runs whenever coefficient sets are drawn."""
    calls: list[int] = []
    sample = posteriors.sample

    def counted(runs, *given):
        calls.append(len(runs))
        return sample(runs, *given)

    monkeypatch.setattr(posteriors, "sample", counted)
    return calls


def study(*losses: float, seed: int = 0) -> Study:
    """A study with a run for each loss, each at twice the rate of the last."""
    runs = [logged(learning_rate=1e-3 * 2**k, loss=loss) for k, loss in enumerate(losses)]
    return import_runs(small_study(seed=seed), runs)


def same(belief: Belief, other: Belief) -> bool:
    """Whether coefficient sets, what rests on them, and draws at the target are the same."""
    arrays = lambda b: (  # noqa: E731
        b.posterior.z,
        b.posterior.noise_scale,
        b.posterior.fit.half,
        b.target.log_optimum,
        b.target.level,
    )
    numbers = lambda b: (b.posterior.acceptance, b.posterior.stages, b.posterior.distinct)  # noqa: E731
    return numbers(belief) == numbers(other) and all(
        np.array_equal(a, b) for a, b in zip(arrays(belief), arrays(other), strict=True)
    )


def test_a_belief_is_drawn_once_and_is_that_of_the_core_bit_for_bit(
    kept: Path, drawn: list[int]
) -> None:
    first, second = believe(study(3.1, 3.2)), believe(study(3.1, 3.2))
    assert drawn == [2]
    core = inferred(study(3.1, 3.2))
    assert same(first, core)
    assert same(second, core)
    assert len(list(kept.iterdir())) == 1


def test_another_run_seed_or_version_of_the_code_draws_anew(
    kept: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    believe(study(3.1, 3.2))
    believe(study(3.1, 3.3))
    believe(study(3.1, 3.2, seed=1))
    monkeypatch.setattr(posteriors, "_code", lambda: b"changed")
    believe(study(3.1, 3.2))
    assert drawn == [2, 2, 2, 2]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_drawn_anew_and_mended(
    kept: Path, drawn: list[int], content: bytes
) -> None:
    first = believe(study())
    (file,) = kept.iterdir()
    file.write_bytes(content)
    assert same(believe(study()), first)
    assert same(believe(study()), first)
    assert drawn == [0, 0]


def test_where_nothing_can_or_shall_be_kept_beliefs_are_the_same(
    tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for folder in (str(tmp_path / "file"), ""):
        monkeypatch.setenv(CACHE_VARIABLE, folder)
        assert same(believe(study()), inferred(study()))
    assert drawn == [0, 0]


def test_what_was_used_longest_ago_makes_room_and_files_are_the_owners_alone(
    kept: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    believe(study())
    (oldest,) = kept.iterdir()
    assert oldest.stat().st_mode & 0o77 == 0
    os.utime(oldest, (0, 0))
    monkeypatch.setattr(posteriors, "_ROOM", int(1.5 * oldest.stat().st_size))
    believe(study(3.1))
    assert len(list(kept.iterdir())) == 1
    assert not oldest.exists()
    believe(study(3.1))
    assert drawn == [0, 1]
