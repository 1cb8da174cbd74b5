"""Curves of the trials: one figure per metric, one line per trial, coloured by final score."""

from __future__ import annotations

import html
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasks.report.figures import GREY, SCORE_SCALE, apply_layout, continued_trials, hover_config
from tasks.runs.tables import iter_rows

SMOOTHING_STEPS = 5


def trial_colors(trials: pd.DataFrame) -> dict[str, str]:
    """A colour for each trial id, by final score; grey where there is none, as on a proxy."""
    low, high = trials.final.min(), trials.final.max()
    span = high - low if high > low else 1.0
    return {
        row.trial_id: GREY if math.isnan(row.final) else _on_scale((row.final - low) / span)
        for row in iter_rows(trials)
    }


def _on_scale(position: float) -> str:
    places = [place for place, _ in SCORE_SCALE]
    channels = [[int(c[i : i + 2], 16) for _, c in SCORE_SCALE] for i in (1, 3, 5)]
    red, green, blue = (round(np.interp(position, places, channel)) for channel in channels)
    return f"#{red:02X}{green:02X}{blue:02X}"


def curve(
    curves: pd.DataFrame,
    trials: pd.DataFrame,
    metric: str,
    title: str,
    stage: str | None = None,
    best: str | None = None,
) -> go.Figure:
    """One metric against the step, one line per trial, coloured by final score, the best thicker.

    Trials that were continued are drawn by their continuation. Without a stage the points of both
    are drawn, and marks where RL begins.
    """
    points = curves[(curves.metric == metric) & ((curves.stage == stage) | (stage is None))]
    colors, hidden = trial_colors(trials), continued_trials(trials)
    smooth = metric != "score"
    figure = go.Figure()
    for row in iter_rows(trials):
        own = points[points.trial_id == row.trial_id].sort_values("step")
        if own.empty or row.trial_id in hidden:
            continue
        on = f"on {html.escape(row.model)}<br>" if row.model else ""
        mean = own.value.rolling(SMOOTHING_STEPS, min_periods=1).mean() if smooth else own.value
        figure.add_scatter(
            x=own.step,
            y=[float(f"{value:.5g}") for value in mean],
            mode="lines" if smooth else "lines+markers",
            name=html.escape(row.trial_id),
            meta=row.trial_id,
            line={
                "color": colors[row.trial_id],
                "width": 3.5 if row.trial_id == best else 1.5,
                "dash": "dash" if row.origin == "default" else "dot" if row.model else "solid",
            },
            marker={"symbol": ["circle" if s == "sft" else "diamond" for s in own.stage]},
            text=on + hover_config(row.config),
            hovertemplate=f"<b>%{{meta}}</b> · step %{{x}} · %{{y:.4g}}<br>%{{text}}"
            f"<extra>{html.escape(title)}</extra>",
        )
    apply_layout(figure, 300, showlegend=False, hovermode="closest")
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text=title)
    positive = points.value[points.value > 0]
    if metric == "kl" and len(positive) and positive.max() > 100 * positive.median():
        figure.update_yaxes(type="log", title_text=f"{title}, log scale")
    if stage is None:
        _mark_boundaries(figure, curves[~curves.trial_id.isin(hidden)], colors)
    return figure


def _mark_boundaries(figure: go.Figure, curves: pd.DataFrame, colors: dict[str, str]) -> None:
    """Marks the start of RL: one line if all trials share the step, else a mark for each."""
    sft = curves[curves.stage == "sft"].groupby("trial_id").step.max()
    begun = set(curves[curves.stage == "rl"].trial_id)
    ends = sft[[trial for trial in sft.index if trial in begun]]
    if ends.nunique() == 1:
        figure.add_vline(
            x=float(ends.iloc[0]) + 0.5,
            line={"color": GREY, "dash": "dot", "width": 1.5},
            annotation={"text": "RL begins", "yanchor": "bottom", "y": 1, "xanchor": "center"},
        )
        return
    for trial, step in ends.items():
        figure.add_scatter(
            x=[float(step) + 0.5],
            y=[0],
            yaxis="y2",
            mode="markers",
            meta=trial,
            marker={
                "symbol": "line-ns",
                "size": 14,
                "line": {"width": 2, "color": colors[str(trial)]},
            },
            hovertemplate="<b>%{meta}</b>: RL begins<extra></extra>",
        )
    # An axis of its own keeps the marks on the floor of the plot, whatever the scores are.
    figure.update_layout(
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    )
