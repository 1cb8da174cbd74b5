"""Whether a run begins another trial, and on which models: the ledger asked, the past replayed.

A run that goes on asks its search again from the start. So that it proposes what it did, every
proposal is made with as many results told, for the same levels and under the same budget as the
first time; `proposals.jsonl` has all three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from surrogates.core.base import Only
from surrogates.online.proxies import SHARE as PROXY_SHARE
from surrogates.online.search import Search
from tasks.runs.folder import Phase, ProposalRecord, RunFolder
from tasks.runs.ledger import Ledger
from trials.spec.records import TrialResult

# A finalist still has to run what is left after an early stop: most of the schedule.
TYPICAL_REST = 0.7


@dataclass
class Allowance:
    """The decisions on one run's next trials.

    Attributes:
        only: the levels that the next trial may be proposed for; None: all.
        told: results that the search knows.
        recorded: proposals of the run before it was interrupted, by their order.
    """

    run: RunFolder
    search: Search
    ledger: Ledger
    only: Only | None = None
    told: int = 0
    recorded: dict[int, ProposalRecord] = field(init=False)
    _budget: float | None = field(init=False)
    _proxy_seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.recorded = {record.order: record for record in self.run.proposals()}
        self._budget = self.search.budget

    def settle(self, result: TrialResult, of_target: bool) -> None:
        """Notes a result that the search was told."""
        self.told += 1
        self._proxy_seconds += 0.0 if of_target else result.cost.seconds

    def ran(self, record: ProposalRecord) -> bool:
        """True if a proposal's trial has a result on disk."""
        return (self.run.trial_folder(record.trial_id) / "result.json").exists()

    def allows(self, phase: Phase, order: int, running: Sequence[float]) -> bool:
        """True if the trial of an order fits, or was run in this phase before an interruption.

        Args:
            phase: of the run.
            order: of the trial, from 0.
            running: expected costs of the trials that run, in full trials; NaN where unknown.
        """
        if order == 0:
            return phase == "explore"  # the default comes first, whatever phase was reached before
        before = self.recorded.get(order)
        if before is not None:
            if running and self.told < (before.told or 0):
                return False  # it was proposed knowing more
            if before.phase == phase and self.ran(before):
                known = before.told is not None  # of runs from before it was recorded: no
                self.search.budget = before.search_budget if known else self._budget
                self.only = before.only
                return True
            if phase == "explore" and before.phase == "finish":
                return False
        self.search.budget, self.only = self._budget, self._levels()
        return self._fits(phase == "finish", running)

    def _fits(self, finalist: bool, running: Sequence[float]) -> bool:
        """True if a trial of the target fits beside those that run, or at least one of a proxy."""
        typical = self._typical_cost(finalist)
        pending = math.fsum(cost if math.isfinite(cost) else typical for cost in running)
        if self.ledger.allows(typical, finalist, pending):
            return True
        cheapest = None if finalist or self.only else self.search.cheapest_proxy()
        if cheapest is None:
            return False
        self.only = "proxies"
        return self.ledger.allows(cheapest * self.search.rung(), pending_full=pending)

    def _levels(self) -> Only | None:
        """Without the proxies once they have had their share of a budget of time."""
        budget = self.ledger.budget
        spent = self._proxy_seconds if budget.unit == "seconds" else 0.0
        return "target" if spent > PROXY_SHARE * budget.amount else None

    def _typical_cost(self, finalist: bool) -> float:
        """Cost of the next trial in full-trial equivalents, before it is known which one it is."""
        if not self.told:
            return 1.0
        return TYPICAL_REST if finalist else self.search.rung()
