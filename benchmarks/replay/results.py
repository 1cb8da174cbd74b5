"""From runs to numbers: anytime regret of every strategy, with bands over datasets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.table import Table

from benchmarks.replay import store
from benchmarks.replay.loop import Trace
from benchmarks.replay.run import Plan
from benchmarks.replay.store import Settings
from benchmarks.replay.strategies import NO_HISTORY, STRATEGIES
from trials.io.errors import SettingsError

SHARES = [0.05, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0]  # of the budget, in tables
FINE_SHARES = [round(0.02 * step, 2) for step in range(1, 51)]  # in the picture
ALL_SHARES = sorted({*SHARES, *FINE_SHARES})
DRAWS, LEVEL = 2000, 0.95

Key = tuple[str, str]
"""Strategy and history variant."""


@dataclass(frozen=True)
class Results:
    """The finished runs of a plan."""

    curves: dict[Key, pd.DataFrame]
    """`datasets x ALL_SHARES`: the mean over seeds of the normalised regret."""
    seeds: dict[Key, int]  # the least number of seeds on any dataset
    ask_seconds: dict[Key, float]  # mean seconds of a call of `ask`
    remarks: list[str]  # missing or stale runs, with the command that helps


def load_results(settings: Settings, plan: Plan) -> Results:
    """Read the runs of a plan.

    Raises:
        SettingsError: there are none.
    """
    runs: dict[Key, dict[str, list[Trace]]] = defaultdict(dict)
    stale = found = 0
    for job in plan.jobs:
        version = store.version_of(job.strategy)
        lines = store.read_traces(store.trace_file(settings, job))
        lines = {seed: line for seed, line in lines.items() if seed in plan.seeds}
        found += len(lines)
        stale += sum(line["code"] != version for line in lines.values())
        if lines:
            traces = [Trace(**line) for line in lines.values()]
            runs[job.strategy, job.variant][job.dataset] = traces
    if not runs:
        raise SettingsError("nothing was run yet\n  run: python -m benchmarks.replay run")
    remarks, total = [], len(plan.jobs) * len(plan.seeds)
    if found < total:
        remarks.append(
            f"{total - found} of {total} runs are missing; add them: "
            "python -m benchmarks.replay run"
        )
    if stale:
        remarks.append(
            f"{stale} runs are of other code than the present; renew them with: "
            "python -m benchmarks.replay run --again"
        )
    return Results(
        {key: _curves(by_dataset) for key, by_dataset in runs.items()},
        {key: min(map(len, by_dataset.values())) for key, by_dataset in runs.items()},
        {key: _ask_seconds(by_dataset) for key, by_dataset in runs.items()},
        remarks,
    )


def _curves(by_dataset: dict[str, list[Trace]]) -> pd.DataFrame:
    shares = np.array(ALL_SHARES)
    means = {d: np.mean([t.at(shares) for t in traces], axis=0) for d, traces in by_dataset.items()}
    return pd.DataFrame.from_dict(means, orient="index", columns=ALL_SHARES)


def _ask_seconds(by_dataset: dict[str, list[Trace]]) -> float:
    traces = [trace for traces in by_dataset.values() for trace in traces]
    seconds = sum(trace.seconds.get("ask", 0.0) for trace in traces)
    return seconds / max(1, sum(trace.asks for trace in traces))


def band(curves: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of `datasets x shares` over datasets, and the limits of its 95 % bootstrap band."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(curves), size=(DRAWS, len(curves)))
    means = curves[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return curves.mean(axis=0), low, high


def summarise(results: Results) -> pd.DataFrame:
    """One row per strategy, history and share of the budget."""
    rows = []
    for key, curves in results.curves.items():
        for share, mean, low, high in zip(SHARES, *band(curves[SHARES].to_numpy()), strict=True):
            rows.append(
                {
                    "strategy": key[0], "kind": STRATEGIES[key[0]].kind, "history": key[1],
                    "share": share, "regret": mean, "low": low, "high": high,
                    "datasets": len(curves), "seeds": results.seeds[key],
                    "ask_seconds": results.ask_seconds[key],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def label(key: Key) -> str:
    """Name of a strategy in tables and pictures."""
    return key[0] if key[1] in (NO_HISTORY, "true") else f"{key[0]}, {key[1]} history"


def console_table(rows: pd.DataFrame) -> Table:
    """The summary with strategies as rows and shares of the budget as columns."""
    title = "Normalised regret (mean over datasets and seeds; 95 % band over datasets)"
    table = Table("share of the budget", title=title, title_justify="left")
    for head in (*(f"{share:.0%}" for share in SHARES), "seeds", "s per ask"):
        table.add_column(head, justify="right")
    for (strategy, history), part in rows.groupby(["strategy", "history"], sort=False):
        cells = [f"{r.regret:.3f}\n{r.low:.3f}–{r.high:.3f}" for r in part.itertuples()]
        first = part.iloc[0]
        last = f"{first['seeds']}", f"{first['ask_seconds']:.2f}"
        table.add_row(label((str(strategy), str(history))), *cells, *last)
    return table
