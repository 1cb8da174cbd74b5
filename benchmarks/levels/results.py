"""From runs to tables: regret of every arm, and what its trials cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from benchmarks.levels import store
from benchmarks.levels.arms import ARMS
from benchmarks.levels.family import MODELS
from benchmarks.levels.play import Run
from benchmarks.levels.store import Job
from benchmarks.replay.results import SHARES
from trials.io.errors import SettingsError

BASELINES = {"proxies": "alone", "history": "history", "ablation": "random"}
"""The arm that others of its group are compared with."""
BOUNDS = {"both": 0.6, "both shuffled": 1.3, "both reversed": 1.3, "history and both": 1.05}
"""Regret over that of the baseline, at most; without a history from four full trials on."""


def load(results: Path, jobs: Sequence[Job], seeds: Sequence[int]) -> pd.DataFrame:
    """One row per run.

    Columns: arm, budget, dataset, seed, regret at the end and at each of `SHARES`, trials and cost
    by model, `current` if it is of the present code.

    Raises:
        SettingsError: There are none.
    """
    rows = [
        _row(job, run) | {"current": run.code == store.code_version(job.arm)}
        for job in jobs
        for run in store.read_runs(results, job).values()
        if run.seed in seeds
    ]
    if not rows:
        raise SettingsError("nothing was run yet\n  run: python -m benchmarks.levels run")
    return pd.DataFrame(rows)


def remarks(runs: pd.DataFrame, jobs: Sequence[Job], seeds: Sequence[int]) -> list[str]:
    """What is missing or of other code: means over different datasets cannot be compared."""
    found, expected, stale = len(runs), len(jobs) * len(seeds), int((~runs["current"]).sum())
    lines = []
    if found < expected:
        lines.append(
            f"{expected - found} of {expected} runs are missing, so rows may be of different "
            "datasets; add them: python -m benchmarks.levels run"
        )
    if stale:
        lines.append(f"{stale} of {found} runs are of other code than the present")
    return lines


def _row(job: Job, run: Run) -> dict[str, object]:
    played = [model for model, *_ in run.trials]
    return (
        {"arm": job.arm, "budget": job.budget, "dataset": job.dataset, "seed": run.seed}
        | {"regret": run.regrets[-1] if run.regrets else run.start}
        | dict(zip(map(_at, SHARES), run.at(SHARES), strict=True))
        | {"trials": len(played), "cost": run.costs[-1] if run.costs else 0.0}
        | {f"{model} trials": played.count(model) for model in MODELS}
        | {f"{model} share": run.spent_on(model) for model in MODELS}
        | {"left": "; ".join(f"{model}: {why}" for model, why in run.left.items())}
    )


def _at(share: float) -> str:
    return f"regret at {share:.0%}"


def compared(runs: pd.DataFrame, column: str, arm: str, budget: float) -> tuple[float, float]:
    """An arm's mean of a column over that of its baseline, and the standard error of that ratio.

    By the jackknife over datasets, of those that both have. NaN where the baseline was not run.
    """
    baseline = BASELINES[ARMS[arm].group]
    own = runs[(runs["budget"] == budget) & runs["arm"].isin([arm, baseline])]
    means = own.pivot_table(index="dataset", columns="arm", values=column, aggfunc="mean").dropna()
    if baseline not in means or arm not in means or len(means) < 2:
        return np.nan, np.nan
    ours, theirs = means[arm].to_numpy(), means[baseline].to_numpy()
    if not theirs.sum() > 0:
        return np.nan, np.nan
    n = len(means)
    without = (ours.sum() - ours) / (theirs.sum() - theirs)
    spread = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(ours.sum() / theirs.sum()), float(spread)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and budget."""
    rows = []
    for (arm, budget), part in runs.groupby(["arm", "budget"], sort=False):
        means = part.groupby("dataset")["regret"].mean()
        ratio, error = compared(runs, "regret", str(arm), float(budget))
        rows.append(
            {
                "group": ARMS[str(arm)].group, "arm": arm, "budget": budget,
                "regret": means.mean(),
                "regret_se": means.std(ddof=1) / np.sqrt(len(means)),
                "ratio": ratio, "ratio_se": error,
                "trials": part["trials"].mean(),
                "cost_per_trial": (part["cost"].sum() / part["trials"].sum()),
                **{f"{model} trials": part[f"{model} trials"].mean() for model in MODELS},
                "proxy_share": 1.0 - part[f"{MODELS[-1]} share"].mean(),
                "left": (part["left"] != "").mean(),
                "datasets": len(means), "runs": len(part),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def tables(runs: pd.DataFrame) -> list[Table]:
    """The summary for people, one table for each group of arms."""
    rows = summary(runs)
    found = []
    for group, part in rows.groupby("group", sort=False):
        table = Table(title=f"{group}: regret in standard deviations", title_justify="left")
        heads = ("budget", "regret", "over baseline", "trials", *MODELS, "proxies", "cost/trial")
        table.add_column("arm")
        for head in heads:
            table.add_column(head, justify="right")
        random = part[part["arm"] == "random"].set_index("budget")["cost_per_trial"]
        for row in part.to_dict("records"):
            cost = row["cost_per_trial"] / random.get(row["budget"], 1.0)
            table.add_row(
                row["arm"], f"{row['budget']:g}",
                f"{row['regret']:.2f} ± {row['regret_se']:.2f}",
                f"{row['ratio']:.2f} ± {row['ratio_se']:.2f}", f"{row['trials']:.1f}",
                *(f"{row[f'{model} trials']:.1f}" for model in MODELS),
                f"{row['proxy_share']:.0%}", f"{cost:.2f}",
            )  # fmt: skip
        found.append(table)
    return found


def goals(runs: pd.DataFrame) -> list[str]:
    """What the levels must reach, one line per bound; nothing where an arm was not run."""
    lines = []
    for arm, bound in BOUNDS.items():
        budgets = sorted(runs.loc[runs["arm"] == arm, "budget"].unique())
        for budget in budgets:
            columns = ["regret"] if ARMS[arm].group == "proxies" else list(map(_at, SHARES))
            for column in columns:
                ratio, error = compared(runs, column, arm, budget)
                if np.isfinite(ratio):
                    verdict = "reached" if ratio <= bound else "not reached"
                    lines.append(
                        f"{arm}, budget {budget:g}, {column}: {ratio:.2f} ± {error:.2f} times "
                        f"that of {BASELINES[ARMS[arm].group]}, at most {bound} -> {verdict}"
                    )
    return lines
