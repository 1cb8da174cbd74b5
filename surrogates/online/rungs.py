"""The fraction at which new trials stop first: that with the best expected outcome per budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogates.offline.early import EarlyPredictor

BUDGET = 12.0  # full-length trials' worth of compute in the thought experiment
PROMOTED = 1 / 3  # share of the stopped trials that continue
REPEATS = 2000
ADVANTAGE = 1.05  # stopping early must pay by this factor, else run at full length


def rung_value(fraction: float, explained: float, flat: bool = False) -> float:
    """Expected best final score, in task standard deviations, from a fixed budget.

    Configurations have finals z ~ N(0, 1); at the rung one sees p = rho z + sqrt(1 - rho^2) e
    with rho^2 the explained share. The budget buys n = B / (s + (1 - s) / 3) starts; the third
    with the highest p continues and the best z among them counts. Where a trial costs the same
    however long it is (`flat`), n = B / (1 + 1 / 3). Monte Carlo, fixed seed.
    """
    start, rest = (1.0, 1.0) if flat else (fraction, 1.0 - fraction)
    n = max(1, int(BUDGET if fraction >= 1.0 else BUDGET / (start + rest * PROMOTED)))
    rng = np.random.default_rng(0)
    z, noise = rng.standard_normal((2, REPEATS, n))
    if fraction >= 1.0:
        return float(z.max(axis=1).mean())
    rho2 = float(np.clip(explained, 0.0, 1.0))
    seen = np.sqrt(rho2) * z + np.sqrt(1.0 - rho2) * noise
    top = np.argsort(-seen, axis=1)[:, : max(1, round(n * PROMOTED))]
    return float(np.take_along_axis(z, top, axis=1).max(axis=1).mean())


def allowed_rungs(early: EarlyPredictor | None, rungs: Sequence[float] | None) -> list[float]:
    """The fractions that new trials may stop at, but for 1: the caller's, else the predictor's."""
    known = [r.fraction for r in early.rungs] if early is not None else []
    return sorted(r for r in (known if rungs is None else rungs) if r < 1.0)


def choose_rung(
    early: EarlyPredictor | None, rungs: Sequence[float] | None, flat: bool = False
) -> float:
    """The fraction new trials start at; 1.0 where stopping early does not pay.

    A single allowed rung is taken as the caller's decision; None allows the fractions that the
    predictor was evaluated at.
    """
    if early is None or not early.rungs:
        return 1.0
    if rungs is not None and len(rungs) == 1:
        return rungs[0]
    allowed = allowed_rungs(early, rungs)
    values = {r: rung_value(r, early.explained_at(r), flat) for r in allowed}
    if not values:
        return 1.0
    best = max(values, key=lambda r: (values[r], -r))
    forced = rungs is not None and 1.0 not in rungs
    return best if forced or values[best] > ADVANTAGE * rung_value(1.0, 1.0) else 1.0
