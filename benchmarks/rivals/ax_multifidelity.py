"""Ax: how good are the defaults of the service that most people reach BoTorch through?

Three set-ups, each fed with the runs that were really made, as attached trials:

- `ax-multifidelity`: knowledge gradient at a target fidelity. Only `AxClient`, which goes in
  Ax 1.4, knows fidelities, and its models take a single one: here the share of the log compute
  between the cheapest run and the target. Source: Ax 1.3, tutorial on multi-fidelity optimization.
- `ax-client`: `Client`'s defaults, with size and tokens as parameters like any other.
- `ax-client-target`: the same with a space that reaches to the target, so that `predict` answers.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from benchmarks.rivals.gaussian_process import DESIGN_SIZE, GRID, Cube, initial_design
from benchmarks.rivals.protocol import Answer, Entry, Job, Point, best_at_largest

#: Ax's tutorial takes 10 restarts of 128 raw points; on one core that is minutes a run.
FANTASIES, RESTARTS, RAW_SAMPLES, ITERATIONS = 16, 2, 16, 40

_METRIC = "loss"

Parameters = Mapping[str, float]


class Service(Protocol):
    """One of Ax's clients, reduced to what a replay needs."""

    def parameters(self, point: Point) -> dict[str, float]:
        """A run in the client's own parameters."""
        ...

    def point(self, parameters: Parameters) -> Point:
        """The run that some parameters mean."""
        ...

    def tell(self, parameters: dict[str, float], loss: float) -> None:
        """Attach a finished trial."""
        ...

    def ask(self) -> Parameters:
        """Fit to all trials and propose the next, which is not kept."""
        ...

    def predict(self, parameters: Sequence[dict[str, float]]) -> np.ndarray:
        """Mean loss by the model of the last `ask`."""
        ...


class AxRival:
    """An Ax client in a loop; it fits and proposes once per state."""

    def __init__(self, job: Job, service: Service, *, extrapolates: bool) -> None:
        self._job = job
        self._service = service
        self._extrapolates = extrapolates
        self._design = initial_design(Cube(job))
        self._runs: list[tuple[Point, float]] = []
        self._proposal: Point | None = None

    def suggest(self, affordable: Sequence[Point]) -> Point:
        """The next run of the design, then Ax's proposal."""
        if len(self._runs) < len(self._design):
            return self._design[len(self._runs)]
        return self._asked()

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Attach the run; a diverged one with its penalty, or Ax would learn nothing from it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._service.tell(self._service.parameters(point), loss)
        self._runs.append((point, loss))
        self._proposal = None

    def recommend(self) -> Answer:
        """The model's best rate at the target, or the best tried at the dearest cell."""
        if len(self._runs) < len(self._design):
            return Answer(learning_rate=self._job.center)
        if not self._extrapolates:
            return best_at_largest(self._runs, self._job.center)
        self._asked()
        rates = np.geomspace(*self._job.ranges["learning_rate"], GRID)
        target = self._job.target
        at_target = [
            Point(
                learning_rate=float(rate),
                params=target.params,
                tokens=target.tokens,
                batch_tokens=target.batch_tokens,
                flops=target.flops,
            )
            for rate in rates
        ]
        losses = self._service.predict([self._service.parameters(point) for point in at_target])
        return Answer(learning_rate=float(rates[losses.argmin()]))

    def _asked(self) -> Point:
        if self._proposal is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._proposal = self._service.point(self._service.ask())
        return self._proposal


class PlainService:
    """`ax.api.Client` as it comes: every input that varies is a log-scaled parameter."""

    def __init__(self, job: Job, *, to_target: bool) -> None:
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig

        self._job = job
        self._client = Client(random_seed=job.seed)
        ranges = dict(job.ranges)
        for name in ("params", "tokens"):
            if to_target and name in ranges:
                low, high = ranges[name]
                ranges[name] = (low, max(high, getattr(job.target, name)))
        self._client.configure_experiment(
            parameters=[
                RangeParameterConfig(name, bounds, "float", scaling="log")
                for name, bounds in ranges.items()
            ]
        )
        self._client.configure_optimization(f"-{_METRIC}")
        # the attached design is the initialization, so the model takes over after it
        self._client.configure_generation_strategy(
            initialization_budget=DESIGN_SIZE,
            initialization_random_seed=job.seed,
            initialize_with_center=False,
        )

    def parameters(self, point: Point) -> dict[str, float]:
        """The inputs that vary."""
        return {name: float(getattr(point, name)) for name in self._job.ranges}

    def point(self, parameters: Parameters) -> Point:
        """Those inputs, and the job's for the rest."""
        fixed = {
            name: getattr(self._job.points[0], name)
            for name in ("params", "tokens", "batch_tokens")
        }
        return Point(**{**fixed, **parameters})

    def tell(self, parameters: dict[str, float], loss: float) -> None:
        """Attach and complete a trial."""
        self._client.complete_trial(self._client.attach_trial(parameters), {_METRIC: loss})

    def ask(self) -> Parameters:
        """The next trial, closed at once: the row that is run gets a trial of its own.

        It is marked as failed, since Ax takes abandoned trials for pending ones.
        """
        ((index, parameters),) = self._client.get_next_trials(max_trials=1).items()
        self._client.mark_trial_failed(index)
        return parameters

    def predict(self, parameters: Sequence[dict[str, float]]) -> np.ndarray:
        """Means of the client's own `predict`."""
        return np.array([predicted[_METRIC][0] for predicted in self._client.predict(parameters)])


class FidelityService:
    """`AxClient` with compute as the fidelity and a constraint that keeps it within the runs."""

    def __init__(self, job: Job) -> None:
        from ax.service.ax_client import AxClient, ObjectiveProperties

        self._job = job
        self._floor = min(point.cost for point in job.points)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # AxClient says that it goes in Ax 1.4
            self._client = AxClient(
                generation_strategy=_knowledge_gradient(job.seed),
                random_seed=job.seed,
                verbose_logging=False,
            )
        names = [name for name in job.ranges if name in ("learning_rate", "batch_tokens")]
        top = self._share(max(point.cost for point in job.points))
        space: list[dict[str, Any]] = [
            {"name": n, "type": "range", "bounds": [0.0, 1.0], "value_type": "float"}
            for n in (*names, "compute")
        ]
        space[-1] |= {"is_fidelity": True, "target_value": 1.0}
        self._client.create_experiment(
            parameters=space,
            objectives={_METRIC: ObjectiveProperties(minimize=True)},
            parameter_constraints=[f"compute <= {top:.6f}"],
        )

    def parameters(self, point: Point) -> dict[str, float]:
        """Shares of the ranges of rate and batch, and of the log compute up to the target."""
        names = [name for name in self._job.ranges if name in ("learning_rate", "batch_tokens")]
        shares = {name: self._job.unit(name, getattr(point, name)) for name in names}
        inside = {name: min(max(share, 0.0), 1.0) for name, share in shares.items()}
        return {**inside, "compute": min(max(self._share(point.cost), 0.0), 1.0)}

    def point(self, parameters: Parameters) -> Point:
        """The run of about that compute on the line from the cheapest cell to the target."""
        cheapest = min(self._job.points, key=lambda point: point.cost)
        along = parameters["compute"]
        values = {}
        for name in ("params", "tokens"):
            low, high = getattr(cheapest, name), getattr(self._job.target, name)
            values[name] = low * (high / low) ** along
        low, high = self._job.ranges["learning_rate"]
        values["learning_rate"] = low * (high / low) ** parameters["learning_rate"]
        batch = cheapest.batch_tokens
        if "batch_tokens" in parameters:
            low, high = self._job.ranges["batch_tokens"]
            batch = low * (high / low) ** parameters["batch_tokens"]
        return Point(**values, batch_tokens=batch)

    def tell(self, parameters: dict[str, float], loss: float) -> None:
        """Attach and complete a trial."""
        _, index = self._client.attach_trial(parameters)
        self._client.complete_trial(index, {_METRIC: loss})

    def ask(self) -> Parameters:
        """The next trial, closed at once: the row that is run gets a trial of its own.

        It is marked as failed, since Ax takes abandoned trials for pending ones.
        """
        parameters, index = self._client.get_next_trial()
        self._client.log_trial_failure(index)
        return parameters

    def predict(self, parameters: Sequence[dict[str, float]]) -> np.ndarray:
        """Means of the fitted model; the client's own predictions are in-sample only."""
        from ax.core.observation import ObservationFeatures

        features = [ObservationFeatures(parameters=dict(some)) for some in parameters]
        means, _ = self._client.generation_strategy.adapter.predict(features)
        return np.array(means[_METRIC])

    def _share(self, cost: float) -> float:
        return math.log(cost / self._floor) / math.log(self._job.target.flops / self._floor)


def _knowledge_gradient(seed: int) -> Any:
    """Sobol until the attached design is complete, then Ax's modular BoTorch with qMFKG."""
    from ax.adapter.registry import Generators
    from ax.generation_strategy.generation_node import GenerationNode
    from ax.generation_strategy.generation_strategy import GenerationStrategy
    from ax.generation_strategy.generator_spec import GeneratorSpec
    from botorch.acquisition import qMultiFidelityKnowledgeGradient

    optimizer = {
        "num_restarts": RESTARTS,
        "raw_samples": RAW_SAMPLES,
        "options": {"maxiter": ITERATIONS},
    }
    spec = GeneratorSpec(
        generator_enum=Generators.BOTORCH_MODULAR,
        generator_kwargs={
            "botorch_acqf_class": qMultiFidelityKnowledgeGradient,
            "acquisition_options": {"num_fantasies": FANTASIES},
        },
        generator_gen_kwargs={"model_gen_options": {"optimizer_kwargs": optimizer}},
    )
    return GenerationStrategy(nodes=[GenerationNode(name="mfkg", generator_specs=[spec])])


def _quiet(make: Any, job: Job, *, extrapolates: bool) -> AxRival:
    service = make(job)
    for name in ("ax", "ax.api.client", "ax.service.ax_client"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return AxRival(job, service, extrapolates=extrapolates)


_SHARED = "centre and Sobol first, as attached trials; diverged runs with the penalty"

ENTRIES = (
    Entry(
        name="ax-multifidelity",
        make=partial(_quiet, FidelityService, extrapolates=True),
        slow=True,
        given=(
            "AxClient: SingleTaskMultiFidelityGP and qMFKG with Ax's cost model, one fidelity "
            f"(share of log compute to the target), constrained to affordable; {_SHARED}"
        ),
    ),
    Entry(
        name="ax-client",
        make=partial(_quiet, partial(PlainService, to_target=False), extrapolates=False),
        given=f"Client's defaults over (LR, size, tokens, batch), best at the largest; {_SHARED}",
    ),
    Entry(
        name="ax-client-target",
        make=partial(_quiet, partial(PlainService, to_target=True), extrapolates=True),
        given=f"ax-client with a space up to the target and its prediction there; {_SHARED}",
    ),
)
