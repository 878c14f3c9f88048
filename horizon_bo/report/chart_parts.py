"""Page parts: how does Plotly draw axes, bands and lines that a phone can show?

Charts are Plotly's own JSON, small enough to send. A colour is a name after a dollar, which the
page replaces by the colour that its light, dark or printed theme has for it.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from horizon_bo.report.numbers import power_of_ten, shown

#: Digits of a drawn point; the page's width resolves three.
_DIGITS = 5
#: More tick labels than this crowd a phone.
_MOST_TICKS = 6
_MOST_STEPS = 8  # up an axis, where there is more room
_MANTISSAS = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
#: A narrower axis would have no two round labels.
_LEAST_DECADES = 0.6

Chart = dict[str, Any]


def painted(chart: Chart) -> Chart:
    """A chart in the colours of the light page, for who draws it without the page."""
    css = files("horizon_bo.report").joinpath("templates", "report.css").read_text("utf-8")
    light = dict(re.findall(r"--(\w+): ([^;]+);", css.partition("@media")[0]))
    return json.loads(re.sub(r"\$(\w+)", lambda name: light[name[1]], json.dumps(chart)))


def chart(traces: list[Chart], *, x: Chart, y: Chart, **layout: Any) -> Chart:
    """A chart with its axes; both are as Plotly's layout has them."""
    return {"data": traces, "layout": {"xaxis": x, "yaxis": y, **layout}}


def band(x: list[float], low: list[float], high: list[float], name: str) -> list[Chart]:
    """The two edges of a band, filled between."""
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    return [
        {**edge, "x": x, "y": low},
        {**edge, "x": x, "y": high, "name": name, "fill": "tonexty", "fillcolor": "$band"},
    ]


def line(x: Sequence[float], y: Sequence[float], name: str, **how: Any) -> Chart:
    """A line through points."""
    return {
        "x": x,
        "y": y,
        "name": name,
        "mode": "lines",
        "line": {"color": "$ours", "width": 3},
        **how,
    }


def diamond(x: float, y: float, text: str) -> Chart:
    """The recommendation, exact, with what to say of it."""
    return {
        "x": [x],
        "y": [y],
        "name": "recommended",
        "mode": "markers",
        "marker": {"color": "$second", "size": 13, "symbol": "diamond"},
        "hovertext": text,
        "hoverinfo": "text",
    }


def span(low: float, high: float, color: str) -> Chart:
    """A vertical stripe behind the rest, over a range of x."""
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": low,
        "x1": high,
        "y0": 0,
        "y1": 1,
        "fillcolor": color,
        "line": {"width": 0},
        "layer": "below",
    }


def points(values: Sequence[float] | np.ndarray) -> list[float]:
    """Values as a chart sends them."""
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def log_axis(title: str, low: float, high: float, label: Callable[[float], str]) -> Chart:
    """A logarithmic axis a little past both ends, labelled at round numbers."""
    ends = math.log10(low), math.log10(high)
    width = ends[1] - ends[0]
    margin = max(0.02 + 0.04 * width, (_LEAST_DECADES - width) / 2)
    ticks = _ticks(ends[0] - margin, ends[1] + margin)
    return {
        "type": "log",
        "title": {"text": title},
        "range": [ends[0] - margin, ends[1] + margin],
        "tickvals": ticks,
        "ticktext": [label(tick) for tick in ticks],
    }


def linear_axis(title: str, high: float, label: Callable[[float], str]) -> Chart:
    """A linear axis from zero, labelled at four to eight round numbers."""
    power = 10.0 ** math.floor(math.log10(high))
    step = next(power * s for s in (0.1, 0.2, 0.5, 1.0, 2.0) if high / (power * s) < _MOST_STEPS)
    ticks = [float(f"{step * k:.6g}") for k in range(math.floor(high / step) + 1)]
    return {
        "title": {"text": title},
        "range": [0, high],
        "tickvals": ticks,
        "ticktext": [label(tick) for tick in ticks],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten, as fine as there is room for."""
    found: list[float] = []
    for mantissas in _MANTISSAS:
        found = [
            float(f"{mantissa}e{power}")
            for power in range(math.floor(low), math.ceil(high) + 1)
            for mantissa in mantissas
            if low <= math.log10(mantissa) + power <= high
        ]
        if len(found) <= _MOST_TICKS:
            return found
    return found[:: math.ceil(len(found) / _MOST_TICKS)]


def rate_label(value: float) -> str:
    """A rate at a tick."""
    return f"{value:.2g}" if value >= 0.1 else power_of_ten(value, 1).replace(".0e", "e")


def count_label(value: float) -> str:
    """A count at a tick."""
    return shown(value, "count")


def share_label(value: float) -> str:
    """A share of a target run at a tick."""
    return shown(value, "share")


def loss_label(value: float) -> str:
    """A loss at a tick."""
    return shown(value, "loss").replace(".0e", "e")
