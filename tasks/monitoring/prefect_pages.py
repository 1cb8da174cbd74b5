"""A run on Prefect's pages: progress, the table of trials, the recommendation, the report."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from tasks.monitoring.observers import RunObserver
from tasks.output import escape
from tasks.output.report_url import report_url
from tasks.runs.folder import ModelScores, RunFolder, RunInfo, Summary
from tasks.runs.formatting import (
    format_duration,
    format_setting,
    outcome,
    percent,
    plus_minus,
    verdict,
)
from tasks.runs.tables import RunTables, iter_rows
from trials.io.hashing import content_hash

log = logging.getLogger(__name__)
P = ParamSpec("P")


def _posted(
    method: Callable[Concatenate[PrefectArtifacts, P], None],
) -> Callable[Concatenate[PrefectArtifacts, P], None]:
    """The method in the thread that talks to the server, where there is a page to put things on."""

    @wraps(method)
    def posted(self: PrefectArtifacts, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if FlowRunContext.get() is not None:
            self.post(partial(method, self, *args, **kwargs))

    return posted


class PrefectArtifacts(RunObserver):
    """A context that keeps the artifacts of the flow run at hand.

    Pages are for people to look at: a run neither waits for the server nor ends because of it. What
    comes while an update is on its way waits, and of that only the latest is sent, when the context
    is left at the latest.

    Args:
        run: that they show.
    """

    def __init__(self, run: RunFolder):
        self._run, self._id = run, escape.markdown(run.run_id)
        self._progress: UUID | None = None
        self._share, self._described = 0.0, f"Share of the trials of {self._id} that are done"
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="artifacts")
        self._waiting: Future[None] | None = None

    def post(self, update: Callable[[], None]) -> None:
        """Sends an update when those before it are through."""
        self._waiting = self._pool.submit(copy_context().run, _attempt, update)

    def begun(self, info: RunInfo) -> None:
        self._described = f"Share of {info.settings.budget} spent"
        self._show()

    def spent(self, share: float) -> None:
        self._share = share
        if self._waiting is None or self._waiting.done():
            self._show()

    @_posted
    def _show(self) -> None:
        """How far the run is, and its trials so far if it searches."""
        percent = round(100.0 * min(max(self._share, 0.0), 1.0), 1)
        if self._progress is not None:
            update_progress_artifact(self._progress, percent)
        else:
            created = create_progress_artifact(
                percent, key=self._key("budget"), description=self._described
            )
            self._progress = created if isinstance(created, UUID) else None
        tables = RunTables.read(self._run) if (self._run.path / "run.json").exists() else None
        if tables is not None and len(tables.trials):
            create_table_artifact(
                trial_rows(tables),
                key=self._key("trials"),
                description=f"Trials of {self._id} so far",
            )

    def ended(self, summary: Summary) -> None:
        self._show_outcome(summary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """Waits for the last state to be sent; a run that is ended has no time for that."""
        if kind is None:
            self._show()
        self._pool.shutdown(wait=kind is None, cancel_futures=kind is not None)

    @_posted
    def _show_outcome(self, summary: Summary) -> None:
        create_markdown_artifact(
            recommendation(self._run, summary),
            key=self._key("recommendation"),
            description=f"What run {self._id} recommends",
        )
        create_link_artifact(
            report_url(self._run.run_id),
            link_text=f"report of {self._id}",
            key=self._key("report"),
            description=f"The file: {escape.code(self._run.path / 'report.html')}",
        )

    def _key(self, name: str) -> str:
        return artifact_key(self._run, name)


def artifact_key(run: RunFolder, name: str) -> str:
    """The key of one of a run's artifacts: lower-case letters, digits and dashes.

    Workspaces that share a server may have runs of the same name.
    """
    place = content_hash(str(run.path.resolve()), digits=6)
    return re.sub(r"[^a-z0-9]+", "-", f"{run.run_id}-{place}-{name}".lower()).strip("-")


def publish_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """A table on the page of the flow run at hand, if there is one."""
    if FlowRunContext.get() is not None:
        _attempt(lambda: create_table_artifact(rows, key=key, description=description))


def publish_markdown(markdown: str, key: str, description: str) -> None:
    """Markdown on the page of the flow run at hand, if there is one."""
    if FlowRunContext.get() is not None:
        _attempt(lambda: create_markdown_artifact(markdown, key=key, description=description))


def _attempt(update: Callable[[], object]) -> None:
    try:
        update()
    except Exception as error:  # the server may be away, restarted, or of another version
        log.warning("the pages of the run could not be updated: %s", error)


def trial_rows(tables: RunTables) -> list[dict[str, Any]]:
    """The table of trials, as text, in the order they were proposed."""
    return [
        {
            "trial": row.label,
            "origin": row.origin,
            "length": percent(row.fraction),
            "state": f"{row.state}: {row.reason}" if row.reason else row.state,
            "score": plus_minus(row.score, row.score_se),
            "predicted final": plus_minus(row.predicted, row.predicted_sd),
            "time": format_duration(row.seconds),
        }
        for row in iter_rows(tables.trials)
    ]


def recommendation(run: RunFolder, summary: Summary) -> str:
    """The outcome in Markdown: the verdict, three rows of scores, the configuration."""
    report, exported = (escape.code(run.path / name) for name in ("report.html", "best"))
    lines = [
        f"# {escape.markdown(run.info().dataset.name)}",
        f"{outcome(summary)} {verdict(summary)}",
        _scores(summary),
        "## Configuration",
        _table(["hyperparameter", "value"], _settings(summary)),
        f"Report: {report}  \nExported for TRL: {exported}",
    ]
    return "\n\n".join(lines)


def _scores(summary: Summary) -> str:
    rows = (("best", summary.best), ("default", summary.default), ("base", summary.base))
    cells = [_measured(name, measured) for name, measured in rows if measured is not None]
    return _table(["", "trial", "validation", "test"], cells)


def _measured(name: str, measured: ModelScores) -> list[str]:
    return [
        name,
        escape.markdown(measured.trial_id or "–"),
        plus_minus(measured.validation, measured.validation_se),
        plus_minus(measured.test, measured.test_se),
    ]


def _settings(summary: Summary) -> list[list[str]]:
    config = summary.best.config or {}
    return [
        [escape.code(name), escape.markdown(format_setting(value))]
        for name, value in config.items()
        if value is not None
    ]


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Of cells in Markdown: names from outside are escaped by who puts them there."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
