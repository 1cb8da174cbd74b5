"""What a run tells while it runs, and whom: the terminal, Prefect's log, Prefect's pages.

A flow says what happens to ``observe()``; who listens is chosen by who starts it. The command line
puts its progress bars there with ``observed_by``; a flow on a worker writes to Prefect's log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tasks.runs.folder import RunFolder, RunInfo, Summary
from trials.spec.events import Event
from trials.spec.records import TrialResult, TrialSpec


class RunObserver:
    """Is told what happens. ``event`` is called from several threads; none may raise."""

    def phase(self, text: str) -> None:
        """The run enters a phase."""

    def progress(self, done: float, total: float) -> None:
        """The phase at hand has come this far, in whatever unit it counts."""

    def message(self, text: str) -> None:
        """Something to be said to people, as a plan; it may have several lines, and stays."""

    def begun(self, info: RunInfo) -> None:
        """The inputs are known and nothing was spent yet."""

    def event(self, spec: TrialSpec, event: Event) -> None:
        """A running trial wrote an event."""

    def result(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial ended and was told to the search."""

    def found(self, spec: TrialSpec, result: TrialResult) -> None:
        """One that had ended before the run went on was told to the search again."""
        self.result(spec, result)

    def probed(self, done: int, total: int) -> None:
        """The base model was measured on so many of the datasets."""

    def spent(self, share: float) -> None:
        """So much of the budget is spent, 1 being all of it."""

    def removed(self, checkpoints: Sequence[Path]) -> None:
        """These were removed to keep within the disk limit."""

    def ended(self, summary: Summary) -> None:
        """The run is over."""


class ObserverGroup(RunObserver):
    """Tells all of them, in their order."""

    def __init__(self, observers: Sequence[RunObserver]):
        self._observers = observers

    def phase(self, text: str) -> None:
        self._tell("phase", text)

    def progress(self, done: float, total: float) -> None:
        self._tell("progress", done, total)

    def message(self, text: str) -> None:
        self._tell("message", text)

    def begun(self, info: RunInfo) -> None:
        self._tell("begun", info)

    def event(self, spec: TrialSpec, event: Event) -> None:
        self._tell("event", spec, event)

    def result(self, spec: TrialSpec, result: TrialResult) -> None:
        self._tell("result", spec, result)

    def found(self, spec: TrialSpec, result: TrialResult) -> None:
        self._tell("found", spec, result)

    def probed(self, done: int, total: int) -> None:
        self._tell("probed", done, total)

    def spent(self, share: float) -> None:
        self._tell("spent", share)

    def removed(self, checkpoints: Sequence[Path]) -> None:
        self._tell("removed", checkpoints)

    def ended(self, summary: Summary) -> None:
        self._tell("ended", summary)

    def _tell(self, what: str, *told: object) -> None:
        for each in self._observers:
            getattr(each, what)(*told)


_chosen: ContextVar[RunObserver | None] = ContextVar("observer", default=None)


@contextmanager
def observed_by(observer: RunObserver) -> Iterator[None]:
    """Flows called in this context tell ``observer`` what happens."""
    token = _chosen.set(observer)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def observe(run: RunFolder, *more: RunObserver) -> Iterator[RunObserver]:
    """Who is told what happens in a run: the chosen one or Prefect's log, Prefect's pages, more."""
    from tasks.monitoring.prefect_log import PrefectRunLog
    from tasks.monitoring.prefect_pages import PrefectArtifacts

    with PrefectRunLog(run) as log, PrefectArtifacts(run) as pages:
        yield ObserverGroup([_chosen.get() or log, pages, *more])
