"""Watch's measurement: the page shows what is in the results, and these say what can be asked."""

from pathlib import Path

from benchmarks.measurements.watch import (
    BITS,
    CURVES,
    FACTORS,
    PLANS,
    SEEDS,
    SHARES,
    WORDS,
    read,
    table,
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "watch.md"


def test_the_page_shows_the_table_of_the_results():
    assert table() in PAGE.read_text()


def test_each_large_run_is_asked_about_at_every_share_with_and_without_curves():
    runs = [run for run in read(CURVES) if run["final"] is None]
    assert len(runs) == len(PLANS) * len(FACTORS) * SEEDS
    good = 2 * len(PLANS) * SEEDS  # whose losses are asked about in bits, too
    assert len(read(WORDS)) == 4 * len(SHARES) * (len(runs) + good)


def test_bits_are_the_same_losses_in_another_unit():
    lines = read(WORDS)
    keys = ("study", "seed", "factor", "share", "told", "curves")
    nats = {tuple(line[k] for k in keys): line for line in lines if line["unit"] == "nats"}
    for line in (line for line in lines if line["unit"] == "bits"):
        assert abs(line["loss"] / nats[tuple(line[k] for k in keys)]["loss"] - BITS) < 1e-9
