"""Command line, answer: how is a recommendation printed and drawn?"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from horizon_bo.cli.terminal import remark, show_fields, show_json
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from horizon_bo import HorizonTuner, Recommendation

RecommendationFigure = Annotated[
    str | None,
    typer.Option(
        "--figure", metavar="F.png", help="Draw the loss (nats per token) against the rate."
    ),
]


def show_recommendation(
    tuner: "HorizonTuner", without: Sequence[float], figure: str | None, *, as_json: bool
) -> None:
    """Recommend, draw the figure where one was asked for, and print what was found."""
    best = tuner.recommend(without=without)
    if figure is not None:
        from horizon_bo import plots
        from horizon_bo.report.style import save_figure

        drawn = plots.bowl(tuner).get_figure(root=True)
        assert drawn is not None
        save_figure(drawn, Path(figure))
    if as_json:
        show_json({field.name: getattr(best, field.name) for field in fields(best)})
        return
    show_fields(_recommendation_fields(best, tuner.study.target.flops))
    remark(best.warnings)


def _recommendation_fields(best: "Recommendation", target_flops: float) -> dict[str, str]:
    half, most = best.interval_50, best.interval_90
    return {
        "learning rate": shown_rate(best.learning_rate),
        "50 % interval": f"{half[0]:.3g} to {half[1]:.3g}",
        "90 % interval": f"{most[0]:.3g} to {most[1]:.3g}",
        "expected regret": f"{1e3 * best.expected_regret:.2f} thousandths of the loss unit",
        "predicted loss": f"{best.predicted_loss:.4f}",
        "divergence": f"{best.divergence_probability:.1%} likely at that rate",
        "spent": f"{best.spent:.3g} FLOP, {best.spent / target_flops:.2%} of a target run",
        "overhead": f"{best.expected_overhead:.2%} of a target run: spend plus regret in compute",
        "next run": f"lowers expected regret by {1e3 * best.value_of_next_run:.2f} thousandths",
        "advice": f"{'stop' if best.stop else 'go on'}: {best.reason}",
    }
