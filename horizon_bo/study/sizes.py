"""Sizes: how large is a model for a law, whatever its parameter count holds?

Laws go with non-embedding parameters N, active ones where there are experts. A count that holds an
embedding of V tokens of width d is

    P = N + V d,      N = 12 l d² = 0.12 d³      for l blocks, d = 100 l

Sources: Kaplan et al. (2020), arXiv:2001.08361, section 2.1, for 12 l d²; d / l of GPT-2, GPT-3 and
Llama is 64 to 128, and N off by 0 to 7 % where it is one of these (124M of GPT-2 are 81M, not 85M).
"""

import math

#: Non-embedding parameters over the width's third power.
_PER_CUBE = 0.12


def non_embedding(params: float, vocabulary: float | None) -> float:
    """Non-embedding parameters of a model whose parameters count an embedding.

    Args:
        params: Parameters, a count.
        vocabulary: Tokens with an embedding in that count, twice where input and output have one
            each; `None` where it leaves embeddings out.
    """
    if vocabulary is None:
        return params
    # d³ + 3 a d = 2 b has one real root, d = 2 √a sinh(asinh(b / a^{3/2}) / 3)
    a, b = vocabulary / _PER_CUBE / 3, params / _PER_CUBE / 2
    width = 2 * math.sqrt(a) * math.sinh(math.asinh(b / a**1.5) / 3)
    return _PER_CUBE * width**3
