"""Importance of hyperparameters and of pairs; tables from `benchmarks.insights.anova`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.insights.anova import Decomposition
from benchmarks.insights.landscape import SHARED, STAGES, Landscape, stage_of
from benchmarks.insights.spread import mean_se


def importance(landscape: Landscape, found: Decomposition) -> pd.DataFrame:
    """Importance of each hyperparameter, the most important first.

    Returns:
        hyperparameter, stage; main: share of the score's variance that its own effect explains in
        the model of all datasets, with main_se (jackknife over datasets), null95 (95 % quantile of
        the same with shuffled scores) and p; pairs: share through pairs with others, pairs_se;
        sobol, sobol_total: main, and main + pairs, as shares of the model's own variance; own:
        share explained within one dataset, whatever its form there (`own_effect`), own_se,
        datasets.
    """
    owns = own_effects(landscape).groupby("dataset").mean(numeric_only=True)
    rows = []
    for i, name in enumerate(landscape.names):
        alone = np.array([term == (i,) for term in found.basis.terms])
        within = np.array([len(term) > 1 and i in term for term in found.basis.terms])
        main, pairs = found.explained(alone), found.explained(within)
        rows.append(
            {
                "hyperparameter": name,
                "stage": stage_of(name),
                "main": main.share,
                "main_se": main.share_se,
                "null95": main.null95,
                "p": main.p,
                "pairs": pairs.share,
                "pairs_se": pairs.share_se,
                "sobol": main.sobol,
                "sobol_total": found.explained(alone | within).sobol,
                **mean_se(owns[name].to_numpy(), "own"),
            }
        )
    return _sorted(rows, "main")


def interactions(landscape: Landscape, found: Decomposition) -> pd.DataFrame:
    """Every pair, the strongest first.

    Returns:
        first, second, share (of the score's variance), share_se (jackknife), null95 (of this pair
        with shuffled scores), null95_largest (of the largest of all pairs: what to hold the top of
        the list against), sobol (share of the model's variance).
    """
    pairs = [i for i, term in enumerate(found.basis.terms) if len(term) == 2]
    if not pairs:
        return pd.DataFrame(columns=["first", "second", "share"])
    largest = float(np.quantile(found.null[pairs].max(axis=0), 0.95))
    rows = []
    for i in pairs:
        first, second = (landscape.names[axis] for axis in found.basis.terms[i])
        own = found.explained(np.arange(len(found.basis.terms)) == i)
        rows.append(
            {
                "first": first,
                "second": second,
                "share": own.share,
                "share_se": own.share_se,
                "null95": own.null95,
                "null95_largest": largest,
                "sobol": own.sobol,
            }
        )
    return _sorted(rows, "share")


def _sorted(rows: list[dict[str, Any]], by: str) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.sort_values(by, ascending=False, kind="stable").reset_index(drop=True)


def stages(landscape: Landscape, found: Decomposition) -> pd.DataFrame:
    """Shares of the score's variance by stage: stage, share, share_se, null95, sobol.

    A pair of hyperparameters of two stages counts for "a x b", their interplay.
    """
    order, names = [*STAGES, SHARED], landscape.names
    of = [
        " x ".join(sorted({stage_of(names[i]) for i in term}, key=order.index))
        for term in found.basis.terms
    ]
    rows = []
    for stage in dict.fromkeys(sorted(of, key=lambda s: (s.count(" x "), s))):
        rows.append({"stage": stage, **asdict(found.explained(np.array([o == stage for o in of])))})
    return pd.DataFrame(rows).drop(columns="p", errors="ignore")


def own_effects(landscape: Landscape) -> pd.DataFrame:
    """`own_effect` of every hyperparameter: one row per group (dataset, group, one column each)."""
    rows = []
    for group, members in landscape.groups.items():
        effects = {
            name: own_effect(u, landscape.z[members])
            for name, u in zip(landscape.names, landscape.unit[members].T, strict=True)
        }
        rows.append({"dataset": landscape.dataset[members[0]], "group": group, **effects})
    return pd.DataFrame(rows)


def own_effect(values: np.ndarray, z: np.ndarray, cells: int = 4) -> float:
    """Share of the variance of z that the cell means of one hyperparameter explain; needs no model.

    epsilon^2 = 1 - (SS_within / (n - k)) / (SS_total / (n - 1)) (Kelley, 1935): 0 on average where
    there is no effect, and then as often below as above. Numbers fall into quantile cells; rows
    where the hyperparameter is inactive are left out. NaN with fewer than two values, or as many
    cells as rows.
    """
    active = ~np.isnan(values)
    u, y = values[active], z[active]
    if len(np.unique(u)) > cells:
        u = np.searchsorted(np.quantile(u, np.arange(1, cells) / cells), u, side="right")
    by_cell = pd.Series(y).groupby(u)
    if by_cell.ngroups < 2 or len(y) <= by_cell.ngroups or np.ptp(y) == 0:
        return float("nan")
    inside = float(((y - by_cell.transform("mean")) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return 1.0 - (inside / (len(y) - by_cell.ngroups)) / (total / (len(y) - 1))
