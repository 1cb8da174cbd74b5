"""Which hyperparameters matter, and which act together; tables from `benchmarks.insights.anova`."""

from __future__ import annotations

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
    variances = found.basis.variances(found.coefficients)
    owns = own_effects(landscape).groupby("dataset").mean(numeric_only=True)
    rows = []
    for i, name in enumerate(landscape.names):
        within = np.array([len(t) > 1 and i in t for t in found.basis.terms])
        alone = np.arange(len(variances)) == i
        main, main_se = found.share(alone)
        pairs, pairs_se = found.share(within)
        null, whole = found.null[i], max(float(variances.sum()), 1e-300)
        rows.append(
            {
                "hyperparameter": name,
                "stage": stage_of(name),
                "main": main,
                "main_se": main_se,
                "null95": float(np.quantile(null, 0.95)),
                "p": float((1 + (null >= main).sum()) / (1 + len(null))),
                "pairs": pairs,
                "pairs_se": pairs_se,
                "sobol": main / whole,
                "sobol_total": (main + pairs) / whole,
                **mean_se(owns[name].to_numpy(), "own"),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("main", ascending=False, kind="stable").reset_index(drop=True)


def interactions(landscape: Landscape, found: Decomposition) -> pd.DataFrame:
    """Every pair, the strongest first.

    Returns:
        first, second, share (of the score's variance), share_se (jackknife), null95 (of this pair
        with shuffled scores), null95_largest (of the largest of all pairs: what to hold the top of
        the list against), sobol (share of the model's variance).
    """
    variances = found.basis.variances(found.coefficients)
    pairs = [t for t, axes in enumerate(found.basis.terms) if len(axes) == 2]
    if not pairs:
        return pd.DataFrame(columns=["first", "second", "share"])
    largest = float(np.quantile(found.null[pairs].max(axis=0), 0.95))
    rows = []
    for t in pairs:
        share, se = found.share(np.arange(len(variances)) == t)
        first, second = (landscape.names[i] for i in found.basis.terms[t])
        rows.append(
            {
                "first": first,
                "second": second,
                "share": share,
                "share_se": se,
                "null95": float(np.quantile(found.null[t], 0.95)),
                "null95_largest": largest,
                "sobol": share / max(float(variances.sum()), 1e-300),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)


def stages(landscape: Landscape, found: Decomposition) -> pd.DataFrame:
    """Shares of the score's variance by stage: stage, share, share_se, null95, sobol.

    A pair of hyperparameters of two stages counts for "a x b", their interplay.
    """
    order, names = [*STAGES, SHARED], landscape.names
    of = [
        " x ".join(sorted({stage_of(names[i]) for i in term}, key=order.index))
        for term in found.basis.terms
    ]
    whole = max(float(found.basis.variances(found.coefficients).sum()), 1e-300)
    rows = []
    for stage in dict.fromkeys(sorted(of, key=lambda s: (s.count(" x "), s))):
        mask = np.array([o == stage for o in of])
        share, se = found.share(mask)
        null = float(np.quantile(found.null[mask].sum(axis=0), 0.95))
        rows.append(
            {"stage": stage, "share": share, "share_se": se, "null95": null, "sobol": share / whole}
        )
    return pd.DataFrame(rows)


def own_effects(landscape: Landscape) -> pd.DataFrame:
    """`own_effect` of every hyperparameter: one row a group (dataset, group, one column each)."""
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
    levels = np.unique(u)
    if len(levels) > cells:
        u = np.searchsorted(np.quantile(u, np.arange(1, cells) / cells), u, side="right")
        levels = np.unique(u)
    if len(levels) < 2 or len(y) <= len(levels) or np.ptp(y) == 0:
        return float("nan")
    inside = sum(float(((y[u == v] - y[u == v].mean()) ** 2).sum()) for v in levels)
    total = float(((y - y.mean()) ** 2).sum())
    return 1.0 - (inside / (len(y) - len(levels))) / (total / (len(y) - 1))
