"""Figures over the search space: parallel coordinates and hyperparameter importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Constant

from surrogates.evaluation.importance import Importance
from surrogates.space.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis, make_axis
from tasks.report.figures import BLUE, GREY, SCORE_SCALE, apply_layout, continued_trials
from tasks.runs.formatting import format_setting


def axes_of(space: Mapping[str, Any]) -> dict[str, Axis]:
    """The searched hyperparameters of a space in ConfigSpace's JSON form, by name."""
    parsed = ConfigurationSpace.from_serialized_dict(dict(space))
    return {h.name: make_axis(h) for h in parsed.values() if not isinstance(h, Constant)}


def final_configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials with a score, each configuration once: a continuation replaces its beginning."""
    return trials[trials.final.notna() & ~trials.trial_id.isin(continued_trials(trials))]


def parallel_coordinates(trials: pd.DataFrame, axes: Mapping[str, Axis]) -> go.Figure:
    """One line a trial over the score and all given hyperparameters.

    Args:
        trials: rows with a final score (``scored``).
        axes: the hyperparameters to draw, from left to right.
    """
    low, high = float(trials.final.min()), float(trials.final.max())
    pad = 0.05 * (high - low) or 0.05
    score = {"label": "score", "values": trials.final, "range": [low - pad, high + pad]}
    dimensions = [score] + [
        _dimension(axis, [config.get(name) for config in trials.config])
        for name, axis in axes.items()
    ]
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={
                "color": trials.final,
                "colorscale": SCORE_SCALE,
                "cmin": low,
                "cmax": high if high > low else low + 1e-9,
            },
            labelangle=-25,
            labelfont={"size": 12},
            tickfont={"size": 11},
            rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        )
    )
    return apply_layout(figure, 460, margin={"l": 60, "r": 50, "t": 100, "b": 24})


def _dimension(axis: Axis, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of the figure. What is not set lies below the range, on a tick of its own."""
    ticks: list[Any]
    if isinstance(axis, NumberAxis):
        low, high = (math.log10(e) if axis.log else e for e in (axis.lower, axis.upper))
        ticks = _log_ticks(axis.lower, axis.upper) if axis.log else _linear_ticks(axis)
        places = [math.log10(tick) if axis.log else tick for tick in ticks]
    else:
        steps = _steps(axis)
        low, high = 0.0, float(max(len(steps) - 1, 1))
        ticks, places = list(steps), [float(rank) for rank in range(len(steps))]
    below = low - 0.15 * (high - low)
    numbers = [_place(axis, value) for value in values]
    if any(math.isnan(n) for n in numbers):
        numbers = [below if math.isnan(n) else n for n in numbers]
        ticks, places, low = [None, *ticks], [below, *places], below
    return {
        "label": axis.name,
        "values": numbers,
        "range": [low, high],
        "tickvals": places,
        "ticktext": [format_setting(tick) for tick in ticks],
    }


def _steps(axis: Axis) -> tuple[Any, ...]:
    if isinstance(axis, OrdinalAxis):
        return axis.sequence
    assert isinstance(axis, ChoiceAxis)
    return axis.choices


def _place(axis: Axis, value: Any) -> float:
    """Position on the axis: log10 or plain number, or rank among the choices; NaN if not set."""
    if isinstance(axis, ChoiceAxis):
        index = {str(choice): rank for rank, choice in enumerate(axis.choices)}
        return float(index.get(axis.feature(value), math.nan))
    feature = axis.feature(value)
    return feature if isinstance(feature, float) else math.nan


def _log_ticks(lower: float, upper: float) -> list[float]:
    """Powers of ten in the range; on less than two decades also 2 and 5 times those."""
    factors = (1,) if math.log10(upper / lower) >= 2 else (1, 2, 5)
    decades = range(math.floor(math.log10(lower)), math.ceil(math.log10(upper)) + 1)
    ticks = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    inside = [tick for tick in ticks if lower * 0.999 <= tick <= upper * 1.001]
    return inside if len(inside) >= 2 else [lower, upper]


def _linear_ticks(axis: NumberAxis) -> list[float]:
    ticks = np.linspace(axis.lower, axis.upper, 5)
    return sorted({round(float(t)) for t in ticks}) if axis.integer else [float(t) for t in ticks]


def importance(ranking: Importance, rows: int = 12) -> go.Figure:
    """Bars, the most important on top, at most ``rows``; grey where they are not to be trusted."""
    shown = ranking.table.head(rows)
    figure = go.Figure(
        go.Bar(
            x=shown.importance,
            y=shown.name,
            orientation="h",
            marker={"color": BLUE if ranking.trusted else GREY},
            error_x={"array": shown.sd, "color": "#5A5A5A", "thickness": 1.5},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    apply_layout(figure, 90 + 28 * len(shown), margin={"t": 8})
    figure.update_xaxes(title_text="rise of the squared error when shuffled")
    return figure.update_yaxes(autorange="reversed", showgrid=False)
