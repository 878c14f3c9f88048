"""Tests of the benchmarks: rivals, the race, the standings."""
