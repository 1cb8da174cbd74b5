"""Calibration: coverage that holds elsewhere, and belief only in what was borne out."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.calibration import Calibration, cross_calibrate, rung_of

RUNGS = np.repeat([0.1, 0.5], 2000)


def forecasts(skill: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=len(RUNGS))
    return skill * mean + rng.normal(size=len(RUNGS)), mean, np.full(len(RUNGS), 0.2)


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_belief_follows_skill_and_intervals_cover_new_data(skill: float) -> None:
    target, mean, sd = forecasts(skill, 0)
    fitted = Calibration.fit(target, mean, sd, RUNGS)
    assert fitted.shrink[0.1] == pytest.approx(skill, abs=0.11)
    target, mean, sd = forecasts(skill, 1)
    mean, sd = fitted.apply(mean, sd, RUNGS)
    for rung in (0.1, 0.5):
        inside = np.abs(target - mean) <= 1.645 * sd
        assert inside[rung == RUNGS].mean() == pytest.approx(0.9, abs=0.03)


def test_a_fold_is_not_calibrated_on_itself() -> None:
    target, mean, sd = forecasts(1.0, 0)
    first = np.arange(len(target)) % 2 == 0
    before = cross_calibrate(target, mean, sd, RUNGS, [first, ~first])
    after = cross_calibrate(np.where(first, 1e6, target), mean, sd, RUNGS, [first, ~first])
    for own, other in zip(before, after, strict=True):
        assert np.array_equal(own[first], other[first])
    assert not np.array_equal(before[1][~first], after[1][~first])


def test_without_other_folds_nothing_is_claimed() -> None:
    target, mean, sd = forecasts(1.0, 0)
    everything = np.ones(len(target), dtype=bool)
    assert np.isnan(cross_calibrate(target, mean, sd, RUNGS, [everything])).all()


def test_values_between_rungs_are_interpolated() -> None:
    fitted = Calibration({0.1: 0.0, 0.3: 1.0}, {0.1: 1.0, 0.3: 3.0}, 2.0)
    mean, sd = fitted.apply(np.array([4.0, 4.0]), np.zeros(2), np.array([0.2, 0.9]))
    assert mean.tolist() == pytest.approx([2.0, 4.0])
    assert sd.tolist() == pytest.approx([2.0 * 2**0.5, 2.0 * 3**0.5])


def test_a_continuum_of_fractions_is_binned() -> None:
    assert rung_of(np.array([0.1, 0.25, 0.5])).tolist() == [0.1, 0.25, 0.5]
    assert set(rung_of(np.linspace(0.05, 0.95, 50))) == {0.1, 0.2, 0.3, 0.5, 0.7}
