"""Regret over the budget as a picture: one line per strategy, with its band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from benchmarks.pictures import titled, write_pictures
from benchmarks.replay.results import FINE_SHARES, Results, band, label
from benchmarks.replay.strategies import STRATEGIES
from trials.io.errors import SettingsError

FLOOR = 1e-3  # a regret of 0 has no place on a logarithmic axis
HEIGHT = 560
DASHES = {"own": "solid", "peer": "dash", "transfer peer": "dot"}


def regret_figure(results: Results) -> go.Figure:
    """Mean normalised regret against the share of the budget; ablations are in the table only."""
    figure = go.Figure()
    shares = np.array(FINE_SHARES)
    shown = [key for key in results.curves if STRATEGIES[key[0]].kind != "ablation"]
    for number, key in enumerate(shown):
        colour = qualitative.Dark24[number % len(qualitative.Dark24)]
        curves = results.curves[key][FINE_SHARES].to_numpy()
        mean, low, high = (np.maximum(part, FLOOR) for part in band(curves))
        name, dash = label(key), DASHES[STRATEGIES[key[0]].kind]
        figure.add_scatter(
            x=np.concatenate([shares, shares[::-1]]),
            y=np.concatenate([high, low[::-1]]),
            fill="toself",
            fillcolor=colour,
            opacity=0.12,
            line={"width": 0},
            hoverinfo="skip",
            legendgroup=name,
            showlegend=False,
        )
        figure.add_scatter(
            x=shares, y=mean, name=name, legendgroup=name, line={"color": colour, "dash": dash}
        )
    figure.update_xaxes(title="share of the budget", tickformat=".0%")
    figure.update_yaxes(title="normalised regret", type="log")
    title = "Regret of the incumbent, mean over datasets left out (band: 95 %)"
    legend = {"orientation": "v", "yref": "paper", "x": 1.01, "y": 1.0, "yanchor": "top"}
    margin = {"l": 60, "r": 200, "t": 60, "b": 50}
    return titled(figure, HEIGHT, title, legend=legend, margin=margin)


def draw(results: Results, page: Path, picture: Path | None) -> list[str]:
    """Write the page, and the picture if a file is given and it can be drawn.

    Returns:
        One line per file, or the reason why there is no picture.
    """
    figure = regret_figure(results)
    page.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(page, include_plotlyjs=True)
    lines = [f"page: {page}"]
    if picture is not None:
        try:
            [file] = write_pictures({picture.stem: figure}, picture.parent)
            lines.append(f"picture: {file}")
        except SettingsError as error:
            lines.append(str(error))
    return lines
