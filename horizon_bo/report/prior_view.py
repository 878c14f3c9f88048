"""Prior view: what does each sweep say of the exponents, as a figure?"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from horizon_bo.learning.opinions import EXPONENTS, Opinion
from horizon_bo.report.style import PALETTE, save_figure

#: Height of a row and of what surrounds the rows, in inches; width of a panel.
_ROW, _AROUND, _PANEL = 0.24, 1.3, 3.2
#: Standard deviations on either side that hold 90 % of a normal.
_NORMAL_90 = 1.645


def draw_opinions(said: Sequence[Opinion], path: Path) -> None:
    """Draw mean and 90 % of each exponent, a row an opinion, and the first one's across all.

    Args:
        said: The population first, then each sweep.
        path: Where to write the figure.
    """
    figure = Figure(figsize=(_PANEL * len(EXPONENTS) + 2.0, _ROW * len(said) + _AROUND))
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(EXPONENTS), sharey=True, squeeze=False)[0]
    labels = [each.name for each in said]
    for axes, word in zip(panels, EXPONENTS, strict=True):
        center, spread = said[0].exponents[word]
        if spread is not None:
            reach = _NORMAL_90 * spread
            axes.axvspan(center - reach, center + reach, color=PALETTE[0], alpha=0.12, lw=0)
        for row, each in enumerate(said):
            mean, sd = each.exponents[word]
            if sd is None:
                continue
            axes.errorbar(
                mean, row, xerr=_NORMAL_90 * sd, fmt="o", ms=4, capsize=2, color=PALETTE[row > 0]
            )
        axes.axvline(0.0, color="0.6", lw=0.8)
        axes.set_xlabel(f"d ln LR* / d ln {word}")
        axes.set_yticks(range(len(said)), labels)
    panels[0].invert_yaxis()
    figure.suptitle("How the best rate moves: each sweep by itself, and what to expect (90 %)")
    figure.tight_layout()
    save_figure(figure, path)
