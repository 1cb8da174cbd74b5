"""``report.html``: one self-contained page about a run, from its folder alone.

It can be written at any time: what an unfinished run does not know yet is left out or said to be
unknown. The page is a Jinja2 template; what it shows is gathered in ``tasks.report.context``.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment
from plotly.offline import get_plotlyjs

from tasks.output import escape
from tasks.output.templates import environment
from tasks.report.context import report_context
from tasks.runs.folder import RunFolder
from tasks.runs.formatting import FILTERS, Z95
from tasks.runs.tables import origin_parts
from trials.io.atomic import write_text


def write_report(run: RunFolder) -> Path:
    """Writes ``<run>/report.html`` from what is on disk and returns its path.

    Raises:
        pydantic.ValidationError: when a record of the run folder is damaged.
    """
    template = templates().get_template("report.html")
    target = run.path / "report.html"
    write_text(target, template.render(report_context(run), plotly=get_plotlyjs()))
    return target


def templates() -> Environment:
    """The templates of the report, with the filters that they use."""
    filters = FILTERS | {
        "figure_data": figure_data,
        "magnitude": magnitude,
        "origin_parts": origin_parts,
        "shell_quote": shlex.quote,
        "sort_key": sort_key,
    }
    found = environment("tasks.report", filters, autoescape=True)
    found.globals["z95"] = Z95
    return found


def figure_data(figure: go.Figure) -> str:
    """A figure as JSON within a script element."""
    # Only "</script" and "<!--" could end the data early.
    return json.dumps(escape.figure_json(figure)).replace("<", "\\u003c")


def magnitude(value: float) -> str:
    """A count in three digits: 1.23M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def sort_key(value: object) -> float | str | None:
    """The key that a hyperparameter's value sorts by: numbers as numbers, all else as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else str(value)
