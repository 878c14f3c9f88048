"""Batch: which batch goes with which rate at the target."""
