"""From runs to numbers: anytime regret of every strategy, with bands over datasets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from rich.table import Table

from benchmarks.replay import store
from benchmarks.replay.run import Plan
from benchmarks.replay.store import Settings
from benchmarks.replay.strategies import NO_PAST, STRATEGIES
from trials.io.errors import SettingsError

SHARES = (0.05, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0)
FINE = tuple(round(0.02 * step, 2) for step in range(1, 51))
DRAWS, LEVEL = 2000, 0.95

Key = tuple[str, str]
"""Strategy and history variant."""


@dataclass(frozen=True)
class Found:
    """The runs of a plan that are there.

    Curves are the mean over seeds of the normalised regret, one row a dataset.
    """

    curves: dict[Key, np.ndarray]
    """`datasets x len(SHARES)`."""
    fine: dict[Key, np.ndarray]
    """`datasets x len(FINE)`."""
    datasets: dict[Key, list[str]]
    seeds: dict[Key, int]
    """The least number of seeds on any dataset."""
    ask_seconds: dict[Key, float]
    """Mean seconds of a call of `ask`."""
    remarks: list[str] = field(default_factory=list)
    """What is missing or stale, with the command that mends it."""


def collected(settings: Settings, plan: Plan) -> Found:
    """Read the runs of a plan.

    Raises:
        SettingsError: none is there.
    """
    found = Found({}, {}, {}, {}, {})
    asks: dict[Key, tuple[float, int]] = {}
    rows: dict[Key, list[tuple[np.ndarray, np.ndarray]]] = {}
    missing = stale = total = 0
    for job in plan.jobs:
        key = job.strategy, job.variant
        made_by = store.played_by(job.strategy)
        lines = store.read_traces(store.trace_file(settings, job))
        lines = {seed: line for seed, line in lines.items() if seed in plan.seeds}
        total += len(plan.seeds)
        missing += len(plan.seeds) - len(lines)
        stale += sum(line["code"] != made_by for line in lines.values())
        if not lines:
            continue
        traces = [store.as_trace(line) for line in lines.values()]
        curves = (np.mean([t.at(np.array(g)) for t in traces], axis=0) for g in (SHARES, FINE))
        rows.setdefault(key, []).append(tuple(curves))  # type: ignore[arg-type]
        found.datasets.setdefault(key, []).append(job.dataset)
        found.seeds[key] = min(found.seeds.get(key, len(traces)), len(traces))
        seconds, calls = asks.get(key, (0.0, 0))
        seconds += sum(trace.seconds.get("ask", 0.0) for trace in traces)
        asks[key] = seconds, calls + sum(trace.asks for trace in traces)
    if not rows:
        raise SettingsError("nothing was played yet\n  play: python -m benchmarks.replay run")
    for key, pairs in rows.items():
        found.curves[key] = np.array([grid for grid, _ in pairs])
        found.fine[key] = np.array([fine for _, fine in pairs])
        found.ask_seconds[key] = asks[key][0] / max(1, asks[key][1])
    if missing:
        found.remarks.append(
            f"{missing} of {total} runs are missing; play them: python -m benchmarks.replay run"
        )
    if stale:
        found.remarks.append(
            f"{stale} runs are of other code than the present; renew them with: "
            "python -m benchmarks.replay run --again"
        )
    return found


def band(curves: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over datasets, and the limits of its 95 % bootstrap band over datasets.

    Args:
        curves: `datasets x shares`.
        seed: of the 2,000 draws.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(curves), size=(DRAWS, len(curves)))
    means = curves[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return curves.mean(axis=0), low, high


def summary(found: Found) -> pd.DataFrame:
    """One row a strategy, history and share of the budget."""
    rows = []
    for key, curves in found.curves.items():
        for share, mean, low, high in zip(SHARES, *band(curves), strict=True):
            rows.append(
                {
                    "strategy": key[0], "kind": STRATEGIES[key[0]].kind, "history": key[1],
                    "share": share, "regret": mean, "low": low, "high": high,
                    "datasets": len(curves), "seeds": found.seeds[key],
                    "ask_seconds": found.ask_seconds[key],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def label(key: Key) -> str:
    """How a strategy is called in tables and pictures."""
    return key[0] if key[1] in (NO_PAST, "true") else f"{key[0]}, {key[1]} history"


def render_trials(rows: pd.DataFrame) -> Table:
    """The summary with strategies as rows and shares of the budget as columns."""
    table = Table(
        title="Normalised regret (mean over datasets and seeds; 95 % band over datasets)",
        title_justify="left",
    )
    table.add_column("share of the budget")
    for share in SHARES:
        table.add_column(f"{share:.0%}", justify="right")
    table.add_column("seeds", justify="right")
    table.add_column("s an ask", justify="right")
    for key, part in rows.groupby(["strategy", "history"], sort=False):
        cells = [f"{r.regret:.3f}\n{r.low:.3f}–{r.high:.3f}" for r in part.itertuples()]
        first = part.iloc[0]
        table.add_row(label(key), *cells, f"{first['seeds']}", f"{first['ask_seconds']:.2f}")  # type: ignore[arg-type]
    return table
