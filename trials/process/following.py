"""Follows one job of a worker by the events it writes, and knows when it has to be ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trials.scoring.reward_watch import current_notes
from trials.spec.events import Event, read_new_events
from trials.spec.kinds import FailureKind
from trials.spec.records import Limits

# A job that has its end in sight is left in peace for a while: a tenth of its limit, but no less
# and no more than this. It plans to end in time; the supervisor acts only when it does not.
LEAST_GRACE_SECONDS, MOST_GRACE_SECONDS = 5.0, 60.0
LOOK_SECONDS = 0.5


class Following:
    """The events of one job, and what its limits say about it.

    Time counts from the job's first event: a worker may have to be started for it first.
    """

    def __init__(self, folder: Path, limits: Limits, on_event: Callable[[Event], None]):
        self._folder, self._limits, self._on_event = folder, limits, on_event
        self._offset = 0
        self._submitted = self._last = self._looked = time.monotonic()
        self._begun: float | None = None
        self._scored, self._scored_since = "", self._submitted

    @property
    def seconds(self) -> float:
        """Since the job began; since it was submitted where it has not."""
        return time.monotonic() - (self._begun or self._submitted)

    def read(self) -> None:
        """Hands on what was written since the last time."""
        events, self._offset = read_new_events(self._folder / "events.jsonl", self._offset)
        if events:
            self._last = time.monotonic()
            self._begun = self._begun or self._last
        for event in events:
            self._on_event(event)

    def overdue(self) -> tuple[FailureKind, str] | None:
        """The reason to end the job now; None if there is none."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            if problem := self._endless_reward(now):
                return FailureKind.REWARD_FAILED, problem
        silent = now - self._last
        if silent > self._limits.silent_seconds:
            return FailureKind.HUNG, f"no event for {silent:.0f} s (the limit is --silent-after)"
        limit = self._limits.wall_seconds
        if limit is not None and self._begun is not None:
            over = now - self._begun - limit
            if over > min(MOST_GRACE_SECONDS, max(LEAST_GRACE_SECONDS, 0.1 * limit)):
                message = f"still running {over:.0f} s after its limit of {limit:.0f} s"
                return FailureKind.TIMED_OUT, message
        return None

    def _endless_reward(self, now: float) -> str | None:
        scored = current_notes(self._folder)
        if scored != self._scored:
            self._scored, self._scored_since = scored, now
        took = now - self._scored_since
        if not scored or took <= self._limits.reward_seconds:
            return None
        what = scored.splitlines()[0].partition(" ")[2]
        return (
            f"the reward has not returned for {took:.0f} s on {what}\n  expected: a score within "
            f"{self._limits.reward_seconds:.0f} s; look for an endless loop, or for a regular "
            "expression that tries too many ways to match"
        )
