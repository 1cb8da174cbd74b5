"""Tells once, while a run is under way, that a proxy is not used any more."""

from __future__ import annotations

from contextlib import suppress

from tasks.monitoring import observers
from tasks.runs.folder import RunFolder
from trials.io.errors import AutoPipeError


class LeftProxies(observers.RunObserver):
    """Has a message told when a proxy is left, with the reason.

    It reads what the search wrote after the trial, and only of a run that has proxies.
    """

    def __init__(self, run: RunFolder, told: observers.RunObserver):
        self._run, self._told = run, told
        self._watched: set[str] = set()

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.RunStarted(info):
                self._watched = {proxy.model for proxy in info.proxies}
            case observers.TrialFinished(_, _, replayed) if self._watched:
                with suppress(AutoPipeError):  # no run ends for want of a message
                    self._look(replayed)

    def _look(self, replayed: bool) -> None:
        for level in self._run.levels():
            if level.left is None or level.model not in self._watched:
                continue
            self._watched.remove(level.model)
            if not replayed:  # a resumed run told it before
                self._told.message(f"{level.model} is left: {level.left}")
