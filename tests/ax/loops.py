"""The same small study through the plain loop and through Ax."""

import math
from typing import Any

from ax.api.client import Client

from horizon_bo import HorizonTuner, Suggestion
from horizon_bo.ax import HorizonClient, horizon_client
from tests.studies import SPACE, TARGET, small_tuner

#: What every study of these tests starts from.
GIVEN = {"prior_center": 2e-3, "seed": 3}


def ax_client(**changes: Any) -> HorizonClient:
    """An Ax client on the small study."""
    given = {"target": TARGET, "space": SPACE, "budget": 0.05 * TARGET.flops, **GIVEN}
    return horizon_client(**{**given, **changes})


def plain_tuner(**changes: Any) -> HorizonTuner:
    """The same study without Ax."""
    return small_tuner(**{**GIVEN, **changes})


def loss_at(learning_rate: float, params: float, tokens: float, **_: Any) -> float:
    """A bowl whose optimum falls with size; all digits of a float."""
    n, d = math.log(params / TARGET.params), math.log(tokens / TARGET.tokens)
    offset = math.log(learning_rate / 1.5e-3) + 0.4 * n
    return 1.9 + 0.3 * math.exp(-0.3 * n) + 0.25 * math.exp(-0.3 * d) + 0.04 * offset**2


def one_trial(client: Client, **fixed: Any) -> tuple[int, dict[str, Any]]:
    """The next trial of a client."""
    ((index, parameters),) = client.get_next_trials(1, fixed or None).items()
    return index, dict(parameters)


def completed(client: Client, count: int) -> None:
    """Ask for trials and complete them, one after the other."""
    for _ in range(count):
        index, parameters = one_trial(client)
        client.complete_trial(index, {"loss": loss_at(**parameters)})


def point(run: Suggestion, client: Client) -> dict[str, Any]:
    """A suggestion of the plain loop under the names of an Ax experiment."""
    return {name: getattr(run, name) for name in client._experiment.search_space.parameters}
