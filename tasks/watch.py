"""What a run shows while it runs. This one shows nothing; the command line has one that does."""

from __future__ import annotations

from tasks.run_folder import RunInfo
from trials.events import Event
from trials.records import TrialResult, TrialSpec


class Watcher:
    """Is told what happens. Methods are called from several threads and must not raise."""

    def phase(self, text: str) -> None:
        """The run enters a phase."""

    def begun(self, info: RunInfo) -> None:
        """The inputs are known and nothing was spent yet."""

    def event(self, spec: TrialSpec, event: Event) -> None:
        """A running trial wrote an event."""

    def result(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial ended and was told to the search."""
