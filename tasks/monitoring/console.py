"""The run on a terminal: the table of trials and the closing comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.output.escape import rich_text
from tasks.runs.folder import ModelScores, RunFolder, Summary
from tasks.runs.formatting import (
    Z95,
    format_duration,
    format_number,
    outcome,
    percent,
    pluralize,
    plus_minus,
    proxy_text,
    verdict,
)
from tasks.runs.paired import compare_trials
from tasks.runs.tables import RunTables, cell_texts, iter_rows
from trials.io.errors import AutoPipeError

STATE_STYLES = {"completed": "green", "stopped": "yellow", "failed": "red"}
# Columns of the table of trials, by the characters that a terminal must have for them.
WIDE, NARROW = 100, 75
COLUMNS = {
    WIDE: ("trial", "origin", "length", "state", "score", "predicted final", "time"),
    NARROW: ("trial", "origin", "length", "state", "score", "time"),
    0: ("trial", "length", "score or state"),
}
ON_THE_RIGHT = ("length", "score", "predicted final", "time")
LONG = ("state", "score or state")  # may take several lines


def render_trials(run: RunFolder, width: int = WIDE) -> RenderableType:
    """All trials of a run, in the order they were proposed; a star marks the recommended one.

    The title of an unfinished run, which recommends nothing, states its progress. Below the table:
    the number of rows behind a score, and the reason if the star is not on the highest one.
    ``width`` is that of the terminal, in characters.
    """
    tables = RunTables.read(run)
    so_far = f", unfinished: {tables.so_far}" if tables.so_far else ""
    columns = next(names for least, names in COLUMNS.items() if width >= least)
    view = Table(
        title=rich_text(f"Trials of {run.run_id}{so_far}", "italic"),
        title_justify="left",
        header_style="bold",
    )
    for name in columns:
        side: JustifyMethod = "right" if name in ON_THE_RIGHT else "left"
        view.add_column(name, justify=side, no_wrap=name not in LONG, overflow="fold")
    recommended = tables.best_row if tables.summary is not None else None
    for row in iter_rows(tables.trials):
        cells = _cells(row, recommended, tables.labels)
        view.add_row(*(cells[name] for name in columns))
    return Group(view, *map(Text, _remarks(run, tables)))


def _cells(row: Any, best: pd.Series | None, labels: dict[str, str]) -> dict[str, Text]:
    """Cells by column; never markup, as names and reasons come from outside."""
    texts, styles = cell_texts(row, labels), {"state": STATE_STYLES.get(row.state, "dim")}
    if best is not None and best.trial_id == row.trial_id:
        texts["trial"], styles["trial"] = f"{row.label} ★", "bold"
    cells = {name: rich_text(text, styles.get(name, "")) for name, text in texts.items()}
    ending = cells["score" if row.state == "completed" else "state"]
    if row.model:  # a narrow table has no origin, which names the model in a wide one
        ending = Text.assemble(ending, rich_text(f" on {row.model}"))
    return cells | {"score or state": ending}


def _remarks(run: RunFolder, tables: RunTables) -> list[str]:
    measured = [len(t.result.outcomes) for t in tables.records if t.result and t.result.outcomes]
    remarks = []
    if measured:
        low, high = min(measured), max(measured)
        rows = str(high) if low == high else f"{low} to {high}"
        remarks.append(f"A score is the mean over {rows} validation rows, ± its standard error.")
    remarks += [proxy_text(proxy, tables.info.model) for proxy in tables.proxies]
    if tables.summary is not None and tables.best_row is not None:
        remarks += _explain_star(run, tables, tables.best_row, tables.summary)
    return remarks


def _explain_star(
    run: RunFolder, tables: RunTables, best: pd.Series, summary: Summary
) -> Iterator[str]:
    """The reason for a star on a trial although another one scored higher."""
    scored = tables.trials[tables.trials.score.notna() & (tables.trials.model == "")]
    highest = scored.iloc[int(scored.score.argmax())]
    if not highest.score > best.score:
        return
    lead = f"★ {best.label} does not have the highest score: {highest.label} has"
    score = format_number(highest.score)
    if not highest.full_length:
        yield (
            f"{lead} {score}, but at {percent(highest.fraction)} of full length, and only trials "
            "at full length are recommended."
        )
        return
    try:
        found = compare_trials(run, highest.trial_id, best.trial_id)
    except (AutoPipeError, ValueError):  # not measured on the same rows
        difference = score
    else:
        gap = plus_minus(found.mean, found.se, signed=True)
        noise = "within noise" if abs(found.mean) <= Z95 * found.se else "more than noise"
        difference = f"{gap} on the same {found.rows} rows, {noise}"
    expected = f"{plus_minus(summary.best_expected, summary.best_expected_se)} for {best.label}"
    if not math.isnan(highest.predicted):
        other = plus_minus(highest.predicted, highest.predicted_sd)
        expected += f" and {other} for {highest.label}"
    yield (
        f"{lead} {difference}. The star goes by the expected score, {expected}: "
        "it weighs each measurement with those of similar configurations and with past runs."
    )


def render_summary(run: RunFolder, width: int = WIDE) -> RenderableType:
    """Scores of the best configuration, the default and the base model, and the verdict."""
    tables = RunTables.read(run)
    summary = tables.summary
    if summary is None:
        best = tables.best_row
        found = "no trial has a score yet"
        if best is not None:
            found = f"best so far: {best.label} with {plus_minus(best.score, best.score_se)}"
            found += f" on validation at {percent(best.fraction)} of full length"
        resume = f"autopipe tune --resume {run.run_id}"
        text = f"Run {run.run_id} is not finished; {found}.\nResume it with: {resume}"
        return rich_text(text, lines=True)
    pass_k = tables.info.settings.schedule.pass_k
    heads = ("", "trial", "validation", "test", *((f"pass@{pass_k}",) if pass_k else ()))
    rows = (("best", summary.best), ("default", summary.default), ("base", summary.base))
    cells = [_measured_cells(name, each, tables.labels) for name, each in rows if each is not None]
    view = _measured(heads, cells, width)
    smaller = int((tables.trials.model != "").sum())
    cost = (
        f"{pluralize(summary.trials, 'trial')} "
        f"({f'{smaller} on smaller models, ' if smaller else ''}{summary.failed} failed, "
        f"{summary.full_length} at full length) took {format_duration(summary.trial_seconds)} "
        f"of trial time, {format_duration(summary.elapsed_seconds)} of wall-clock time."
    )
    return Group(view, Text(outcome(summary)), Text(verdict(summary), "bold"), Text(cost))


def _measured(heads: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> RenderableType:
    """A table; on a narrow terminal a line for each row."""
    if width < NARROW:
        pairs = [zip(heads, row, strict=True) for row in rows]
        lines = (", ".join(f"{head} {cell}".strip() for head, cell in each) for each in pairs)
        return Text("\n".join(lines))
    view = Table(header_style="bold")
    for name in heads:
        view.add_column(name, justify="left" if name in ("", "trial") else "right")
    for row in rows:
        view.add_row(*row)
    return view


def _measured_cells(name: str, measured: ModelScores, labels: dict[str, str]) -> list[Text]:
    return [
        Text(name, style="bold" if name == "best" else ""),
        rich_text(labels.get(measured.trial_id or "", measured.trial_id or "–")),
        Text(plus_minus(measured.validation, measured.validation_se)),
        Text(plus_minus(measured.test, measured.test_se)),
        *([] if measured.test_pass_at_k is None else [Text(f"{measured.test_pass_at_k:.3f}")]),
    ]
