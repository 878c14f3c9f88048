"""Fuzz: does any table, mapping or template end in runs that are right or in one clear line?"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.runs.commands import Command, objective_from
from horizon_bo.runs.losses import UnreadableLossError, said_loss
from horizon_bo.study.branches import suggestion
from horizon_bo.study.imports import reconciled
from horizon_bo.study.quantities import quantity
from horizon_bo.tables.columns import COLUMNS
from horizon_bo.tables.logged import logged_table, remarks_about
from tests.fuzzing import fuzzed, refused_or
from tests.studies import pending_trial, small_study

STUDY = small_study()
RUN = suggestion([pending_trial()], STUDY)

names = st.sampled_from(
    [*COLUMNS, " Loss", "LR", "config", "config.lr", "val/loss", "step", "Name", "id", "", "failed"]
) | st.text(max_size=8)
numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**420),
    st.sampled_from([1e-3, 2e-3, 45e6, 1e9, 3.1, 3.2]),
)
words = st.sampled_from(
    ["45M", "1B", "2%", "3,1", "1,048", "1.000,5", "nan", "inf", "-", "true", "finished", "TIMEOUT",
     "CANCELLED by 1", "{", "{'lr': 1e-3}", '{"a": {"b": NaN}}', '"', "#", "sep=;", "=", "\ufeff"]
)  # fmt: skip
cells = st.one_of(st.none(), st.booleans(), numbers, words, st.text(max_size=10))
nested = st.recursive(
    cells, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@st.composite
def good_frames(draw: Any) -> pd.DataFrame:
    """Tables whose runs are known, so that what is read can be told right from wrong."""
    count = draw(st.integers(1, 6))
    column = lambda low, high: st.lists(  # noqa: E731
        st.floats(low, high, allow_subnormal=False), min_size=count, max_size=count, unique=True
    )
    given = {
        "learning_rate": draw(column(1e-6, 1.0)),
        "params": draw(column(1e3, 1e12)),
        "tokens": draw(column(1e3, 1e14)),
        "loss": draw(column(0.1, 20.0)),
    }
    frame = pd.DataFrame(given)
    for name in draw(st.lists(st.sampled_from(["Notes", "colour", "x"]), unique=True, max_size=2)):
        frame[name] = draw(
            st.lists(st.text("ab ,;|\t\"'\n", max_size=5), min_size=count, max_size=count)
        )
    return frame[draw(st.permutations(list(frame.columns)))]


def read_somehow(table: Any, **given: Any) -> None:
    """Read a table all the way into a study; every run in it is one that a study can hold."""
    logged = refused_or(lambda: logged_table(table, **given))
    if logged is not None:
        assert len(logged.runs) == len(logged.rows)
        refused_or(lambda: reconciled(STUDY, logged.runs))
        assert all("\n" not in line for line in remarks_about(logged, STUDY))


@fuzzed("delimited tables")
@given(
    frame=good_frames(),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    cut=st.integers(0, 40) | st.none(),
)
def test_no_cell_of_a_delimited_table_ever_shifts(
    tmp_path_factory, frame, separator, encoding, end, cut
):
    text = frame.to_csv(index=False, sep=separator, lineterminator=end)
    path = tmp_path_factory.mktemp("fuzz") / "runs.csv"
    path.write_bytes((text if cut is None else text[: len(text) - cut]).encode(encoding))
    logged = refused_or(lambda: logged_table(path, repeats=True))
    whole = [tuple(row) for row in frame[["learning_rate", "params", "tokens", "loss"]].to_numpy()]
    if cut is None:
        assert logged is not None
    if logged is not None:
        found = [(run.learning_rate, run.params, run.tokens, run.loss) for run in logged.runs]
        assert found[:-1] == whole[: len(found) - 1]
        # of a last line that was cut at a digit nobody can tell that it was
        assert cut is not None or found == whole


@fuzzed("JSON and Parquet tables")
@given(frame=good_frames(), kind=st.sampled_from(["json", "jsonl", "parquet", "records"]))
def test_no_cell_of_json_or_parquet_ever_shifts(tmp_path_factory, frame, kind):
    path = tmp_path_factory.mktemp("fuzz") / f"runs.{kind}"
    rows = frame.to_dict("records")
    match kind:
        case "json":
            path.write_text(json.dumps(rows))
        case "jsonl":
            path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        case "parquet":
            frame.to_parquet(path)
    logged = logged_table(rows if kind == "records" else path, repeats=True)
    found = [(run.learning_rate, run.params, run.tokens, run.loss) for run in logged.runs]
    assert found == [
        tuple(row) for row in frame[["learning_rate", "params", "tokens", "loss"]].to_numpy()
    ]


@fuzzed("bytes as tables")
@given(
    content=st.binary(max_size=300)
    | st.text("learning_rate,params;tokens\tloss|\"'{}[]:0123456789.e-+\n\r", max_size=300).map(
        str.encode
    ),
    suffix=st.sampled_from(
        ["csv", "tsv", "json", "jsonl", "ndjson", "parquet", "csv.gz", "CSV", "xlsx"]
    ),
)
def test_any_bytes_are_a_table_or_one_clear_line(tmp_path_factory, content, suffix):
    path: Path = tmp_path_factory.mktemp("fuzz") / f"runs.{suffix}"
    path.write_bytes(content)
    read_somehow(path)
    read_somehow(path, columns="auto")


@fuzzed("rows as tables")
@given(rows=st.lists(st.dictionaries(names, nested, max_size=7), max_size=5))
def test_any_rows_are_a_table_or_one_clear_line(tmp_path_factory, rows):
    folder: Path = tmp_path_factory.mktemp("fuzz")
    read_somehow(rows)
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read_somehow(folder / "a.json")
    read_somehow(folder / "a.jsonl", columns="auto")


@fuzzed("frames as tables")
@given(
    header=st.lists(names, min_size=1, max_size=7),
    data=st.data(),
    asked=st.sampled_from([{}, {"columns": "auto"}, {"repeats": True}, {"last_of": "Name"}]),
)
def test_any_frame_is_a_table_or_one_clear_line(header, data, asked):
    header = [*header, "learning_rate", "params", "tokens", "loss"]
    rows = data.draw(st.lists(st.tuples(*[cells] * len(header)), min_size=1, max_size=4))
    read_somehow(pd.DataFrame(rows, columns=header), **asked)


factors = st.one_of(st.sampled_from([*COLUMNS, "a", "auto", "45M", "1e400", "nan", ""]), names)


@fuzzed("mappings")
@given(
    columns=st.dictionaries(
        st.sampled_from(COLUMNS) | names, st.lists(factors, min_size=1, max_size=5).map("*".join)
    ),
    last_of=st.none() | names,
    by=st.none() | names,
)
def test_any_mapping_is_taken_or_one_clear_line(columns, last_of, by):
    frame = pd.DataFrame(
        {
            "a": [1.0, 2.0],
            "params": [6e7, 6e7],
            "tokens": 1e9,
            "loss": [3.0, 3.1],
            "Name": ["x", "y"],
        }
    )
    read_somehow(frame, columns=columns, last_of=last_of, by=by)


pieces = st.sampled_from(
    ["{learning_rate}", "{params}", "{folder}", "{", "}", "{lr}", "'", '"', " ", "\\", "$(x)",
     "--a", sys.executable, "{{learning_rate}}", "{0}", "\n", "\0"]
)  # fmt: skip


@fuzzed("templates of commands")
@given(template=st.lists(pieces | st.text(max_size=5), max_size=8).map("".join))
def test_any_template_is_a_command_or_one_clear_line(template):
    given_ = refused_or(
        lambda: objective_from(template, STUDY, elsewhere=False, target_settings=None)
    )
    if given_ is not None:
        assert isinstance(given_, Command)
        filled = given_.argv(RUN, Path("/runs/0"))
        assert any("0.002" in argument or "/runs/0" in argument for argument in filled)


@fuzzed("last lines of commands")
@given(line=st.text(max_size=60) | st.lists(pieces | words, max_size=6).map(" ".join))
def test_any_last_line_is_a_loss_or_none(line):
    try:
        said = said_loss(line)
    except UnreadableLossError:
        said = {"loss": None}
    assert "loss" in said


@fuzzed("numbers in words")
@given(text=st.text(max_size=80) | words | st.integers(1, 10**6).map(lambda n: "9" * (n % 9999)))
def test_any_text_is_a_number_or_none(text):
    began = time.monotonic()
    value = quantity(text)
    assert value is None or isinstance(value, float)
    assert time.monotonic() - began < 1.0


@fuzzed("numbers with suffixes")
@given(value=st.floats(allow_nan=False, allow_infinity=False), suffix=st.sampled_from("KMBT"))
def test_a_number_with_a_suffix_is_exactly_what_it_says(value, suffix):
    power = {"K": 3, "M": 6, "B": 9, "T": 12}[suffix]
    digits = f"{abs(value) % 1000:.3f}"
    assert quantity(digits + suffix) == float(f"{digits}e{power}")
    assert quantity(repr(value)) == value or math.isinf(value)
