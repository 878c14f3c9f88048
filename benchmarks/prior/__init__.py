"""Prior: what do public sweeps say together of the next one, before the tuner believes it?

The log has what it gave so far. The tuner does not use it yet.
"""
