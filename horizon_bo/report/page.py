"""Page: how does a study become one HTML page that needs nothing else?

A template, a style sheet and a script of the package are filled from the study's figures; the
chart library is written into the page, so that it opens without a network, today and in ten years:
Plotly's basic bundle, a quarter of the whole, which has every kind of trace that the page draws.
"""

import json
import math
from base64 import b64encode
from dataclasses import asdict, dataclass, fields
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from horizon_bo.core.diagnostics import LEAST_ACCEPTANCE, SURPRISE
from horizon_bo.core.policy import Recommendation
from horizon_bo.report.charts import charts, opinion_title, spend_counts
from horizon_bo.report.figures import OptimumFigure, StudyFigures
from horizon_bo.report.numbers import lasting, numeral, plain_count, plain_rate, shown
from horizon_bo.report.workers import UnderWay
from horizon_bo.runs.cost import GpuHours

_HERE = "horizon_bo.report"
_LIBRARY, _SCRIPT = "plotly-basic.min.js", "report.js"


#: Of a study that nobody works on.
NOTHING = UnderWay()


@dataclass(frozen=True)
class Live:
    """What a page needs to keep itself up to date: the revision of the study that it shows."""

    revision: int


def report_page(
    figures: StudyFigures,
    name: str,
    written: str,
    *,
    under_way: UnderWay = NOTHING,
    cost: GpuHours | None = None,
    library: bool = True,
    live: Live | None = None,
) -> str:
    """The page of a study as HTML.

    Args:
        figures: What it shows.
        name: Name of the study.
        written: When, as the reader should see it.
        under_way: Runs that are made at this moment, and by whom.
        cost: What tuning costs in GPU-hours, where that is known.
        library: Whether the chart library is in the page.
        live: For a page that asks for later revisions; `None` for one that stands alone.
    """
    page = _environment().get_template("report.html.jinja")
    return page.render(
        figures=figures,
        best=figures.recommendation,
        study=figures.study,
        target=figures.study.target,
        equivalent=equivalent_flops(figures),
        width=_octaves(*figures.recommendation.interval_90),
        record=recommendation_record(figures.recommendation, cost),
        charts=charts(figures),
        config=config_text(figures, name, cost),
        missing=missing(figures),
        per_doubling=_per_doublings(figures),
        counts=_counts(figures),
        opinions=_opinions(figures),
        runs=_runs(figures),
        under_way=under_way,
        cost=cost,
        spend_counts=spend_counts(figures.history),
        least_acceptance=LEAST_ACCEPTANCE,
        surprise=SURPRISE,
        name=name,
        written=written,
        version=version("horizon-bo"),
        live=live,
        policy=Markup(security_policy(live=live is not None)),
        library=_text(_LIBRARY) if library else None,
        style=_text("report.css"),
        script=_text(_SCRIPT),
    )


@cache
def security_policy(*, live: bool) -> str:
    """What a browser may do with the page: run its two scripts, which are named by their hashes.

    Styles are not held to that, since the chart library writes its own.
    """
    hashes = [sha256(_text(name).encode()).digest() for name in (_LIBRARY, _SCRIPT)]
    own = "'self'" if live else "'none'"
    scripts = " ".join(f"'sha256-{b64encode(each).decode()}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {own}; base-uri 'none'; form-action 'none'"
    )


def workers_part(under_way: UnderWay) -> str:
    """The part of a page that says which runs are made at this moment, and by whom."""
    return _environment().get_template("workers.html.jinja").render(under_way=under_way)


def recommendation_record(best: Recommendation, cost: GpuHours | None) -> dict[str, Any]:
    """What `recommend --json` prints."""
    return {**asdict(best), "gpu_hours": None if cost is None else asdict(cost)}


def equivalent_flops(figures: StudyFigures) -> float:
    """Target compute that would buy the expected regret back, FLOP."""
    best, target = figures.recommendation, figures.study.target
    return best.expected_overhead * target.flops - best.spent


def config_text(figures: StudyFigures, name: str, cost: GpuHours | None = None) -> str:
    """The target's run as YAML to paste into a training config."""
    target, best = figures.study.target, figures.recommendation
    low, high = (shown(end, "rate") for end in best.interval_90)
    batch = best.batch_tokens
    lines = [
        f"# horizon-bo {version('horizon-bo')}, study {_one_line(name)}",
        f"# 90 % interval of the best rate: {low} to {high}",
        *([] if cost is None else [_cost_comment(cost)]),
        f"learning_rate: {plain_rate(best.learning_rate)}",
        f"params: {plain_count(target.params)}",
        f"tokens: {plain_count(target.tokens)}",
        *([] if batch is None else [f"batch_tokens: {plain_count(batch)}"]),
        f"schedule: {json.dumps(target.schedule)}",
        f"averaging: {json.dumps(target.averaging)}",
        *(f"{name}: {value:g}" for name, value in target.inputs.items()),
    ]
    return "\n".join(lines)


def _cost_comment(cost: GpuHours) -> str:
    """What the run takes and what its tuning took, as a comment."""
    target, spent = (shown(hours, "hours") for hours in (cost.target, cost.spent))
    return f"# about {target} GPU-hours; tuning took {spent}"


def _one_line(text: str) -> str:
    """The text without what would end a comment, or steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def missing(figures: StudyFigures) -> str | None:
    """What the study lacks for an answer of its own, in a sentence; `None` where nothing."""
    status = figures.runs.status
    if (status == "completed").any():
        return None
    if not len(status):
        return (
            "This study has no run yet. Everything below is what published laws and recipes, or "
            "your own guess, say; make a first run or import logged ones."
        )
    if (status == "diverged").any():
        return (
            "No run of this study has reached a loss: those that ended diverged, so they only say "
            "which rates are too high. Make runs at lower rates."
        )
    return (
        "No run of this study has reported a loss yet. Everything below is the guess it started "
        "from; report the runs that are under way."
    )


def _octaves(low: float, high: float) -> float:
    """How many factors of two lie between two rates."""
    return math.log2(high) - math.log2(low)


def _per_doublings(figures: StudyFigures) -> dict[str, float]:
    return {
        "tokens": _per_doubling(figures.over_tokens),
        "params": _per_doubling(figures.over_params),
    }


def _per_doubling(curve: OptimumFigure) -> float:
    """Factor by which the best rate moves when tokens or params double, along the curve."""
    rates, counts = curve.median[[0, -1]], curve.at[[0, -1]]
    return float(2.0 ** (np.log(rates[1] / rates[0]) / np.log(counts[1] / counts[0])))


def _counts(figures: StudyFigures) -> dict[str, int]:
    status = figures.runs.status
    return {
        name: int((status == name).sum()) for name in ("completed", "diverged", "failed", "pending")
    }


def _opinions(figures: StudyFigures) -> list[dict[str, Any]]:
    """Others' rates, the one we expect to lose least first."""
    others, best = figures.opinions, figures.recommendation
    return [
        {
            "title": opinion_title(figures, str(others.name[k])),
            "learning_rate": others.learning_rate[k],
            "octaves": math.log2(others.learning_rate[k] / best.learning_rate),
            "expected_regret": others.expected_regret[k],
            "inside": bool(others.inside[k]),
            "source": str(others.source[k]),
        }
        for k in np.argsort(others.expected_regret)
    ]


def _runs(figures: StudyFigures) -> list[dict[str, Any]]:
    """All runs, the one that told most first."""
    runs = figures.runs
    order = np.argsort(-np.nan_to_num(runs.regret_removed, nan=-1.0), kind="stable")
    return [
        {field.name: getattr(runs, field.name)[k].item() for field in fields(runs)} for k in order
    ]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lasting"] = lasting
    environment.filters["numeral"] = numeral
    environment.filters["shown"] = shown
    return environment


def _text(name: str) -> Markup:
    return Markup((files(_HERE) / "templates" / name).read_text(encoding="utf-8"))
