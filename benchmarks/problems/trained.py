"""Trained: what may be run, and what is the truth, when the built-in trainer answers?

Targets are byte-level language models, small enough to be trained dozens of times on one core. A
method may run any rate and length at sizes up to half of the target's, down to a dozen steps,
and pays compute as the trainer counts it, head and attention included. A training is told apart by
what it was asked for, so it is made once; runs of a method have a seed of their own for every rate,
size and length, the same for every method of a race.

The truth of a target is its own: eight rates an octave apart, the three about the lowest loss with
three seeds, whatever else it was trained at, and local parabolas through all of it: losses are no
bowl where they level off at high rates.
"""

import json
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.problems.continuous import LARGEST, case_of, guessed, offered
from benchmarks.problems.lines import whole_lines
from benchmarks.rivals.protocol import Job, Point
from horizon_bo.evaluation.cases import Case
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.trials import LoggedRun, Study, Trial
from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.corpus import standard_library
from horizon_bo.training.flops import flops_per_token
from horizon_bo.training.loop import train

Array = NDArray[np.float64]

#: Widths of the cheaper models.
WIDTHS = (16, 32, 48, 64)
#: Tokens per step; small, so that a cheap run has more steps.
BATCH = 256
#: Log₂ of the lowest and highest rate on offer.
LOG2_RATES = (-10, -3)
#: The shortest run on offer: a share of the target's tokens, and never fewer steps.
SHORTEST, FEWEST_STEPS = 1 / 24, 12
#: Held-out tokens that a loss is read on; a quarter of the default, which would take as long as a
#: cheap run.
EVAL_TOKENS = 16_384
#: Seeds of the target's own trainings.
SEEDS: tuple[int, ...] = (0, 1, 2)
#: What was learnt from this trainer's own sweep gets no say.
OWN_SWEEP = ("stdlib_gpt",)
#: Standard deviation of the local parabolas' weights, octaves; rates of a grid are one apart.
_BANDWIDTH = 0.75


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run of the built-in trainer."""

    parametrization: str
    width: int
    tokens: int
    learning_rate: float
    seed: int

    @property
    def config(self) -> RunConfig:
        """The run as the trainer is told."""
        return RunConfig(
            model=model(self.width, self.parametrization),
            recipe=Recipe(batch_tokens=BATCH),
            learning_rates=(self.learning_rate,),
            seeds=(self.seed,),
            tokens=self.tokens,
            eval_tokens=EVAL_TOKENS,
        )


def model(width: int, parametrization: str) -> ModelConfig:
    """A model of two blocks."""
    return ModelConfig(width=width, depth=2, head_dim=16, parametrization=parametrization)


class Trainings:
    """Final losses in nats per byte by training, `None` where it diverged; kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[Training, float | None] = {}
        self.cpu_s = 0.0
        names = [field.name for field in fields(Training)]
        for line in whole_lines(path):
            self.known[Training(**{name: line[name] for name in names})] = line["loss"]
            self.cpu_s += line["cpu_s"]

    def loss(self, run: Training) -> float | None:
        """The loss of a run, trained now if it never was."""
        if run not in self.known:
            torch.set_num_threads(1)
            text = standard_library()
            began = time.process_time()
            loss = train(run.config, text).readings[-1]["loss"]
            spent = time.process_time() - began
            made = {"loss": loss, "cpu_s": round(spent, 2), "corpus": text.digest}
            with self._path.open("a") as file:
                file.write(json.dumps({**asdict(run), **made}) + "\n")
            self.known[run] = loss
            self.cpu_s += spent
        return self.known[run]


@dataclass(frozen=True, kw_only=True)
class TrainedTarget:
    """A run whose rate is wanted."""

    parametrization: str
    width: int
    steps: int

    @property
    def name(self) -> str:
        """Of results."""
        return f"{self.parametrization}-{self.width}x2-{self.steps}"

    @property
    def recipe(self) -> str:
        """Of results."""
        return f"stdlib {self.parametrization}"

    @property
    def tokens(self) -> int:
        """Its length."""
        return self.steps * BATCH

    @property
    def params(self) -> int:
        """Its size."""
        return model(self.width, self.parametrization).params

    @property
    def batch_tokens(self) -> int:
        """Its batch."""
        return BATCH

    @property
    def flops(self) -> float:
        """Its training compute, FLOP."""
        return flops_per_token(model(self.width, self.parametrization)) * self.tokens

    def training(self, learning_rate: float, seed: int, share: float = 1.0) -> Training:
        """The target, or a run of a share of its length."""
        return Training(
            parametrization=self.parametrization,
            width=self.width,
            tokens=round(self.steps * share) * BATCH,
            learning_rate=learning_rate,
            seed=seed,
        )


def grid(target: TrainedTarget, losses: Mapping[Training, float | None]) -> Iterator[Training]:
    """The target's own trainings, in order; those of later seeds once the first has all its rates.

    At the end come the same with half the tokens at the best rate, which say what tokens buy.
    """
    low, high = LOG2_RATES
    found = {}
    for power in range(low, high + 1):
        run = target.training(2.0**power, SEEDS[0])
        yield run
        if run in losses:
            loss = losses[run]
            found[power] = math.inf if loss is None else loss
    if len(found) <= high - low:
        return
    best = min(max(min(found, key=found.__getitem__), low + 1), high - 1)
    for seed in SEEDS[1:]:
        yield from (target.training(2.0**power, seed) for power in range(best - 1, best + 2))
    yield from (target.training(2.0**best, seed, 0.5) for seed in SEEDS)


def smoothed(log2_rates: Array, losses: Array, at: Array) -> Array:
    """Local parabolas through losses: at each place one of its own, what is near counting more."""
    found = np.empty(len(at))
    for k, place in enumerate(at):
        away = log2_rates - place
        weight = np.exp(-((away / _BANDWIDTH) ** 2) / 4)  # squared by polyfit
        found[k] = np.polyfit(away, losses, 2, w=weight)[-1]
    return found


def curve(runs: Iterable[Training], losses: Mapping[Training, float | None]) -> tuple[Array, Array]:
    """Log₂ of the rates on offer, finely, and the loss there through runs of one length."""
    points = [(math.log2(r.learning_rate), x) for r in runs if (x := losses[r]) is not None]
    at = np.linspace(*LOG2_RATES, 281)
    rates, reached = np.array(points).T
    return at, smoothed(rates, reached, at)


def noise(target: TrainedTarget, losses: Mapping[Training, float | None]) -> float:
    """Standard deviation between seeds at one rate near the best, nats per byte."""
    made: dict[float, list[float]] = {}
    for run in grid(target, losses):
        if run.tokens == target.tokens and (loss := losses[run]) is not None:
            made.setdefault(run.learning_rate, []).append(loss)
    spreads = [np.var(same, ddof=1) for same in made.values() if len(same) == len(SEEDS)]
    return math.sqrt(float(np.mean(spreads)))


def slope(target: TrainedTarget, losses: Mapping[Training, float | None]) -> float:
    """Loss that e times the tokens would buy, as the last doubling did, nats per byte."""
    bought = [
        half - whole
        for run in grid(target, losses)
        if run.tokens < target.tokens
        and (half := losses[run]) is not None
        and (whole := losses[target.training(run.learning_rate, run.seed)]) is not None
    ]
    return float(np.mean(bought)) / math.log(2)


@dataclass(frozen=True)
class TrainedContest:
    """A target, a seed, and whether the guess of the rate is told."""

    target: TrainedTarget
    seed: int
    trainings: Trainings
    told: bool = True

    #: Targets of one trainer and text are one group of recipes.
    group = "stdlib"

    @cached_property
    def truth(self) -> Mapping[str, Any]:
        """The curve through all that was trained at the target."""
        known, target = self.trainings.known, self.target
        kind = (target.parametrization, target.width, target.tokens)
        own = [run for run in known if (run.parametrization, run.width, run.tokens) == kind]
        at, losses = curve(own, known)
        best = int(losses.argmin())
        return {
            "learning_rate": (2.0**at).tolist(),
            "excess": (losses - losses[best]).tolist(),
            "optimum": float(2.0 ** at[best]),
            "minimum": float(losses[best]),
            "loss_per_log_tokens": slope(target, known),
        }

    @cached_property
    def case(self) -> Case:
        """What `evaluation.score` scores against."""
        return case_of(self.target.name, self.target.params, self.target.tokens, self.truth)

    @cached_property
    def guess(self) -> float | None:
        """What somebody takes for the best rate, as in the races; `None` where nothing is told."""
        if not self.told:
            return None
        known = self.trainings.known
        whole = [run for run in grid(self.target, known) if run.tokens == self.target.tokens]
        at, losses = curve(whole, known)  # the grid alone: a guess must not move with the answers
        optimum = 2.0 ** float(at[losses.argmin()])
        return guessed(optimum, self.target.name, self.seed, self.space.learning_rate)

    @cached_property
    def horizon(self) -> Horizon:
        """The target run."""
        target = self.target
        return Horizon(
            params=target.params,
            tokens=target.tokens,
            batch_tokens=target.batch_tokens,
            flops=target.flops,
        )

    @cached_property
    def space(self) -> SearchSpace:
        """The runs on offer."""
        models = [model(width, self.target.parametrization) for width in WIDTHS]
        scales = [
            Scale(
                params=each.params,
                flops_per_token=flops_per_token(each),
                settings={"width": each.width},
            )
            for each in models
            if each.params <= LARGEST * self.target.params
        ]
        fewest = max(round(SHORTEST * self.target.steps), FEWEST_STEPS)
        return SearchSpace(
            learning_rate=(2.0 ** LOG2_RATES[0], 2.0 ** LOG2_RATES[1]),
            scales=scales,
            tokens=(fewest * BATCH, LARGEST * self.target.tokens),
        )

    def study(self, budget: float) -> Study:
        """The empty study; what was learnt from the trainer's own sweep gets no say."""
        return Study(
            target=self.horizon,
            space=self.space,
            budget=budget * self.horizon.flops,
            parametrization=self.target.parametrization,
            prior_center=self.guess,
            seed=self.seed,
            excluded_data=OWN_SWEEP,
        )

    def job(self, budget: float) -> Job:
        """The same for rivals."""
        return Job(
            target=self.horizon,
            points=offered(self.space, self.guess, BATCH),
            budget=budget * self.horizon.flops,
            prior_center=self.guess,
            divergence_loss=math.log(model(WIDTHS[0], "standard").vocab),
            seed=self.seed,
            between=True,
        )

    def made(self, study: Study, asked: Point) -> Trial | None:
        """The run that was asked for, trained at the nearest size and length on offer.

        `None` where the rest of the budget pays no run of that size.
        """
        away = lambda scale: abs(math.log(scale.params / asked.params))  # noqa: E731
        scale = min(self.space.scales, key=away)
        shortest, longest = (round(tokens / BATCH) for tokens in self.space.tokens)
        payable = math.floor(study.affordable / scale.flops(BATCH))
        steps = min(max(round(asked.tokens / BATCH), shortest), longest, payable)
        if steps < shortest:
            return None
        low, high = self.space.learning_rate
        rate = min(max(asked.learning_rate, low), high)
        width, tokens = scale.settings["width"], steps * BATCH
        place = (rate, float(scale.params), float(tokens))
        repeat = sum((t.learning_rate, t.params, t.tokens) == place for t in study.trials)
        loss = self.trainings.loss(
            Training(
                parametrization=self.target.parametrization,
                width=width,
                tokens=tokens,
                learning_rate=rate,
                seed=own_seed((self.seed, width, tokens, rate, repeat)),
            )
        )
        run = LoggedRun(
            learning_rate=rate,
            params=scale.params,
            tokens=tokens,
            batch_tokens=BATCH,
            flops=scale.flops(tokens),
            loss=loss,
            diverged=loss is None,
        )
        return study.trial_from(run, trial_id=len(study.trials), charged=True)


def own_seed(place: Sequence[float]) -> int:
    """A seed that no target run has, the same for the same place."""
    return 1_000 + zlib.crc32(repr(tuple(place)).encode()) % 10**9
