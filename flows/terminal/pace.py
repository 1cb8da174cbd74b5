"""Progress of a run through its budget, and an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.config.settings import Budget
from tasks.runs.formatting import format_duration, rough_duration


class Pace:
    """Follows what is spent of a budget.

    The time that is left follows from the budget where that is a time, else from the speed since
    the first share that was reported: a resumed run begins with what it had spent before.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic):
        self._budget, self._clock = budget, clock
        self._first: tuple[float, float] | None = None
        self._last = (clock(), 0.0)

    def spent(self, share: float) -> None:
        """So much of the budget is spent now, 1 being all of it."""
        self._last = (self._clock(), share)
        self._first = self._first or self._last

    @property
    def share(self) -> float:
        """Share of the budget that is spent, from 0 to 1; of a time budget as of now."""
        at, share = self._last
        if self._budget.unit == "seconds":
            share += (self._clock() - at) / self._budget.amount
        return min(1.0, max(0.0, share))

    @property
    def seconds_left(self) -> float | None:
        """Until all is spent, at this pace; None where that is not known yet."""
        if self._budget.unit == "seconds":
            return (1.0 - self.share) * self._budget.amount
        if self._first is None or self._last[1] <= self._first[1]:
            return None
        (began, before), (at, share) = self._first, self._last
        left = (1.0 - share) * (at - began) / (share - before) - (self._clock() - at)
        return max(0.0, left)

    def __str__(self) -> str:
        """``7 of 12 trials, about 3 min left``."""
        amount, unit = self._budget.amount, self._budget.unit
        if unit == "seconds":
            text = f"{format_duration(self.share * amount)} of {self._budget}"
        elif unit == "trials":
            text = f"{round(self.share * amount)} of {amount:g} trials"
        else:
            text = f"{self.share * amount:.1f} of {self._budget}"
        left = self.seconds_left
        return text if left is None or self.share >= 1.0 else f"{text}, {rough_duration(left)} left"
