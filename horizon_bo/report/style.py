"""Style: what do all figures have in common?"""

from pathlib import Path

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from horizon_bo.errors import StorageError

#: Colours that stay apart for every common kind of colour blindness.
#: Source: Okabe and Ito (2008), Color Universal Design.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, or say why not."""
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be written ({error}), expected a writable .png; name another"
        ) from error


def decimal_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of each decade, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
