"""``report.html``: one self-contained page about a run, from its folder alone.

It can be written at any time: what an unfinished run does not know yet is left out or said to be
unknown. The page is a Jinja2 template; what it shows is gathered in ``tasks.report.context``.
"""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from tasks.output import escape
from tasks.report.context import report_context
from tasks.runs import formatting
from tasks.runs.folder import RunFolder
from tasks.runs.tables import origin_parts
from trials.io.atomic import write_text


def write_report(run: RunFolder) -> Path:
    """Writes ``<run>/report.html`` from what is on disk and returns its path.

    Raises:
        pydantic.ValidationError: when a record of the run folder is damaged.
    """
    template = environment().get_template("report.html")
    target = run.path / "report.html"
    write_text(target, template.render(report_context(run), plotly=get_plotlyjs()))
    return target


def environment() -> Environment:
    """Jinja2 with autoescape on; the filters are those of ``tasks.runs.formatting`` and a few."""
    found = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "plus_minus", "format_number", "format_setting", "format_duration", "percent", "pluralize",
        "outcome", "verdict",
    ):  # fmt: skip
        found.filters[name] = getattr(formatting, name)
    found.filters |= {
        "figure_data": figure_data,
        "origin_parts": origin_parts,
        "shell_quote": shlex.quote,
        "sort_key": sort_key,
    }
    found.globals["asset"] = asset
    return found


def asset(name: str) -> str:
    """A style sheet or script of the page."""
    file = files("tasks.report") / "templates" / name
    return file.read_text(encoding="utf-8")


def figure_data(figure: go.Figure) -> str:
    """A figure as JSON within a script element."""
    # Only "</script" and "<!--" could end the data early.
    return json.dumps(escape.figure_json(figure)).replace("<", "\\u003c")


def sort_key(value: object) -> float | str | None:
    """The key that a hyperparameter's value sorts by: numbers as numbers, all else as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else str(value)
