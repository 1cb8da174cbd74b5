"""Figures as pictures, for pages in Markdown, which cannot show a figure itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.io import write_images

from tasks.output import escape
from tasks.report.figures import apply_layout
from trials.io.errors import SettingsError

WIDTH = 960


def titled(figure: go.Figure, height: int, title: str, **layout: Any) -> go.Figure:
    """A figure with a title on white, for pages whose background is not ours to choose.

    A name of traces stands in its legend once.
    """
    known: set[str] = set()
    for trace in figure.data:
        if trace.name in known:
            trace.showlegend = False
        known.add(trace.name)
    legend = {"orientation": "h", "yref": "container", "y": 1.0 - 40 / height, "yanchor": "top"}
    heading = {"text": title, "x": 0.01, "y": 1.0, "yanchor": "top", "pad": {"t": 14}}
    return apply_layout(
        figure,
        height,
        **{
            "width": WIDTH,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "margin": {"l": 60, "r": 20, "t": 100, "b": 50},
            "title": heading | {"font_size": 17},
            "legend": legend | {"x": 0, "title": None},
        }
        | layout,
    )


def write_pictures(figures: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    """Write each figure as an SVG picture, named as in the mapping.

    Raises:
        SettingsError: kaleido is not installed, or finds no Chrome or Chromium.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.svg" for name in figures]
    heights = [figure.layout.height for figure in figures.values()]
    try:
        drawn = [go.Figure(escape.figure_json(figure)) for figure in figures.values()]
        write_images(drawn, files, width=WIDTH, height=heights)
    except (ImportError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"no pictures: plotly cannot draw them here ({str(error).strip().splitlines()[0]})\n"
            "  they need kaleido (pip install 'autopipe[pictures]') and Chrome or Chromium; if "
            "neither is found, name one in BROWSER_PATH"
        ) from None
    for name, file in zip(figures, files, strict=True):
        _settle_identifiers(file, name)
    return files


def _settle_identifiers(file: Path, name: str) -> None:
    """Replace the random parts of an SVG's identifiers, so that a figure has one picture."""
    text = file.read_text(encoding="utf-8")
    for chance in set(re.findall(r'id="defs-([0-9a-f]{6})"', text)):
        text = text.replace(chance, name)
    traces = dict.fromkeys(re.findall(r"\btrace([0-9a-f]{6})\b", text))
    for number, chance in enumerate(traces):
        text = text.replace(f"trace{chance}", f"trace-{number}")
    file.write_text(text, encoding="utf-8")
