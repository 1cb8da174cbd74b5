"""What the proxies of a run have done, as it is kept in its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from surrogates.online.search import Search
from tasks.runs.folder import LevelRecord


def level_records(search: Search, before: Sequence[LevelRecord] = ()) -> list[LevelRecord]:
    """One record for each proxy, the smallest first; none without proxies.

    The records of the trial before say since when a proxy has been left.
    """
    left_after = {record.model: record.left_after for record in before if record.left}
    told = len(search.trial_log.observations)
    return [
        LevelRecord(
            model=state.level,
            trials=state.trials,
            past=state.past,
            cost=state.cost,
            correlation=_known(state.correlation),
            low=_known(state.interval[0]),
            high=_known(state.interval[1]),
            left=state.left,
            left_after=left_after.get(state.level, told) if state.left else None,
        )
        for state in search.proxies()
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
