"""A run that is interrupted ends with the command that resumes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flows.terminal.interrupts import interrupts
from tasks.monitoring import observers


class _Begun(observers.RunObserver):
    """Remembers how to resume the run, once there is something to resume."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.RunStarted(info):
                self.lines = [f"resume with: autopipe tune --resume {info.run_id}"]
                if store := info.settings.store:
                    url = f"{store.rstrip('/')}/{info.run_id}"
                    self.lines.append(f"on another machine: autopipe tune --resume {url}")
                interrupts.notes = self.lines
            case observers.TrialFinished():
                interrupts.kept = True


@contextmanager
def resumable(observer: observers.RunObserver) -> Iterator[None]:
    """Tells ``observer`` of what a flow leads; what ends a run gets notes on how to resume it."""
    begun = _Begun()
    try:
        with observers.observed_by(observers.ObserverGroup([begun, observer])):
            yield
            interrupts.notes = []
    except BaseException as error:
        for line in begun.lines:
            error.add_note(line)
        raise
