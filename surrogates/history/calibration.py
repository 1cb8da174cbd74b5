"""Calibrated intervals: corrections of a forecast, learned where its outcome is known.

A forecast is a change from the last score seen, with mean mu and variance sigma^2 in units of the
task's scale. Held-out datasets show, at each fraction s, the share of mu to keep, lambda(s), and
the variance that sigma^2 lacks, v(s); one factor c then makes the 90 % interval
``lambda mu +- 1.645 c sqrt(sigma^2 + v)`` cover 90 % of a new dataset's outcomes: c is the quantile
of split conformal prediction (Lei et al., arXiv 1604.04173), at the level 0.9 (1 + 1 / n). Outcomes
of one dataset err together, so n is the number of independent outcomes that they are worth,
``sum_t n_t / (1 + (n_t - 1) rho)``, with rho the share of the squared error that a dataset's
outcomes have in common (the design effect, Kish, "Survey Sampling", 1965).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

Z90 = 1.6449
MAX_RUNGS = 8  # more distinct fractions than this are read as a continuum and binned
BINS = (0.1, 0.2, 0.3, 0.5, 0.7)
SHRINKS = np.linspace(0.0, 1.0, 11)
MIN_FACTOR = 0.1


@dataclass(frozen=True)
class Calibration:
    """Corrections by fraction, interpolated between those that were seen."""

    shrink: Mapping[float, float]
    """lambda: share of the forecast change to keep, in [0, 1]."""
    excess: Mapping[float, float]
    """v: squared error beyond the model's own variance, in squared task scales."""
    factor: float
    """c: on the standard deviation."""

    @classmethod
    def fit(
        cls,
        target: np.ndarray,
        mean: np.ndarray,
        sd: np.ndarray,
        fraction: np.ndarray,
        dataset: np.ndarray,
        rung: np.ndarray,
    ) -> Calibration:
        """From n held-out forecasts with their outcome, dataset and rung, each of shape (n,).

        lambda is the one with the least mean absolute error: most runs hardly move and a few jump,
        and a mean that is drawn to the few is a worse forecast of most.
        """
        shrink, excess = {}, {}
        for r in np.unique(rung):
            rows = rung == r
            errors = np.abs(target[rows] - SHRINKS[:, None] * mean[rows]).mean(axis=1)
            shrink[float(r)] = float(SHRINKS[int(errors.argmin())])
            surplus = (target[rows] - shrink[float(r)] * mean[rows]) ** 2 - sd[rows] ** 2
            excess[float(r)] = max(1e-6, float(surplus.mean()))
        plain = cls(shrink, excess, 1.0)
        return cls(shrink, excess, _factor(target, *plain.apply(mean, sd, fraction), dataset))

    def apply(
        self, mean: np.ndarray, sd: np.ndarray, fraction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Corrected mean and standard deviation, each of shape (n,)."""
        variance = sd**2 + at_rungs(self.excess, fraction)
        return at_rungs(self.shrink, fraction) * mean, self.factor * np.sqrt(variance)


def cross_calibrate(
    target: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    fraction: np.ndarray,
    dataset: np.ndarray,
    rung: np.ndarray,
    held_out: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Corrected mean and sd of n forecasts, each fold's learned from the other folds.

    All as for `Calibration.fit`, but NaN where there is no forecast, or nothing else is known.
    """
    known = np.isfinite(mean)
    new_mean, new_sd = np.full(len(mean), np.nan), np.full(len(mean), np.nan)
    for fold in held_out:
        others, own = known & ~fold, known & fold
        if others.any() and own.any():
            columns = (target, mean, sd, fraction, dataset, rung)
            fitted = Calibration.fit(*(values[others] for values in columns))
            new_mean[own], new_sd[own] = fitted.apply(mean[own], sd[own], fraction[own])
    return new_mean, new_sd


def rung_of(fraction: np.ndarray) -> np.ndarray:
    """The fraction itself, rounded; the nearest bin where all of them are many distinct ones."""
    rounded = np.round(fraction, 2)
    if len(pd.unique(rounded)) <= MAX_RUNGS:
        return rounded
    bins = np.array(BINS)
    return bins[np.abs(fraction[:, None] - bins).argmin(axis=1)]


def at_rungs(values: Mapping[float, float], fraction: np.ndarray) -> np.ndarray:
    """Values interpolated between rungs, constant beyond them."""
    known = sorted(values)
    return np.interp(fraction, known, [values[r] for r in known]) if known else 0.0 * fraction


def _factor(target: np.ndarray, mean: np.ndarray, sd: np.ndarray, dataset: np.ndarray) -> float:
    """Factor on sd for which the 90 % interval covers 90 % of a new dataset's outcomes."""
    error = (target - mean) / sd
    by_dataset = pd.Series(error).groupby(dataset.astype(str))
    rows = by_dataset.size()
    # Of forecasts that never err nothing is shared: 0 / 0 is 0 here.
    shared = float((by_dataset.mean() ** 2).mean() / max((error**2).mean(), 1e-300))
    level = min(1.0, 0.9 * (1.0 + 1.0 / (rows / (1.0 + (rows - 1.0) * shared)).sum()))
    # Every dataset weighs the same, however many trials it has.
    order = np.argsort(np.abs(error))
    weight = 1.0 / by_dataset.transform("size").to_numpy()[order]
    reached = np.searchsorted(np.cumsum(weight) / len(rows), level - 1e-9)
    quantile = np.abs(error)[order][min(int(reached), len(error) - 1)]
    return float(max(quantile / Z90, MIN_FACTOR))
