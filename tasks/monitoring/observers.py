"""Observers of a run: the terminal, Prefect's log and pages, storage, a caller of the library.

A flow notifies the observer that ``observe()`` yields of typed events; who observes is chosen by
who starts the flow. The command line puts its progress bars there with ``observed_by``; a flow on a
worker writes to Prefect's log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from tasks.runs.folder import RunFolder, RunInfo, Summary
from trials.spec.events import Event
from trials.spec.records import TrialResult, TrialSpec


class RunEvent:
    """What observers are notified of."""


@dataclass(frozen=True)
class PhaseStarted(RunEvent):
    """The run enters a phase."""

    text: str


@dataclass(frozen=True)
class PhaseProgress(RunEvent):
    """Progress within the current phase, in whatever unit it counts."""

    done: float
    total: float


@dataclass(frozen=True)
class Message(RunEvent):
    """Something for people to read, such as a plan; it may have several lines, and stays."""

    text: str


@dataclass(frozen=True)
class RunStarted(RunEvent):
    """The inputs are known and nothing has been spent yet."""

    info: RunInfo


@dataclass(frozen=True)
class TrialLogged(RunEvent):
    """A running trial logged an event. Comes from several threads."""

    spec: TrialSpec
    event: Event


@dataclass(frozen=True)
class TrialFinished(RunEvent):
    """A trial ended and the search was told; ``replayed`` if that was before the run resumed."""

    spec: TrialSpec
    result: TrialResult
    replayed: bool = False


@dataclass(frozen=True)
class DatasetsProbed(RunEvent):
    """The base model was measured on so many of the datasets."""

    done: int
    total: int


@dataclass(frozen=True)
class BudgetSpent(RunEvent):
    """Share of the budget that is spent, in [0, 1]."""

    share: float


@dataclass(frozen=True)
class CheckpointsRemoved(RunEvent):
    """Checkpoints were removed to stay within the disk limit."""

    checkpoints: Sequence[Path]


@dataclass(frozen=True)
class RunFinished(RunEvent):
    """The run is over."""

    summary: Summary


class RunObserver:
    """Base class of observers; it ignores everything."""

    def notify(self, event: RunEvent) -> None:
        """Called for each event, possibly from several threads; it must not raise."""

    def phase(self, text: str) -> None:
        """Short for ``notify(PhaseStarted(text))``."""
        self.notify(PhaseStarted(text))

    def message(self, text: str) -> None:
        """Short for ``notify(Message(text))``."""
        self.notify(Message(text))


class ObserverGroup(RunObserver):
    """Notifies all of its observers, in their order."""

    def __init__(self, observers: Sequence[RunObserver]):
        self._observers = observers

    def notify(self, event: RunEvent) -> None:
        for each in self._observers:
            each.notify(event)


_chosen: ContextVar[RunObserver | None] = ContextVar("observer", default=None)


@contextmanager
def observed_by(observer: RunObserver) -> Iterator[None]:
    """Flows called in this context notify ``observer``."""
    token = _chosen.set(observer)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def observe(run: RunFolder, *more: RunObserver) -> Iterator[RunObserver]:
    """The observer of a run: the chosen one or Prefect's log, Prefect's pages, and others."""
    from tasks.monitoring.prefect_log import PrefectRunLog
    from tasks.monitoring.prefect_pages import PrefectArtifacts
    from tasks.monitoring.proxies import LeftProxies

    with PrefectRunLog(run) as log, PrefectArtifacts(run) as pages:
        everybody = ObserverGroup([_chosen.get() or log, pages, *more])
        yield ObserverGroup([everybody, LeftProxies(run, everybody)])
