"""Page text: how is a number of a study written for a reader?

Every number on a page passes through `shown`, so that the same value reads the same everywhere,
and `numeral` keeps the exact value beside what is read.
"""

import math

from markupsafe import Markup

from horizon_bo.study.quantities import shown_rate

#: Suffixes of counts, by powers of a thousand.
_SUFFIXES = ("", "k", "M", "B", "T", "P")
#: Below this a count is written out.
_SHORT_COUNT = 10_000
#: Below this a loss is written with an exponent, and above it a percentage without decimals.
_LEAST_LOSS, _LARGE_PERCENTAGE = 1e-4, 1000.0


def shown(value: float, kind: str) -> str:
    """A number as text.

    Args:
        value: The number; what is not finite becomes a dash.
        kind: `rate`, `loss`, `level` (a loss to be told apart from others), `share` (of a target
            run), `part` (that is done), `probability`, `flops`, `hours` (of GPUs), `count`,
            `octaves`, `factor`, `deviations` or `whole`.
    """
    if not math.isfinite(value):
        return "–"
    return _WRITERS[kind](value)


def lasting(seconds: float | None) -> str:
    """A length of time as people say it; a dash where there is none."""
    if seconds is None:
        return "–"
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def numeral(value: float, kind: str, field: str | None = None) -> Markup:
    """A number as HTML: the text to read, the exact value in the attribute `value`.

    Args:
        value: The number.
        kind: As in `shown`.
        field: Name of the field of the recommendation that it is.
    """
    named = Markup(' data-field="{}"').format(field) if field is not None else ""
    return Markup('<data value="{}"{}>{}</data>').format(
        repr(float(value)), named, shown(value, kind)
    )


def plain_rate(value: float) -> str:
    """A rate for a config file, to four digits, with YAML's point in front of an exponent."""
    text = repr(float(shown_rate(value)))
    mantissa, exponent, power = text.partition("e")
    return text if not exponent or "." in mantissa else f"{mantissa}.0e{power}"


def plain_count(value: float) -> str:
    """A count for a config file, exact, without a point where it is whole."""
    return f"{value:.0f}" if float(value).is_integer() else repr(float(value))


def power_of_ten(value: float, digits: int) -> str:
    """A number such as 2.7e-3, without the zeros that Python puts into the exponent."""
    mantissa, power = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(power)}"


def _loss(value: float) -> str:
    if value == 0 or abs(value) >= _LEAST_LOSS:
        return f"{value:.3g}".replace("-", "−")
    return power_of_ten(value, 1)


def _share(value: float) -> str:
    percent = 100 * value
    return f"{percent:,.0f} %" if percent >= _LARGE_PERCENTAGE else f"{percent:.3g} %"


def _flops(value: float) -> str:
    return "0 FLOP" if value == 0 else f"{power_of_ten(value, 2)} FLOP"


def _count(value: float) -> str:
    if abs(value) < _SHORT_COUNT:
        return f"{value:,.6g}"
    power = 0
    while abs(value) >= 999.5 and power < len(_SUFFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{_SUFFIXES[power]}"


def _probability(value: float) -> str:
    if 0 < value < 0.001:
        return "< 0.1 %"
    return f"{100 * value:.1f} %"


def _octaves(value: float) -> str:
    digits = 1 if abs(value) >= 1 else 2
    # adding zero turns a negative zero into zero
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


_WRITERS = {
    "rate": lambda value: power_of_ten(value, 2),
    "loss": _loss,
    "level": lambda value: f"{value:.4f}",
    "share": _share,
    "probability": _probability,
    "flops": _flops,
    "part": lambda value: f"{100 * value:.0f} %",
    "hours": lambda value: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}",
    "count": _count,
    "octaves": _octaves,
    "factor": lambda value: f"{value:.2f}",
    "deviations": lambda value: f"{value:.1f}",
    "whole": lambda value: f"{value:,.0f}",
}
