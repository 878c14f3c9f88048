"""Corpus: held-out text stays out, an epoch sees every window once, bad files are named."""

import bz2
import math
from itertools import pairwise

import numpy as np
import pytest

from horizon_bo.training.corpus import (
    Corpus,
    CorpusError,
    batch,
    batches,
    corpus,
    held_out,
    standard_library,
)

LINE = b"The quick brown fox jumps over the lazy dog. "


def test_the_standard_library_is_there_and_split_by_path():
    text = standard_library()
    assert 5e6 < len(text.train) < 2e7
    assert 0.02 < len(text.held_out) / len(text.train) < 0.12
    assert b"class OrderedDict" in text.train.tobytes() + text.held_out.tobytes()
    assert text.digest == standard_library().digest


def test_an_epoch_sees_every_window_once_and_the_next_in_another_order():
    text = Corpus("count", np.arange(101, dtype=np.uint8), np.arange(50, dtype=np.uint8))
    starts = np.concatenate([batch(text, 0, step, 5, 10)[:, 0] for step in range(4)])
    assert sorted(starts[:10]) == list(range(0, 100, 10))
    assert sorted(starts[10:]) == list(range(0, 100, 10))
    assert list(starts[:10]) != list(starts[10:])
    assert batch(text, 0, 0, 5, 10).shape == (5, 11)


def test_a_batch_depends_on_seed_and_step_alone():
    text = standard_library()
    assert np.array_equal(batch(text, 3, 900, 2, 64), batch(text, 3, 900, 2, 64))
    assert not np.array_equal(batch(text, 3, 900, 2, 64), batch(text, 4, 900, 2, 64))
    stacked = batches(text, (3, 4, 3), 900, 2, 64).numpy()
    assert np.array_equal(stacked[0], stacked[2])
    assert np.array_equal(stacked[1], batch(text, 4, 900, 2, 64))


def test_held_out_windows_spread_over_the_text():
    text = Corpus("count", np.zeros(100, np.uint8), np.arange(200, dtype=np.uint8))
    rows = held_out(text, 10, 50)
    starts = rows[:, 0].tolist()
    assert starts[0] == 0
    assert starts[-1] == 200 - 11
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(gaps) - min(gaps) <= 1


def test_text_files_hold_out_their_ends_packed_or_not(tmp_path):
    (tmp_path / "a.txt").write_bytes(LINE * 100)
    (tmp_path / "b.txt.bz2").write_bytes(bz2.compress(LINE[::-1] * 100))
    text = corpus([tmp_path / "a.txt", tmp_path / "b.txt.bz2"])
    cut = math.ceil(0.95 * 100 * len(LINE))
    assert text.train.tobytes() == (LINE * 100)[:cut] + (LINE[::-1] * 100)[:cut]
    assert text.held_out.tobytes() == (LINE * 100)[cut:] + (LINE[::-1] * 100)[cut:]
    assert text.bytes_per_token == 1.0


def test_token_files_are_mapped_not_read(tmp_path):
    np.arange(5000, dtype=np.uint16).tofile(tmp_path / "train.bin")
    np.arange(50_000, 50_300, dtype=np.uint16).tofile(tmp_path / "val.bin")
    text = corpus([tmp_path / "train.bin", tmp_path / "val.bin"])
    assert isinstance(text.train, np.memmap)
    assert text.vocab == 50_304
    assert text.bytes_per_token is None
    assert batch(text, 0, 0, 1, 16)[0].tolist() == list(
        range(int(batch(text, 0, 0, 1, 16)[0, 0]), int(batch(text, 0, 0, 1, 16)[0, 0]) + 17)
    )


def test_bad_text_is_said_in_one_line(tmp_path):
    (tmp_path / "tiny.txt").write_bytes(b"hello")
    (tmp_path / "bad.bz2").write_bytes(b"no archive")
    (tmp_path / "train.bin").write_bytes(b"abc")
    (tmp_path / "val.bin").write_bytes(b"ab")
    cases = {
        "is not a file": lambda: corpus([tmp_path / "absent.txt"]),
        "leaves 5 tokens to train on": lambda: corpus([tmp_path / "tiny.txt"]).checked(128),
        "cannot be read": lambda: corpus([tmp_path / "bad.bz2"]),
        "expected two": lambda: corpus([tmp_path / "train.bin"]),
        "not whole 16-bit tokens": lambda: corpus([tmp_path / "train.bin", tmp_path / "val.bin"]),
    }
    for said, attempt in cases.items():
        with pytest.raises(CorpusError, match=said) as caught:
            attempt()
        assert "\n" not in str(caught.value)
