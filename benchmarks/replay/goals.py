"""Whether the search is as good as it is meant to be, in words and with the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.replay.strategies import NO_PAST, STRATEGIES
from benchmarks.replay.summary import SHARES, Found, Key, label

OURS: Key = ("autopipe", "true")
ALONE: Key = ("gp", NO_PAST)
EARLY, LATE = SHARES.index(0.1), SHARES.index(0.33)
TOLERANCE = 1.1  # of the regret of the search without history


def goals(found: Found) -> list[str]:
    """One line a goal; a goal whose runs are not there is said to be open."""
    return [
        _early(found),
        *_anytime(found),
        *(line for variant in ("shuffled", "inverted") for line in _robust(found, variant)),
    ]


def _early(found: Found) -> str:
    goal = "at 10 % of the budget no more regret than the best peer without transfer at 100 %"
    curves = _aligned(found, [OURS, *_of_kind(found, "peer")])
    if len(curves) < 2:
        return f"{goal}: autopipe or the peers were not played -> open"
    mine = curves.pop(OURS)
    best = min(curves, key=lambda key: curves[key][:, -1].mean())
    regret, theirs = mine[:, EARLY].mean(), curves[best][:, -1].mean()
    verdict = _verdict(regret <= theirs)
    return f"{goal}: autopipe {regret:.4f}, {label(best)} {theirs:.4f} -> {verdict}"


def _anytime(found: Found) -> list[str]:
    goal = "at every budget no more regret than the best peer of any kind"
    curves = _aligned(found, [OURS, *_of_kind(found, "peer", "transfer peer")])
    if len(curves) < 2:
        return [f"{goal}: autopipe or the peers were not played -> open"]
    means = {key: rows.mean(axis=0) for key, rows in curves.items()}
    mine, lines, kept = means.pop(OURS), [], True
    for column, share in enumerate(SHARES):
        best = min(means, key=lambda key: means[key][column])
        regret, theirs = mine[column], means[best][column]
        kept &= bool(regret <= theirs)
        verdict = _verdict(regret <= theirs)
        lines.append(
            f"  {share:.0%}: autopipe {regret:.4f}, {label(best)} {theirs:.4f} -> {verdict}"
        )
    return [f"{goal} -> {_verdict(kept)}", *lines]


def _robust(found: Found, variant: str) -> list[str]:
    goal = f"with the {variant} history within 10 % of gp's regret from a third of the budget on"
    key: Key = ("autopipe", variant)
    curves = _aligned(found, [key, ALONE])
    if len(curves) < 2:
        return [f"{goal}: autopipe or gp was not played -> open"]
    mine, alone = curves[key], curves[ALONE]
    lines, kept = [], True
    for column in range(LATE, len(SHARES)):
        regret, theirs = mine[:, column].mean(), alone[:, column].mean()
        fine = bool(regret <= TOLERANCE * theirs)
        kept &= fine
        ratio = f"ratio {regret / theirs:.2f}" if theirs > 0 else "no ratio"
        lines.append(
            f"  {SHARES[column]:.0%}: autopipe {regret:.4f}, gp {theirs:.4f}, {ratio}; paired "
            f"difference {_paired(mine[:, column] - alone[:, column])} -> {_verdict(fine)}"
        )
    return [f"{goal} -> {_verdict(kept)}", *lines]


def _paired(difference: np.ndarray) -> str:
    """Mean difference over datasets with its standard error."""
    n = len(difference)
    if n < 2:
        return f"{difference.mean():+.4f} (one dataset)"
    se = difference.std(ddof=1) / np.sqrt(n)
    return f"{difference.mean():+.4f} ± {se:.4f} (standard error, {n} datasets)"


def _verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"


def _of_kind(found: Found, *kinds: str) -> list[Key]:
    return [k for k in found.curves if STRATEGIES[k[0]].kind in kinds and k[1] in (NO_PAST, "true")]


def _aligned(found: Found, keys: Sequence[Key]) -> dict[Key, np.ndarray]:
    """Curves of those that were played, on the datasets that all of them have.

    Empty if the first one was not played, or they have no dataset in common.
    """
    played = [key for key in keys if key in found.curves]
    if keys[0] not in played:
        return {}
    shared = set.intersection(*(set(found.datasets[key]) for key in played))
    if not shared:
        return {}
    rows = {
        key: [row for row, name in enumerate(found.datasets[key]) if name in shared]
        for key in played
    }
    return {key: found.curves[key][rows[key]] for key in played}
