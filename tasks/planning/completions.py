"""How the costs of trials follow from the limit of a completion's length."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trials.spec.records import Schedule

SHORTER = (0.75, 0.5, 0.25)  # shares of a limit that are offered where time is short
LEAST_SHARE = 0.25


@dataclass(frozen=True)
class CompletionLengths:
    """How long completions are, in tokens, and what each more of them costs, in seconds.

    Attributes:
        measured: their limit where the pace was measured.
        limit: that the data ask for, where the settings have none.
        most: that nine of ten completions of the training split fit.
        rl_growth: of an optimizer step of RL for a token more.
        row_growth: of a row that is completed and scored for a token more.
    """

    measured: int = 1
    limit: int = 1
    most: int = 1
    rl_growth: float = 0.0
    row_growth: float = 0.0

    def of(self, schedule: Schedule) -> int:
        """The limit that a schedule has."""
        return schedule.max_completion_tokens or self.limit

    def at(self, schedule: Schedule, seconds: float, growth: float) -> float:
        """Seconds with the limit of a schedule, from those with the limit that was measured.

        A shorter completion saves no more than its share of the whole, whatever the growth.
        """
        tokens = self.of(schedule)
        grown = seconds + growth * (tokens - self.measured)
        return max(grown, seconds * min(1.0, tokens / self.measured)) if growth else seconds

    def shorter(self, schedule: Schedule) -> list[int]:
        """Lower limits to offer: most completions fit them, and none is below a quarter."""
        limit = self.of(schedule)
        least = max(self.most, math.ceil(LEAST_SHARE * limit))
        found = {max(least, round(share * limit)) for share in SHORTER}
        return sorted((tokens for tokens in found if tokens < limit), reverse=True)
