"""Cache: results come back as they were, and nothing newer is overwritten."""

import json

from benchmarks.harness.cache import pack, unpack


def lines(method: str, rate: float) -> str:
    return json.dumps({"method": method, "learning_rate": rate}) + "\n"


def test_packed_lines_come_back_by_method(tmp_path):
    first = tmp_path / "first" / "main-0.1"
    first.mkdir(parents=True)
    (first / "a.jsonl").write_text(lines("a", 1e-3) + lines("a", 2e-3))
    (first / "b.jsonl").write_text(lines("b", 3e-3))
    pack(tmp_path / "first", tmp_path / "packed")
    unpack(tmp_path / "second", tmp_path / "packed")
    for name in ("a", "b"):
        text = (tmp_path / "second" / "main-0.1" / f"{name}.jsonl").read_text()
        assert text == (first / f"{name}.jsonl").read_text()


def test_lines_that_are_there_already_stay(tmp_path):
    first = tmp_path / "first" / "main-0.1"
    first.mkdir(parents=True)
    (first / "a.jsonl").write_text(lines("a", 1e-3))
    pack(tmp_path / "first", tmp_path / "packed")
    (first / "a.jsonl").write_text(lines("a", 1e-3) + lines("a", 2e-3))
    unpack(tmp_path / "first", tmp_path / "packed")
    assert (first / "a.jsonl").read_text() == lines("a", 1e-3) + lines("a", 2e-3)


def test_the_same_lines_give_the_same_bytes(tmp_path):
    inner = tmp_path / "first" / "main-0.1"
    inner.mkdir(parents=True)
    (inner / "a.jsonl").write_text(lines("a", 1e-3))
    pack(tmp_path / "first", tmp_path / "one")
    pack(tmp_path / "first", tmp_path / "two")
    one, two = (tmp_path / name / "main-0.1.jsonl.gz" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
