"""Harness: how does every method buy from the same sweeps under the same terms?"""
