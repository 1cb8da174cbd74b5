"""Calibration: coverage that holds elsewhere, and belief only in what was borne out."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.history.calibration import Calibration, cross_calibrate, rung_of

RUNGS = np.repeat([0.1, 0.5], 2000)
DATASETS = np.arange(4000) % 20


def forecasts(skill: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=len(RUNGS))
    return skill * mean + rng.normal(size=len(RUNGS)), mean, np.full(len(RUNGS), 0.2)


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_belief_follows_skill_and_intervals_cover_new_data(skill: float) -> None:
    target, mean, sd = forecasts(skill, 0)
    fitted = Calibration.fit(target, mean, sd, RUNGS, DATASETS, RUNGS)
    assert fitted.shrink[0.1] == pytest.approx(skill, abs=0.11)
    target, mean, sd = forecasts(skill, 1)
    mean, sd = fitted.apply(mean, sd, RUNGS)
    for rung in (0.1, 0.5):
        inside = np.abs(target - mean) <= 1.645 * sd
        assert inside[rung == RUNGS].mean() == pytest.approx(0.9, abs=0.03)


def test_a_fold_is_not_calibrated_on_itself() -> None:
    target, mean, sd = forecasts(1.0, 0)
    first = np.arange(len(target)) % 2 == 0
    before = cross_calibrate(target, mean, sd, RUNGS, DATASETS, RUNGS, [first, ~first])
    after = cross_calibrate(
        np.where(first, 1e6, target), mean, sd, RUNGS, DATASETS, RUNGS, [first, ~first]
    )
    for own, other in zip(before, after, strict=True):
        assert np.array_equal(own[first], other[first])
    assert not np.array_equal(before[1][~first], after[1][~first])


def test_without_other_folds_nothing_is_claimed() -> None:
    target, mean, sd = forecasts(1.0, 0)
    everything = np.ones(len(target), dtype=bool)
    assert np.isnan(cross_calibrate(target, mean, sd, RUNGS, DATASETS, RUNGS, [everything])).all()


def test_values_between_rungs_are_interpolated() -> None:
    fitted = Calibration({0.1: 0.0, 0.3: 1.0}, {0.1: 1.0, 0.3: 3.0}, 2.0)
    mean, sd = fitted.apply(np.array([4.0, 4.0]), np.zeros(2), np.array([0.2, 0.9]))
    assert mean.tolist() == pytest.approx([2.0, 4.0])
    assert sd.tolist() == pytest.approx([2.0 * 2**0.5, 2.0 * 3**0.5])


def test_a_continuum_of_fractions_is_binned() -> None:
    assert rung_of(np.array([0.1, 0.25, 0.5])).tolist() == [0.1, 0.25, 0.5]
    assert set(rung_of(np.linspace(0.05, 0.95, 50))) == {0.1, 0.2, 0.3, 0.5, 0.7}


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("datasets", [4, 24])
def test_a_new_dataset_is_covered_though_outcomes_of_one_err_together(shared, datasets) -> None:
    rng = np.random.default_rng(0)

    def errors(count: int) -> np.ndarray:
        own = rng.normal(size=(count, 20))
        return shared**0.5 * rng.normal(size=(count, 1)) + (1.0 - shared) ** 0.5 * own

    dataset, sizes = np.repeat(np.arange(datasets), 20), datasets * 20
    covered = []
    for _ in range(60):
        told = errors(datasets).ravel(), np.zeros(sizes), np.full(sizes, 0.3), np.full(sizes, 0.2)
        fitted = Calibration.fit(*told, dataset, told[3])
        sd = fitted.apply(np.zeros(1), np.full(1, 0.3), np.full(1, 0.2))[1]
        covered.append(np.mean(np.abs(errors(50)) <= 1.6449 * sd))
    assert np.mean(covered) == pytest.approx(0.92, abs=0.05)  # few datasets: a little wider


def test_a_dataset_with_many_trials_weighs_as_much_as_one_with_few() -> None:
    dataset = np.repeat([0, 1], [10_000, 100])
    target = np.where(dataset == 0, 1e-3, 1.0) * np.random.default_rng(0).normal(size=10_100)
    rung = np.full(10_100, 0.5)
    fitted = Calibration.fit(target, np.zeros(10_100), np.full(10_100, 0.1), rung, dataset, rung)
    # 90 % of both is 80 % of the second, whatever the first says.
    assert fitted.apply(np.zeros(1), np.full(1, 0.1), np.full(1, 0.5))[1] > 1.2 / 1.6449


def test_forecasts_that_never_err_need_no_width() -> None:
    nothing, fraction = np.zeros(40), np.full(40, 0.5)
    dataset, sd = np.arange(40) % 4, np.full(40, 0.1)
    fitted = Calibration.fit(nothing, nothing, sd, fraction, dataset, fraction)
    assert 0 < fitted.apply(nothing, np.full(40, 0.1), fraction)[1][0] < 0.02
