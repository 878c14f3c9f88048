"""Analyses: what does `Client.compute_analyses` show of a study?

    client.compute_analyses(horizon_analyses())

Three cards of plotly figures, each with the numbers it draws: the bowl at the target, the best
rate against the horizon, and the expected regret against what was spent.
"""

from typing import Any

import pandas as pd
import torch
from ax.adapter.base import Adapter
from ax.analysis.analysis import Analysis
from ax.analysis.plotly.plotly_analysis import PlotlyAnalysisCard, create_plotly_analysis_card
from ax.core.experiment import Experiment
from ax.generation_strategy.generation_strategy import GenerationStrategy
from jaxtyping import Float
from plotly import graph_objects as go
from torch import Tensor

from horizon_bo.ax.client import fitted_generator
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.core.decision import decide
from horizon_bo.core.surrogate import draw_departures
from horizon_bo.report.series import BAND, bowl_figure
from horizon_bo.study.horizons import FLOPS_PER_PARAM_TOKEN

_DRAWS = 8  # of the cells' departures per coefficient set


def horizon_analyses() -> list[Analysis]:
    """The three cards of a study, for `Client.compute_analyses`."""
    return [LearningRateBowl(), OptimumAgainstHorizon(), RegretAgainstSpend()]


class LearningRateBowl(Analysis):
    """The target's loss above that of its best learning rate, as believed now."""

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with the columns `learning_rate`, `low`, `excess`, `high` (90 %, loss units)."""
        generator = _generator(experiment, generation_strategy)
        answer = generator.recommend()
        frame = bowl_frame(generator)
        figure = _figure("learning rate", "loss above the best rate's", log_y=False)
        _draw_band(figure, frame, "learning_rate", "excess")
        low, high = answer.interval_90
        figure.add_vrect(x0=low, x1=high, opacity=0.15, line_width=0, fillcolor="green")
        figure.add_vline(x=answer.learning_rate, line_dash="dash")
        return create_plotly_analysis_card(
            name=type(self).__name__,
            title="Learning-rate bowl at the target",
            subtitle=(
                f"Use {answer.learning_rate:.3g}; the best rate lies between {low:.3g} and "
                f"{high:.3g} with probability 90 %. Expected regret {answer.expected_regret:.2g}."
            ),
            df=frame,
            fig=figure,
        )

    def validate_applicable_state(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> str | None:
        """Any study will do: before the first run the prior is shown."""
        return _why_not(experiment, generation_strategy)


class OptimumAgainstHorizon(Analysis):
    """The best learning rate of each size and horizon tried, and of the target."""

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with the columns `params`, `tokens`, `flops`, `low`, `learning_rate`, `high`."""
        frame = optimum_frame(_generator(experiment, generation_strategy))
        figure = _figure("training FLOP", "best learning rate", log_y=True)
        for chosen, name in ((~frame["target"], "runs"), (frame["target"], "target")):
            part = frame[chosen]
            figure.add_scatter(
                x=part["flops"].tolist(),
                y=part["learning_rate"].tolist(),
                error_y={
                    "array": (part["high"] - part["learning_rate"]).tolist(),
                    "arrayminus": (part["learning_rate"] - part["low"]).tolist(),
                },
                mode="markers",
                name=name,
            )
        return create_plotly_analysis_card(
            name=type(self).__name__,
            title="Best learning rate against the horizon",
            subtitle="Posterior median and 90 % interval at each size and horizon.",
            df=frame,
            fig=figure,
        )

    def validate_applicable_state(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> str | None:
        """Any study will do: before the first run only the target is shown."""
        return _why_not(experiment, generation_strategy)


class RegretAgainstSpend(Analysis):
    """What was expected to be lost at the target, as the budget was spent."""

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with `spent` (target runs), `expected_regret`, `learning_rate`, `low`, `high`."""
        generator = _generator(experiment, generation_strategy)
        assert experiment is not None
        frame = spend_frame(generator, experiment)
        figure = _figure("spent, target runs", "expected regret, loss units", log_y=True)
        figure.update_xaxes(type="linear")
        _draw(figure, frame, "spent", "expected_regret", mode="lines+markers")
        last = frame.iloc[-1]
        return create_plotly_analysis_card(
            name=type(self).__name__,
            title="Expected regret against spend",
            subtitle=(
                f"{last['expected_regret']:.2g} is expected to be lost after spending "
                f"{last['spent']:.1%} of the target run."
            ),
            df=frame,
            fig=figure,
        )

    def validate_applicable_state(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> str | None:
        """Any study will do: before the first run there is one point."""
        return _why_not(experiment, generation_strategy)


def bowl_frame(generator: HorizonGenerator) -> pd.DataFrame:
    """Quantiles of the target's excess loss at rates about the 90 % interval of the best one."""
    bowl = bowl_figure(generator.belief, decide(generator.belief))
    columns = {"low": bowl.low, "excess": bowl.median, "high": bowl.high}
    return pd.DataFrame({"learning_rate": bowl.learning_rate, **columns})


def optimum_frame(generator: HorizonGenerator) -> pd.DataFrame:
    """Quantiles of the best rate of every cell, the target's last; cheapest first."""
    belief, study = generator.belief, generator.study
    seeded = torch.Generator().manual_seed(study.seed * 1_000_003 + len(study.trials))
    fit, cells = belief.posterior.fit, belief.runs.cells
    c = fit.coefficients
    drift = draw_departures(fit, seeded, _DRAWS)[:, :, 1]
    law = c.law.unsqueeze().log_optimal_lr(*cells.log_scales.unsqueeze(-3).unbind(-1))
    log_lr = law + c.source_offset[:, cells.source] + drift
    bands = _quantiles(log_lr.reshape(-1, len(cells)).mT).exp()
    params = study.target.params * cells.log_scales[:, 0].exp()
    tokens = study.target.tokens * cells.log_scales[:, 1].exp()
    frame = pd.DataFrame(
        {
            "params": params.tolist(),
            "tokens": tokens.tolist(),
            "flops": (FLOPS_PER_PARAM_TOKEN * params * tokens).tolist(),
            **dict(zip(("low", "learning_rate", "high"), bands.tolist(), strict=True)),
            "target": [True] + [False] * (len(cells) - 1),
        }
    )
    return frame.sort_values(["target", "flops"], ignore_index=True)


def spend_frame(generator: HorizonGenerator, experiment: Experiment) -> pd.DataFrame:
    """What was believed when each trial was suggested, and what is believed now."""
    states = [
        run.gen_metadata
        for trial in experiment.trials.values()
        for run in trial.generator_runs
        if run.gen_metadata and "expected_regret" in run.gen_metadata
    ]
    states.append(generator.summary())
    return pd.DataFrame(
        {
            "spent": [state["spent"] for state in states],
            "expected_regret": [state["expected_regret"] for state in states],
            "learning_rate": [state["learning_rate"] for state in states],
            "low": [state["interval_90"][0] for state in states],
            "high": [state["interval_90"][1] for state in states],
        }
    )


def _quantiles(values: Float[Tensor, "*point draw"]) -> Float[Tensor, "share *point"]:
    return torch.quantile(values, torch.tensor(BAND, dtype=values.dtype), dim=-1)


def _generator(
    experiment: Experiment | None, strategy: GenerationStrategy | None
) -> HorizonGenerator:
    assert experiment is not None  # validate_applicable_state has seen to both
    assert strategy is not None
    return fitted_generator(strategy, experiment)


def _why_not(experiment: Experiment | None, strategy: GenerationStrategy | None) -> str | None:
    if experiment is None or strategy is None:
        return "This card needs an experiment and the generation strategy of horizon_client."
    return None


def _figure(x: str, y: str, *, log_y: bool) -> go.Figure:
    figure = go.Figure()
    figure.update_xaxes(title=x, type="log")
    figure.update_yaxes(title=y, type="log" if log_y else "linear")
    return figure


def _draw_band(figure: go.Figure, frame: pd.DataFrame, x: str, y: str) -> None:
    edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False}
    _draw(figure, frame, x, "low", **edge)
    _draw(figure, frame, x, "high", fill="tonexty", name="90 %", **edge)
    _draw(figure, frame, x, y, mode="lines", name="median")


def _draw(figure: go.Figure, frame: pd.DataFrame, x: str, y: str, **how: Any) -> None:
    # as lists, which stay numbers in the card's JSON, where arrays become encoded bytes
    figure.add_scatter(x=frame[x].tolist(), y=frame[y].tolist(), **how)
