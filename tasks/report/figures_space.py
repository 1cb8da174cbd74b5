"""Figures over the search space: parallel coordinates and hyperparameter importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from surrogates.evaluation.importance import Importance
from surrogates.space.axes import Axis, NumberAxis
from surrogates.space.ticks import position, ticks
from tasks.report.figures import BLUE, GREY, SCORE_SCALE, apply_layout, continued_trials
from tasks.runs.formatting import format_setting


def final_configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """The target's trials with a score, each configuration once.

    A continuation replaces its beginning. A proxy's scores are left out: its level and its best
    learning rates are others, which would pass for effects of the hyperparameters.
    """
    return trials[trials.final.notna() & ~trials.trial_id.isin(continued_trials(trials))]


def parallel_coordinates(trials: pd.DataFrame, axes: Mapping[str, Axis]) -> go.Figure:
    """One line per trial (``final_configurations``) over the score and given hyperparameters."""
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
    labels = ticks(axis)
    places = [position(axis, label) for label in labels]
    if isinstance(axis, NumberAxis):
        low, high = position(axis, axis.lower), position(axis, axis.upper)
    else:
        low, high = 0.0, float(max(len(labels) - 1, 1))
    numbers = np.array([position(axis, value) for value in values])
    if np.isnan(numbers).any():
        below = low - 0.15 * (high - low)
        numbers = np.nan_to_num(numbers, nan=below)
        labels, places, low = [None, *labels], [below, *places], below
    return {
        "label": axis.name,
        "values": numbers.tolist(),
        "range": [low, high],
        "tickvals": places,
        "ticktext": [format_setting(label) for label in labels],
    }


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
