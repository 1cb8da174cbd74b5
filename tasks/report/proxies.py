"""What each proxy of a run did, cost and was worth, as a row of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.runs.folder import LevelRecord
from tasks.runs.formatting import UNKNOWN, format_number
from tasks.runs.tables import RunTables


@dataclass(frozen=True)
class ProxyRow:
    """A proxy with what its record leaves to be counted or said."""

    record: LevelRecord
    parameters: float  # NaN: not known
    share: float  # of the search's budget
    correlation: str
    interval: str


def proxy_rows(tables: RunTables) -> Iterator[ProxyRow]:
    """One row for each proxy, the smallest first; none before the first trial."""
    sizes = {proxy.model: proxy.parameters for proxy in tables.info.proxies}
    for record in tables.proxies:
        yield ProxyRow(
            record,
            sizes.get(record.model, math.nan),
            _share(record, tables),
            *_agreement(record),
        )


def _share(record: LevelRecord, tables: RunTables) -> float:
    """Share of the search's budget; where that is a time, trials side by side share it."""
    budget = tables.info.search_budget
    if budget.unit != "seconds":
        return record.cost / budget.amount
    own = tables.trials[tables.trials.model == record.model]
    return float(own.seconds.sum()) / (budget.amount * tables.info.settings.parallel)


def _agreement(record: LevelRecord) -> tuple[str, str]:
    """The correlation with the target and its interval; a wide one leaves no number to state."""
    if not (record.trials or record.past) or record.correlation is None:
        return "–", "–"
    if record.low is None or record.high is None:
        return format_number(record.correlation, 2), "–"
    known = record.high - record.low <= UNKNOWN
    interval = f"{format_number(record.low, 2)} to {format_number(record.high, 2)}"
    return format_number(record.correlation, 2) if known else "hardly known", interval
