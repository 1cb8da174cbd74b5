"""The run on a terminal: the table of trials and the closing comparison."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.escape import styled
from tasks.run_folder import Measured, RunFolder
from tasks.run_tables import RunTables, rows_of
from tasks.wording import duration, outcome, plus_minus, share, verdict

STATE_STYLES = {"completed": "green", "stopped": "yellow", "failed": "red"}


def console_table(run: RunFolder) -> Table:
    """All trials of a run, in the order they were proposed; the best is marked with a star."""
    tables = RunTables.read(run)
    best = tables.best_row
    title = styled(f"Trials of {run.run_id}", "italic")
    view = Table(title=title, title_justify="left", header_style="bold")
    for name in ("trial", "origin", "length", "state", "score", "predicted final", "time"):
        right = name in ("length", "score", "predicted final", "time")
        view.add_column(name, justify="right" if right else "left", no_wrap=name != "state")
    for row in rows_of(tables.trials):
        view.add_row(*_cells(row, best, tables.labels))
    return view


def _cells(row: Any, best: pd.Series | None, labels: dict[str, str]) -> list[Text]:
    is_best = best is not None and best.trial_id == row.trial_id
    parent = labels.get(row.continues, row.continues)
    origin = f"{row.origin} of {parent}" if parent else row.origin
    state = f"{row.state}: {row.reason}" if row.reason else row.state
    return [
        styled(f"{row.label} ★" if is_best else row.label, "bold" if is_best else ""),
        styled(origin),
        Text(share(row.fraction)),
        styled(state, STATE_STYLES.get(row.state, "dim")),
        Text(plus_minus(row.score, row.score_se)),
        Text(plus_minus(row.predicted, row.predicted_sd)),
        Text(duration(row.seconds)),
    ]


def console_summary(run: RunFolder) -> RenderableType:
    """Best against default against base, and what may be said about the difference."""
    tables = RunTables.read(run)
    summary = tables.summary
    if summary is None:
        best = tables.best_row
        found = "no trial has a score yet"
        if best is not None:
            found = f"best so far: {best.label} with {plus_minus(best.score, best.score_se)}"
            found += f" on validation at {share(best.fraction)} of full length"
        resume = f"autopipe tune --resume {run.run_id}"
        told = f"Run {run.run_id} is not finished; {found}.\nGo on with: {resume}"
        return styled(told, lines=True)
    view = Table(header_style="bold")
    pass_k = tables.info.settings.schedule.pass_k
    for name in ("", "trial", "validation", "test", *((f"pass@{pass_k}",) if pass_k else ())):
        view.add_column(name, justify="left" if name in ("", "trial") else "right")
    rows = (("best", summary.best), ("default", summary.default), ("base", summary.base))
    for name, measured in rows:
        if measured is not None:
            view.add_row(*_measured_cells(name, measured, tables.labels))
    cost = (
        f"{summary.trials} trials ({summary.failed} failed, {summary.full_length} at full length) "
        f"took {duration(summary.trial_seconds)} of trial time, "
        f"{duration(summary.elapsed_seconds)} by the wall clock."
    )
    return Group(view, Text(outcome(summary)), Text(verdict(summary), "bold"), Text(cost))


def _measured_cells(name: str, measured: Measured, labels: dict[str, str]) -> list[Text]:
    return [
        Text(name, style="bold" if name == "best" else ""),
        styled(labels.get(measured.trial_id or "", measured.trial_id or "–")),
        Text(plus_minus(measured.validation, measured.validation_se)),
        Text(plus_minus(measured.test, measured.test_se)),
        *([] if measured.test_pass_at_k is None else [Text(f"{measured.test_pass_at_k:.3f}")]),
    ]
