"""What trials cost, in default trials at full length: the unit that every budget can be told in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trials.spec.records import TrialResult, TrialSpec


@dataclass
class CostScale:
    """Costs of the trials of one run, asked for in the order of their proposals.

    Attributes:
        reference_flops: of the default configuration at full length; NaN before that has run.
    """

    reference_flops: float = math.nan

    def of(self, spec: TrialSpec, result: TrialResult) -> float:
        """Cost of one; the first that did not fail is the measure, for the default comes first."""
        if not self.reference_flops > 0 and result.state != "failed":
            self.reference_flops = result.cost.flops / max(result.fraction, 1e-9)
        known = self.reference_flops > 0
        cost = result.cost.flops / self.reference_flops if known else 1.0
        if result.state == "failed":
            # Killed or refused, it may have counted nothing; it was not free all the same.
            cost = max(cost, spec.fidelity.fraction * (1.0 if not result.cost.flops else 0.0))
        return cost


def is_idle(result: TrialResult, cost_full: float) -> bool:
    """Whether a trial found its whole run done by another one: that counts as no trial."""
    return result.state != "failed" and cost_full <= 0
