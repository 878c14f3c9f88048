"""Analyses: what does `Client.compute_analyses` show of a study?

    client.compute_analyses(horizon_analyses())

Three figures of the study's page as Ax's cards, each with the numbers it draws: the bowl at the
target, the best rate against the horizon, and the expected regret against what was spent.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from ax.adapter.base import Adapter
from ax.analysis.analysis import Analysis
from ax.analysis.plotly.plotly_analysis import PlotlyAnalysisCard, create_plotly_analysis_card
from ax.core.experiment import Experiment
from ax.generation_strategy.generation_strategy import GenerationStrategy
from plotly import graph_objects as go

from horizon_bo.ax.client import fitted_generator
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.core.decision import decide
from horizon_bo.report import series
from horizon_bo.report.chart_parts import Chart, painted
from horizon_bo.report.charts import bowl_chart, optimum_chart, regret_chart


def horizon_analyses() -> list[Analysis]:
    """The three cards of a study, for `Client.compute_analyses`."""
    return [LearningRateBowl(), OptimumAgainstHorizon(), RegretAgainstSpend()]


def _needs_a_study(
    self: Analysis,
    experiment: Experiment | None = None,
    generation_strategy: GenerationStrategy | None = None,
    adapter: Adapter | None = None,
) -> str | None:
    """Any study will do: before the first run the prior is shown."""
    if experiment is None or generation_strategy is None:
        return "This card needs an experiment and the generation strategy of horizon_client."
    return None


class LearningRateBowl(Analysis):
    """The target's loss above that of its best learning rate, as believed now."""

    validate_applicable_state = _needs_a_study

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with the columns of `BowlFigure`: quantiles of the excess loss at each rate."""
        generator = _generator(experiment, generation_strategy)
        best, belief = generator.recommend(), generator.belief
        bowl = series.bowl_figure(belief, decide(belief))
        low, high = best.interval_90
        said = (
            f"Use {best.learning_rate:.3g}; the best rate lies between {low:.3g} and "
            f"{high:.3g} with probability 90 %. Expected regret {best.expected_regret:.2g}."
        )
        drawn = bowl_chart(bowl, best)
        return _card(self, "Learning-rate bowl at the target", said, vars(bowl), drawn)


class OptimumAgainstHorizon(Analysis):
    """The best learning rate at the target's size against tokens, with every run on the curve."""

    validate_applicable_state = _needs_a_study

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with `at` (tokens), `low`, `median` and `high` (5 %, 50 %, 95 %) of the rate."""
        generator = _generator(experiment, generation_strategy)
        study, belief = generator.study, generator.belief
        curve, _, runs = series.optimum_figures(study, belief, decide(belief))
        drawn = optimum_chart(curve, runs, generator.recommend(), study.target)
        said = "Posterior median and 90 % band at the target's size; runs as far off as they were."
        numbers = {name: getattr(curve, name) for name in ("at", "low", "median", "high")}
        return _card(self, "Best learning rate against the horizon", said, numbers, drawn)


class RegretAgainstSpend(Analysis):
    """What was expected to be lost at the target, as the budget was spent."""

    validate_applicable_state = _needs_a_study

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Card with the columns of `HistoryFigure`; up to twelve beliefs are worked out again."""
        generator = _generator(experiment, generation_strategy)
        history = series.history_figure(
            generator.study,
            generator.belief,
            told=lambda done, of: None,
            state=series.state_after,
        )
        said = (
            f"{history.expected_regret[-1]:.2g} is expected to be lost after spending "
            f"{history.spent[-1]:.1%} of the target run."
        )
        drawn = regret_chart(history)
        return _card(self, "Expected regret against spend", said, vars(history), drawn)


def _generator(
    experiment: Experiment | None, strategy: GenerationStrategy | None
) -> HorizonGenerator:
    assert experiment is not None  # _needs_a_study has seen to both
    assert strategy is not None
    return fitted_generator(strategy, experiment)


def _card(
    analysis: Analysis, title: str, said: str, numbers: Mapping[str, Any], drawn: Chart
) -> Any:
    """A figure of the study as Ax shows it."""
    return create_plotly_analysis_card(
        name=type(analysis).__name__,
        title=title,
        subtitle=said,
        df=pd.DataFrame(numbers),
        fig=go.Figure(painted(drawn)),
    )
