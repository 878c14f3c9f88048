"""BoTorch entropy search: what does information about the target's best loss per FLOP buy?

Source: Takeno et al. (2020), ICML, as `qMultiFidelityMaxValueEntropy`.
"""

from collections.abc import Sequence

from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.models.model import Model
from botorch.optim import optimize_acqf_discrete

from benchmarks.rivals.botorch_mfkg import cost_utility, fidelity_model, projection
from benchmarks.rivals.gaussian_process import Cube, ModelRival, answer_at_target
from benchmarks.rivals.protocol import Entry, Point


def max_value_entropy(cube: Cube, model: Model, affordable: Sequence[Point]) -> Sequence[float]:
    """The affordable run that says most about the best value at the target, per FLOP."""
    entropy = qMultiFidelityMaxValueEntropy(
        model,
        candidate_set=cube.at_target(),
        cost_aware_utility=cost_utility(cube),
        project=projection(cube),
    )
    place, _ = optimize_acqf_discrete(entropy, q=1, choices=cube.vectors(affordable))
    return place[0].tolist()


ENTRIES = (
    Entry(
        name="botorch-mfmes",
        make=lambda job: ModelRival(job, fidelity_model, max_value_entropy, answer_at_target),
        given=(
            "SingleTaskMultiFidelityGP(linear_truncated=False) with qMFMES and its defaults, "
            "maxima drawn on a grid of rates at the target, per FLOP, over the affordable runs; "
            "centre and Sobol first; diverged runs at the worst loss that trained"
        ),
    ),
)
