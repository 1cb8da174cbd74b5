"""Figures of what the history says of hyperparameters: importance, marginal effects, pairs.

Tables are those of ``benchmarks.insights.steps``; bars of error are standard errors over datasets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.insights.figures_evidence import agreement_figure, rules_figure
from benchmarks.insights.landscape import SHARED
from benchmarks.insights.marginals import compact
from benchmarks.insights.pictures import titled
from tasks.report.figures import BLUE, GREEN, GREY, ORANGE

STAGE_COLOURS = {"sft": BLUE, "rl": ORANGE, "dpo": GREEN, SHARED: GREY}
STAGE_NAMES = {"sft": "SFT", "rl": "RL", "dpo": "DPO", SHARED: "all stages"}
# Worse than the dataset's mean, the mean, better: told apart without red and green.
DIVERGING = [(0.0, "#D55E00"), (0.5, "#FFFFFF"), (1.0, "#1F83D1")]


def all_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, go.Figure]:
    """Every figure that the tables have something for, by the name of its file."""
    figures = {
        "importance": importance_figure(tables["importance"]),
        "marginals": marginal_figure(tables["marginals"], tables["importance"]),
        "rules": rules_figure(tables["rules"]),
        "pairs": pair_figure(tables["pairs"], tables["interactions"]),
        "agreement": agreement_figure(tables["agreement_by_dataset"], tables["retest"]),
    }
    return {f"insights-{name}": figure for name, figure in figures.items() if figure is not None}


def importance_figure(table: pd.DataFrame) -> go.Figure:
    """Two panels, one bar a hyperparameter: shared effect with its null, and own effect."""
    titles = ["the same way in every dataset", "within a dataset, whichever way there"]
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles
    )
    for stage, part in table.groupby("stage", sort=False):
        for column, name in enumerate(("main", "own"), start=1):
            figure.add_bar(
                x=100 * part[name],
                y=part["hyperparameter"],
                orientation="h",
                error_x={"array": 100 * part[f"{name}_se"], "thickness": 1, "width": 2},
                marker_color=STAGE_COLOURS[str(stage)],
                name=STAGE_NAMES[str(stage)],
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.add_scatter(
        x=100 * table["null95"],
        y=table["hyperparameter"],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 13, "color": "black", "line_width": 2},
        name="95 % of shuffled scores stay below",
        row=1,
        col=1,
    )
    figure.update_yaxes(categoryorder="array", categoryarray=table["hyperparameter"][::-1])
    figure.update_xaxes(title="share of the score's variance, %", zeroline=True, zerolinecolor=GREY)
    return titled(
        figure,
        110 + 26 * len(table),
        "Which hyperparameters decide the score: share of its variance ± standard error",
    )


def marginal_figure(table: pd.DataFrame, order: pd.DataFrame, columns: int = 4) -> go.Figure:
    """One small panel a hyperparameter, the most important first: mean score by value."""
    names = [n for n in order["hyperparameter"] if n in set(table["hyperparameter"])]
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all",
        subplot_titles=names,
        vertical_spacing=0.3 / rows,
        horizontal_spacing=0.02,
    )
    for number, name in enumerate(names):
        part = table[table["hyperparameter"] == name]
        figure.add_scatter(
            x=[_label(row) for row in part.to_dict("records")],
            y=part["effect"],
            error_y={"array": part["effect_se"], "thickness": 1, "width": 3},
            mode="markers" if part["centre"].isna().all() else "lines+markers",
            marker_color=STAGE_COLOURS[str(part["stage"].iloc[0])],
            showlegend=False,
            row=number // columns + 1,
            col=number % columns + 1,
        )
    figure.update_xaxes(type="category", tickfont_size=11, tickangle=0)
    figure.update_yaxes(zeroline=True, zerolinecolor=GREY, tickfont_size=11)
    _small_titles(figure)
    title = "Mean score by value ± standard error, in standard deviations of a dataset's scores"
    return titled(figure, 90 + 165 * rows, title, margin={"l": 60, "r": 20, "t": 70, "b": 40})


def pair_figure(cells: pd.DataFrame, pairs: pd.DataFrame) -> go.Figure | None:
    """A heat map for each of the strongest pairs."""
    if cells.empty:
        return None
    names = list(dict.fromkeys(zip(cells["first"], cells["second"], strict=True)))
    known = pairs.set_index(["first", "second"])
    titles = []
    for pair in names:
        found = known.loc[pair]
        beyond = "above" if found["share"] > found["null95_largest"] else "within"
        titles.append(f"{100 * found['share']:.2g} % of the variance, {beyond} chance")
    rows = math.ceil(len(names) / 2)
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=titles,
        vertical_spacing=0.3 / rows, horizontal_spacing=0.16,
    )  # fmt: skip
    limit = float(np.nanmax(np.abs(cells["effect"])))
    for number, (first, second) in enumerate(names):
        part = cells[(cells["first"] == first) & (cells["second"] == second)]
        row, col = number // 2 + 1, number % 2 + 1
        figure.add_heatmap(
            x=part["second_bin"],
            y=part["first_bin"],
            z=part["effect"],
            text=[
                f"{effect:+.2f} ± {se:.2f}".replace("-", "−")
                for effect, se in zip(part["effect"], part["effect_se"], strict=True)
            ],
            texttemplate="%{text}",
            textfont={"size": 11, "color": "black"},
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            row=row,
            col=col,
        )
        figure.update_xaxes(
            title=second, type="category", tickfont_size=11, tickangle=0, row=row, col=col
        )
        figure.update_yaxes(title=first, type="category", tickfont_size=11, row=row, col=col)
    _small_titles(figure)
    scale = {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "showscale": False}
    title = "Pairs that act together most: mean score ± standard error, in standard deviations"
    return titled(
        figure, 90 + 300 * rows, title, coloraxis=scale, margin={"l": 60, "r": 20, "t": 80, "b": 50}
    )


def _small_titles(figure: go.Figure) -> None:
    figure.update_annotations(font_size=13)


def _label(row: Mapping[Any, Any]) -> str:
    """A bin by its middle, or its name."""
    centre = float(row["centre"])
    return compact(centre) if math.isfinite(centre) else str(row["bin"])
