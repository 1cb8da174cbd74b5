"""Figures of a run: progress, prior against observation, cost. Tables in, figures out.

Tables are those of ``tasks.runs.tables``. Colours of text, grid and background are left to the
page, so that one figure serves a light and a dark one.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasks.runs.folder import ModelScores
from tasks.runs.formatting import (
    Z95,
    format_duration,
    format_number,
    format_setting,
    percent,
    plus_minus,
)
from tasks.runs.tables import UNFINISHED, iter_rows

# After Okabe and Ito: distinguishable with every common colour blindness, on light and dark.
BLUE, SKY, ORANGE, GREEN = "#1F83D1", "#56B4E9", "#E69F00", "#009E73"
RED, GREY = "#D55E00", "#8C8C8C"
# Low to high score; every colour stands out from white and from near-black.
SCORE_SCALE = [(0.0, "#E08A00"), (0.5, "#A58BA8"), (1.0, "#1F83D1")]
TRIAL_STYLES = {
    "full length": (BLUE, "circle"),
    "partial": (SKY, "circle-open"),
    "stopped": (ORANGE, "diamond"),
    "failed": (RED, "x"),
    UNFINISHED: (GREY, "circle-open-dot"),
}
# Of the trials on proxies, one after another: no colour of the target's.
PROXY_STYLES = (("#CC79A7", "square-open"), ("#7B5EA7", "triangle-up-open"))
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def apply_layout(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Applies the layout that all figures share."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13},
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        hoverlabel={"align": "left", "font": {"family": FONT, "size": 12}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
    )
    title = {"font_size": 13, "standoff": 8}
    axis = {"gridcolor": "#D9D9D9", "zeroline": False, "automargin": True, "title": title}
    return figure.update_xaxes(axis).update_yaxes(axis).update_layout(**layout)


def hover_config(config: Mapping[str, Any]) -> str:
    """A configuration as lines of hover text; what is not set is left out."""
    lines = [
        f"{name} = {format_setting(value)}" for name, value in config.items() if value is not None
    ]
    return "<br>".join(html.escape(line) for line in lines)


def trial_ending(row: Any) -> str:
    """How a trial ended, whatever model it ran on: a key of ``TRIAL_STYLES``."""
    if row.state == "completed":
        return "full length" if row.fraction >= 1 else "partial"
    return str(row.state)


def trial_style(row: Any) -> str:
    """The key of ``trial_styles`` for a trial; those with a proxy's score are told apart by it."""
    scored = row.state in ("completed", "stopped")
    return f"on {row.model}" if row.model and scored else trial_ending(row)


def trial_styles(trials: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each kind of trial, with one for each proxy."""
    proxies = (model for model in dict.fromkeys(trials.model) if model)
    styles = zip(proxies, itertools.cycle(PROXY_STYLES))
    return TRIAL_STYLES | {f"on {model}": style for model, style in styles}


def _hover(row: Any) -> str:
    origin = html.escape(f"{row.origin} on {row.model}" if row.model else row.origin)
    head = f"<b>{html.escape(row.trial_id)}</b> · {origin} · {row.state}"
    reason = f" ({html.escape(row.reason)})" if row.reason else ""
    score = f"score {plus_minus(row.score, row.score_se)} at {percent(row.fraction)} of full length"
    predicted = ""
    if not math.isnan(row.predicted):
        of = " of the tuned model" if row.model else ""
        predicted = f"<br>predicted final{of} {plus_minus(row.predicted, row.predicted_sd)}"
    return f"{head}{reason}<br>{score}{predicted}<br>{hover_config(row.config)}"


def continued_trials(trials: pd.DataFrame) -> set[str]:
    """Trials that are the beginning of another one, which continued them and has a score."""
    return set(trials[trials.score.notna()].continues) & set(trials.trial_id)


def _marker(color: str, symbol: str) -> dict[str, Any]:
    # The outline too: without it plotly draws a dark one, which a dark page swallows.
    return {"color": color, "symbol": symbol, "size": 10, "line": {"width": 2, "color": color}}


def comparison(measured: Mapping[str, ModelScores]) -> go.Figure:
    """Test and validation scores by name, the first on top, with 95 % intervals."""
    figure = go.Figure()
    for split, symbol, color, shift in (
        ("test", "circle", BLUE, -0.13),
        ("validation", "circle-open", GREY, 0.13),
    ):
        scores = [getattr(each, split) for each in measured.values()]
        errors = np.array([getattr(each, f"{split}_se") for each in measured.values()])
        figure.add_scatter(
            x=scores,
            y=[place + shift for place in range(len(measured))],
            mode="markers",
            name=f"{split} score",
            marker=_marker(color, symbol),
            error_x={"array": Z95 * errors, "color": color, "thickness": 1.5, "width": 5},
            text=[
                f"{name}, {split}: {plus_minus(score, se)}"
                for name, score, se in zip(measured, scores, errors, strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    apply_layout(figure, 120 + 44 * len(measured), margin={"t": 40})
    figure.update_xaxes(title_text="score (bars: 95 % interval)")
    return figure.update_yaxes(
        tickvals=list(range(len(measured))),
        ticktext=list(measured),
        range=[len(measured) - 0.5, -0.5],
        showgrid=False,
    )


def progress(trials: pd.DataFrame, base: float, default: float | None) -> go.Figure:
    """Best full-length validation score so far, against trial time and against trials.

    Beside it the validation scores of the base model and, once it is known, of the default. Trials
    of proxies have marks of their own, as their scores are those of other models.
    """
    counts = pd.Series(np.arange(1, len(trials) + 1), index=trials.index)
    axes = (trials.cumulative_seconds, counts)
    levels = [base] if default is None else [base, default]
    floor = float(np.nanmin([*levels, *trials.score]))
    figure = go.Figure()
    choices: tuple[list[list[float]], list[list[float]]] = ([], [])

    def add(positions: Sequence[Sequence[float]], **trace: Any) -> None:
        for choice, x in zip(choices, positions, strict=True):
            choice.append(list(x))
        figure.add_scatter(x=list(positions[0]), **trace)

    ends = [max((float(x) for x in axis), default=1.0) for axis in axes]
    full = trials[trials.full_length & trials.score.notna()]
    if len(full):
        best = full.score.cummax()
        add(
            [[*axis[full.index], end] for axis, end in zip(axes, ends, strict=True)],
            y=[*best, best.iloc[-1]],
            mode="lines",
            name="best so far",
            line={"color": BLUE, "width": 3, "shape": "hv"},
            hovertemplate="best so far: %{y:.3f}<extra></extra>",
        )
    for name, level, dash in (("default", default, "dash"), ("base model", base, "dot")):
        if level is not None:
            add(
                [[0, end] for end in ends],
                y=[level, level],
                mode="lines",
                name=name,
                line={"color": GREEN if name == "default" else GREY, "width": 2, "dash": dash},
                hovertemplate=f"{name}: {format_number(level)}<extra></extra>",
            )
    kinds = pd.Series([trial_style(row) for row in iter_rows(trials)], index=trials.index)
    for kind, (color, symbol) in trial_styles(trials).items():
        rows = trials[(kinds == kind) & ((kind == "failed") | trials.score.notna())]
        if len(rows):
            add(
                [list(axis[rows.index]) for axis in axes],
                y=rows.score.fillna(floor),
                mode="markers",
                name=html.escape(kind),
                marker=_marker(color, symbol),
                text=[_hover(row) for row in iter_rows(rows)],
                hovertemplate="%{text}<extra></extra>",
            )
    titles = ("trial time, added up (s)", "trials")
    apply_layout(figure, 440, updatemenus=[_axis_choice(choices, titles)])
    # The legend goes below: on a narrow page it needs several lines, which the buttons would cover.
    below = {"y": -0.22, "yanchor": "top"}
    figure.update_layout(margin={"t": 60}, hovermode="closest", legend=below)
    figure.update_xaxes(title_text=titles[0], rangemode="tozero")
    return figure.update_yaxes(title_text="validation score")


def _axis_choice(choices: Sequence[Any], titles: Sequence[str]) -> dict[str, Any]:
    """Buttons that put other values on the x axis of every trace."""
    buttons = [
        {"label": label, "method": "update", "args": [{"x": xs}, {"xaxis.title.text": title}]}
        for label, xs, title in zip(("by trial time", "by trials"), choices, titles, strict=True)
    ]
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "pad": {"b": 4}}
    return {"type": "buttons", "direction": "right", "buttons": buttons, **place}


def prior_against_observed(trials: pd.DataFrame) -> go.Figure:
    """The prior of each configuration against the score of its trials (``observed_with_prior``)."""
    figure = go.Figure()
    for full, name, symbol in (
        (True, "score at full length (± se)", "circle"),
        (False, "partial or stopped: predicted final (± sd), else last score", "circle-open"),
    ):
        rows = trials[trials.full_length == full]
        if len(rows):
            figure.add_scatter(
                x=rows.prior,
                y=rows.final,
                mode="markers",
                name=name,
                marker=_marker(BLUE if full else SKY, symbol),
                error_y={"array": rows.final_se.fillna(0.0), "color": GREY, "thickness": 1.2},
                text=[_hover(row) for row in iter_rows(rows)],
                hovertemplate="prior %{x:.3f}<br>%{text}<extra></extra>",
            )
    apply_layout(figure, 400, margin={"t": 56}, hovermode="closest", showlegend=True)
    figure.update_xaxes(title_text="ranker's prior")
    return figure.update_yaxes(title_text="observed")


def observed_with_prior(trials: pd.DataFrame) -> pd.DataFrame:
    """The target's trials with a prior and an observation, each configuration once."""
    rows = trials[~trials.trial_id.isin(continued_trials(trials))]
    return rows[rows.prior.notna() & rows.final.notna()]


def cost(spent: float, full: float) -> go.Figure:
    """Trial time spent, beside the estimate for running every configuration in full (seconds)."""
    figure = go.Figure(
        go.Bar(
            x=[spent, full],
            y=["spent", "all in full"],
            orientation="h",
            marker={"color": [BLUE, GREY]},
            text=[format_duration(spent), format_duration(full)],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    apply_layout(figure, 170, margin={"t": 8, "r": 90})
    figure.update_xaxes(title_text="trial time (s)")
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def fractions(trials: pd.DataFrame) -> go.Figure:
    """Share of full length that each trial ran, in the order of the proposals."""
    figure = go.Figure()
    kinds = pd.Series([trial_style(row) for row in iter_rows(trials)], index=trials.index)
    for kind, (color, _) in trial_styles(trials).items():
        rows = trials[(kinds == kind) & trials.fraction.notna()]
        if len(rows):
            figure.add_bar(
                x=rows.label,
                y=rows.fraction,
                name=html.escape(kind),
                marker={"color": color},
                text=[_hover(row) for row in iter_rows(rows)],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
    apply_layout(figure, 300, margin={"t": 48}, bargap=0.25, showlegend=True)
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=list(trials.label), showgrid=False
    )
    return figure.update_yaxes(title_text="share of full length", range=[0, 1.02], tickformat=".0%")
