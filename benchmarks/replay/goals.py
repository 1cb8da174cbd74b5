"""The goals of the search, and whether the replay reaches them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.replay.results import SHARES, Key, Results, label
from benchmarks.replay.strategies import NO_HISTORY, STRATEGIES

OURS: Key = ("autopipe", "true")
ALONE: Key = ("gp", NO_HISTORY)
EARLY, LATE = 0.1, 0.33  # shares of the budget
TOLERANCE = 1.1  # of the regret of the search without history


def goals(results: Results) -> list[str]:
    """One line or more per goal; a goal whose runs are missing is open."""
    return [
        *_early(results),
        *_anytime(results),
        *(line for variant in ("shuffled", "inverted") for line in _robust(results, variant)),
    ]


def _early(results: Results) -> list[str]:
    goal = "at 10 % of the budget no more regret than the best peer without transfer at 100 %"
    if (found := _against(results, "peer")) is None:
        return [f"{goal}: autopipe or the peers were not run -> open"]
    ours, means = found
    best = means.loc[1.0].idxmin()
    return [f"{goal}: {_compared(ours[EARLY], best, means.loc[1.0, best])}"]


def _anytime(results: Results) -> list[str]:
    goal = "at every budget no more regret than the best peer of any kind"
    if (found := _against(results, "peer", "transfer peer")) is None:
        return [f"{goal}: autopipe or the peers were not run -> open"]
    ours, means = found
    lines = [
        f"  {share:.0%}: {_compared(ours[share], best, means.loc[share, best])}"
        for share, best in means.idxmin(axis=1).items()
    ]
    return [f"{goal} -> {_verdict(bool((ours <= means.min(axis=1)).all()))}", *lines]


def _robust(results: Results, variant: str) -> list[str]:
    goal = f"with the {variant} history within 10 % of gp's regret from a third of the budget on"
    key: Key = ("autopipe", variant)
    curves = _aligned(results, [key, ALONE])
    if len(curves) < 2:
        return [f"{goal}: autopipe or gp was not run -> open"]
    lines, all_reached = [], True
    for share in SHARES[SHARES.index(LATE) :]:
        ours, alone = curves[key][share], curves[ALONE][share]
        reached = bool(ours.mean() <= TOLERANCE * alone.mean())
        all_reached &= reached
        ratio = f"ratio {ours.mean() / alone.mean():.2f}" if alone.mean() > 0 else "no ratio"
        lines.append(
            f"  {share:.0%}: autopipe {ours.mean():.4f}, gp {alone.mean():.4f}, {ratio}; paired "
            f"difference {_paired((ours - alone).to_numpy())} -> {_verdict(reached)}"
        )
    return [f"{goal} -> {_verdict(all_reached)}", *lines]


def _compared(ours: float, best: Key, theirs: float) -> str:
    verdict = _verdict(bool(ours <= theirs))
    return f"autopipe {ours:.4f}, {label(best)} {theirs:.4f} -> {verdict}"


def _paired(difference: np.ndarray) -> str:
    """Mean difference over datasets with its standard error."""
    n = len(difference)
    if n < 2:
        return f"{difference.mean():+.4f} (one dataset)"
    se = difference.std(ddof=1) / np.sqrt(n)
    return f"{difference.mean():+.4f} ± {se:.4f} (standard error, {n} datasets)"


def _verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"


def _against(results: Results, *kinds: str) -> tuple[pd.Series, pd.DataFrame] | None:
    """Mean regret by share: ours, and that of every strategy of such a kind; None where not run."""
    keys = [
        (name, history)
        for name, history in results.curves
        if STRATEGIES[name].kind in kinds and history in (NO_HISTORY, "true")
    ]
    curves = _aligned(results, [OURS, *keys])
    if len(curves) < 2:
        return None
    means = pd.DataFrame({key: rows.mean() for key, rows in curves.items()})
    return means.pop(OURS), means


def _aligned(results: Results, keys: Sequence[Key]) -> dict[Key, pd.DataFrame]:
    """Curves of those keys that have runs, on the datasets that all of them share.

    Empty if the first one has none, or they have no dataset in common.
    """
    curves = {key: results.curves[key] for key in keys if key in results.curves}
    if keys[0] not in curves:
        return {}
    shared = functools.reduce(pd.Index.intersection, (rows.index for rows in curves.values()))
    return {key: rows.loc[shared, SHARES] for key, rows in curves.items()} if len(shared) else {}
