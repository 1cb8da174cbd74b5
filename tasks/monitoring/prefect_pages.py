"""A run on Prefect's pages: progress, the table of trials, the recommendation, the report."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Self
from uuid import UUID

from prefect import artifacts
from prefect.context import FlowRunContext

from tasks.monitoring.observers import BudgetSpent, RunEvent, RunFinished, RunObserver, RunStarted
from tasks.output import escape
from tasks.output.report_url import report_url
from tasks.output.templates import environment
from tasks.runs.folder import RunFolder, Summary
from tasks.runs.formatting import FILTERS
from tasks.runs.tables import RunTables, cell_texts, iter_rows
from trials.io.hashing import content_hash

log = logging.getLogger(__name__)


class PrefectArtifacts(RunObserver):
    """A context that keeps the artifacts of the current flow run up to date.

    A run neither waits for the server nor fails because of it. While an update is on its way, later
    progress is skipped; the last state is sent when the context is left.
    """

    def __init__(self, run: RunFolder):
        self._run, self._id = run, escape.markdown(run.run_id)
        self._progress: UUID | None = None
        self._share, self._described = 0.0, f"Share of the trials of {self._id} that are done"
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="artifacts")
        self._waiting: Future[None] | None = None

    def post(self, update: Callable[[], None]) -> None:
        """Sends an update after those before it, where there is a page of a flow run."""
        if FlowRunContext.get() is not None:
            self._waiting = self._pool.submit(copy_context().run, _attempt, update)

    def notify(self, event: RunEvent) -> None:
        match event:
            case RunStarted(info):
                self._described = f"Share of {info.settings.budget} spent"
                self.post(self._show)
            case BudgetSpent(share):
                self._share = share
                if self._waiting is None or self._waiting.done():
                    self.post(self._show)
            case RunFinished(summary):
                self.post(partial(self._show_outcome, summary))

    def _show(self) -> None:
        """Progress of the run, and its trials so far if it searches."""
        percent = round(100.0 * min(max(self._share, 0.0), 1.0), 1)
        if self._progress is not None:
            artifacts.update_progress_artifact(self._progress, percent)
        else:
            created = artifacts.create_progress_artifact(
                percent, key=artifact_key(self._run, "budget"), description=self._described
            )
            self._progress = created if isinstance(created, UUID) else None
        tables = RunTables.read(self._run) if (self._run.path / "run.json").exists() else None
        if tables is not None and len(tables.trials):
            artifacts.create_table_artifact(
                [cell_texts(row, tables.labels) for row in iter_rows(tables.trials)],
                key=artifact_key(self._run, "trials"),
                description=f"Trials of {self._id} so far",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """Waits for the last state to be sent; an interrupted run has no time for that."""
        if kind is None:
            self.post(self._show)
        self._pool.shutdown(wait=kind is None, cancel_futures=kind is not None)

    def _show_outcome(self, summary: Summary) -> None:
        artifacts.create_markdown_artifact(
            recommendation(self._run, summary),
            key=artifact_key(self._run, "recommendation"),
            description=f"What run {self._id} recommends",
        )
        artifacts.create_link_artifact(
            report_url(self._run.run_id),
            link_text=f"report of {self._id}",
            key=artifact_key(self._run, "report"),
            description=f"The file: {escape.code(self._run.path / 'report.html')}",
        )


def artifact_key(run: RunFolder, name: str) -> str:
    """The key of one of a run's artifacts: lower-case letters, digits and dashes.

    The folder is part of it: workspaces that share a server may have runs of the same name.
    """
    place = content_hash(str(run.path.resolve()), digits=6)
    return re.sub(r"[^a-z0-9]+", "-", f"{run.run_id}-{place}-{name}".lower()).strip("-")


def publish_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Puts a table on the page of the current flow run, if there is one."""
    if FlowRunContext.get() is not None:
        _attempt(lambda: artifacts.create_table_artifact(rows, key=key, description=description))


def publish_markdown(text: str, key: str, description: str) -> None:
    """Puts Markdown on the page of the current flow run, if there is one."""
    if FlowRunContext.get() is not None:
        _attempt(lambda: artifacts.create_markdown_artifact(text, key=key, description=description))


def _attempt(update: Callable[[], object]) -> None:
    try:
        update()
    except Exception as error:  # the server may be away, restarted, or of another version
        log.warning("the pages of the run could not be updated: %s", error)


def recommendation(run: RunFolder, summary: Summary) -> str:
    """The outcome in Markdown: the verdict, three rows of scores, the configuration."""
    filters = FILTERS | {"code": escape.code, "markdown": escape.markdown}
    template = environment("tasks.monitoring", filters).get_template("recommendation.md.jinja")
    return template.render(dataset=run.info().dataset.name, summary=summary, folder=run.path)
