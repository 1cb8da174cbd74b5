"""Regret over the budget as a picture: a line a strategy, with its band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from benchmarks.insights.pictures import titled, write_pictures
from benchmarks.replay.strategies import STRATEGIES
from benchmarks.replay.summary import FINE, Found, band, label
from trials.io.errors import SettingsError

FLOOR = 1e-3  # a regret of 0 has no place on a logarithmic axis
HEIGHT = 560
DASHES = {"own": "solid", "peer": "dash", "transfer peer": "dot"}


def regret_figure(found: Found) -> go.Figure:
    """Mean normalised regret against the share of the budget; ablations are left to the table."""
    figure = go.Figure()
    shown = [key for key in found.fine if STRATEGIES[key[0]].kind != "ablation"]
    for number, key in enumerate(shown):
        colour = qualitative.Dark24[number % len(qualitative.Dark24)]
        mean, low, high = (np.maximum(part, FLOOR) for part in band(found.fine[key]))
        name, shares = label(key), np.array(FINE)
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
        dash = DASHES[STRATEGIES[key[0]].kind]
        figure.add_scatter(
            x=shares, y=mean, name=name, legendgroup=name, line={"color": colour, "dash": dash}
        )
    figure.update_xaxes(title="share of the budget", tickformat=".0%")
    figure.update_yaxes(title="normalised regret", type="log")
    title = "Regret of the incumbent, mean over datasets left out (band: 95 %)"
    legend = {"orientation": "v", "yref": "paper", "x": 1.01, "y": 1.0, "yanchor": "top"}
    margin = {"l": 60, "r": 200, "t": 60, "b": 50}
    return titled(figure, HEIGHT, title, legend=legend, margin=margin)


def draw(found: Found, page: Path, picture: Path | None) -> list[str]:
    """Write the page, and the picture where one is asked for and can be drawn.

    Returns:
        What was written, and why what was not was not.
    """
    figure = regret_figure(found)
    page.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(page, include_plotlyjs=True)
    said = [f"page: {page}"]
    if picture is not None:
        try:
            [file] = write_pictures({picture.stem: figure}, picture.parent)
            said.append(f"picture: {file}")
        except SettingsError as error:
            said.append(str(error))
    return said
