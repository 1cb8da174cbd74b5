"""The ledger of one run: what was spent, what is reserved, whether another trial fits."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, Field

from tasks.config.settings import LONGEST_SECONDS, Budget
from trials.spec.kinds import TrialState
from trials.spec.records import TrialResult, TrialSpec, read_record, write_json

LEDGER = "ledger.json"  # in the folder of a run
SAVE_EVERY_SECONDS = 5.0
# After so many trials in a row that had nothing to run, nothing new is being proposed.
MOST_IDLE = 20


@dataclass
class CostScale:
    """Costs of the trials of one run in full-trial equivalents: default trials at full length.

    The trials have to be asked for in the order of their proposals. ``relative`` has what a trial
    on each proxy costs, in trials of the target, by the model that it loads.
    """

    relative: Mapping[str, float] = field(default_factory=dict)

    reference_flops: float = math.nan  # of the default at full length; NaN before that has run

    def of(self, spec: TrialSpec, result: TrialResult) -> float:
        """Cost of one trial; the first that did not fail is the reference: the default is first.

        If the default failed, and the first that did not is a proxy's, its share is reckoned with.
        """
        share = self.relative.get(spec.fidelity.model, 1.0)
        if not self.reference_flops > 0 and result.state != TrialState.FAILED:
            self.reference_flops = result.cost.flops / max(result.fraction, 1e-9) / share
        known = self.reference_flops > 0
        cost = result.cost.flops / self.reference_flops if known else share
        if result.state == TrialState.FAILED and not result.cost.flops:
            # Killed or refused, it may have counted nothing; it was not free all the same.
            cost = max(cost, spec.fidelity.fraction * share)
        return cost


def is_idle(result: TrialResult, cost_full: float) -> bool:
    """True if another trial had run everything of this one already: it counts as no trial."""
    return result.state != TrialState.FAILED and cost_full <= 0


@dataclass
class Ledger:
    """Spends one budget, in whichever unit it was given."""

    file: Path  # keeps the elapsed time, so that a resumed run continues counting
    budget: Budget
    finalist_share: float = 0.25  # of the budget, kept for finalists at full length
    closing_seconds: float = 0.0  # kept for the measurement on the test split and the report
    trial_seconds: float = math.nan  # that a full-length trial is planned to take; NaN: not known
    overhead_seconds: float = 0.0  # of these, what a trial takes whatever its length
    already: float = 0.0  # spent before there was a ledger, as on starting a server
    clock: Callable[[], float] = time.monotonic  # setting the time of day changes nothing
    started: int = 0
    spent_full: float = 0.0
    _idle: int = field(init=False, default=0)
    _before: float = field(init=False, default=0.0)
    _start: float = field(init=False)
    _saved: float = field(init=False, default=-math.inf)
    _seconds_per_full: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.clock() - self.already
        if self.file.exists():
            self._before = elapsed_seconds(self.file)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, without the time between a kill and its resumption."""
        return self._before + self.elapsed_here

    @property
    def elapsed_here(self) -> float:
        """Seconds of these since this process began."""
        return self.clock() - self._start

    @property
    def seconds_per_full(self) -> float:
        """Median seconds of a full-length trial, scaled up from partial ones; at first as planned.

        Without the overhead that every trial has whatever its length.
        """
        if self._seconds_per_full:
            return statistics.median_high(self._seconds_per_full)
        return self.trial_seconds - self.overhead_seconds

    def seconds(self, cost_full: float) -> float:
        """Seconds that a trial of a cost is expected to take; 0 if nothing is known."""
        seconds = self.overhead_seconds + cost_full * self.seconds_per_full
        return 0.0 if math.isnan(seconds) else seconds

    @property
    def left(self) -> float:
        """Seconds of a time budget until the closing measurement begins; infinite without one."""
        if self.budget.unit != "seconds":
            return math.inf
        return self.budget.amount - self.closing_seconds - self.elapsed

    @property
    def share(self) -> float:
        """Part of the budget that is spent, from 0 to 1."""
        spent = {"seconds": self.elapsed, "trials": self.started, "full": self.spent_full}
        return min(1.0, spent[self.budget.unit] / self.budget.amount)

    def save(self) -> None:
        """Writes the elapsed time."""
        self._saved = self.clock()
        write_json(self.file, {"elapsed_seconds": self.elapsed})

    def tick(self) -> None:
        """Called with every event of a trial: a kill loses a few seconds of the count at most."""
        if self.clock() - self._saved > SAVE_EVERY_SECONDS:
            self.save()

    def start_trial(self) -> None:
        """Notes that one more trial was launched (or found on disk)."""
        self.started += 1

    def settle(self, result: TrialResult, cost_full: float, of_target: bool = True) -> None:
        """Charges a finished trial, in full-trial equivalents, whatever became of it.

        One whose whole run was done by another trial used nothing, and counts as no trial. What a
        full trial takes is learned from those of the target.
        """
        self.spent_full += cost_full
        idle = is_idle(result, cost_full)
        self.started -= idle
        self._idle = self._idle + 1 if idle else 0
        if of_target and result.state != TrialState.FAILED and cost_full > 0:
            seconds = max(0.0, result.cost.seconds - self.overhead_seconds)
            self._seconds_per_full.append(seconds / cost_full)
        self.save()

    def allows(self, cost_full: float, finalist: bool = False, pending_full: float = 0.0) -> bool:
        """True if one more trial fits, beside the running ones, of expected costs in full trials.

        Finalists may use the share that is kept for them.
        """
        if self._idle >= MOST_IDLE:
            return False
        reserve = 0.0 if finalist else self.finalist_share
        amount = self.budget.amount
        if self.budget.unit == "trials":
            return self.started + 1 <= amount - math.ceil(reserve * amount)
        if self.budget.unit == "full":
            return self.spent_full + pending_full + cost_full <= amount * (1 - reserve) + 1e-9
        usable = (amount - self.closing_seconds) * (1 - reserve)
        return self.elapsed + self.seconds(cost_full) <= usable

    def trial_limit(self) -> float | None:
        """Wall-clock limit of a trial that starts now, in seconds; None unless time is budgeted."""
        return max(1.0, self.left) if self.budget.unit == "seconds" else None


class _Elapsed(BaseModel):
    """``ledger.json``."""

    elapsed_seconds: float = Field(ge=0, le=LONGEST_SECONDS, strict=True)


def elapsed_seconds(file: Path) -> float:
    """The seconds in a ledger's file.

    Raises:
        RecordError: there are none, or they are out of bounds.
    """
    return read_record(file, _Elapsed).elapsed_seconds
