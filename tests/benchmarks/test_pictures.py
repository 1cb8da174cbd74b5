"""Pictures: the same twice, where they can be drawn."""

from __future__ import annotations

import importlib.util
import shutil

import plotly.graph_objects as go
import pytest

from benchmarks.pictures import titled, write_pictures

CAN_DRAW = importlib.util.find_spec("kaleido") and any(
    shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
)


def figure() -> go.Figure:
    return titled(go.Figure(go.Scatter(x=[1, 2], y=[2, 1])), 240, "Falling")


@pytest.mark.skipif(not CAN_DRAW, reason="needs kaleido and Chrome or Chromium")
def test_a_figure_has_one_picture(tmp_path):
    drawn = [write_pictures({"falling": figure()}, tmp_path / name)[0] for name in ("a", "b")]
    texts = [file.read_text("utf-8") for file in drawn]
    assert texts[0] == texts[1]
    assert drawn[0].name == "falling.svg"
    assert "Falling" in texts[0]
    assert 'height="240"' in texts[0]
