"""Learning: what do many sweeps together say of the next one?"""
