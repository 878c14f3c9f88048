"""Seeds: which random numbers belong to a study as it is now?"""

import numpy as np

from horizon_bo.study.trials import Study

#: Factors of the seed: beliefs, grids of rates, checks and batches draw from streams of their own.
BELIEF, RATES, CHECK, BATCHES = 1_000_003, 7919, 104_729, 15_485_863


def study_generator(study: Study, stream: int) -> np.random.Generator:
    """A generator seeded by the study's seed and its number of trials, for one purpose."""
    return np.random.default_rng((study.seed, stream, len(study.trials)))
