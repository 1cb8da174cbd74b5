"""Prefixes: what sets trials of a task apart does not depend on how far the task goes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.history.prefixes import BASE, BEST, LAST, PrefixRows, relative

COUNT = 24


def rows(shift: float = 0.0) -> PrefixRows:
    """Two tasks of six trials at two rungs; `shift` raises every change of the second task."""
    rng = np.random.default_rng(0)
    task = np.repeat(["a", "b"], COUNT // 2)
    empty = np.zeros(COUNT)
    return PrefixRows(
        features=pd.DataFrame(index=range(COUNT)),
        target=rng.normal(size=COUNT) + shift * (task == "b"),
        final=empty,
        scale=np.ones(COUNT),
        fraction=np.tile([0.1, 0.5], COUNT // 2),
        dataset=task,
        group=task,
        trial=np.arange(COUNT) // 2,
        cost=empty,
        full_cost=empty,
        sign=1.0,
        rung=np.tile([0.1, 0.5], COUNT // 2),
    )


def test_changes_are_apart_from_the_mean_of_their_task_and_rung() -> None:
    data, centred = rows(), rows().training_target(center_within_task=True)
    assert np.allclose(centred, rows(shift=7.0).training_target(center_within_task=True))
    for task in ("a", "b"):
        for rung in (0.1, 0.5):
            own = (data.group == task) & (data.fraction == rung)
            assert centred[own].mean() == pytest.approx(0.0, abs=1e-12)
            assert np.allclose(np.diff(centred[own]), np.diff(data.target[own]))


def test_the_typical_change_is_the_median_of_the_tasks() -> None:
    before, after = (rows(s).typical_changes(center_within_task=True) for s in (0.0, 7.0))
    assert set(before) == {0.1, 0.5}
    for rung, value in before.items():
        assert after[rung] == pytest.approx(value + 3.5)  # two tasks: the median is their mean
    first = rows(shift=7.0)
    own = first.group == "a"
    assert first.typical_changes(True, own) == rows().typical_changes(True, own)


def test_the_change_itself_needs_nothing_added() -> None:
    data = rows(shift=7.0)
    assert np.array_equal(data.training_target(center_within_task=False), data.target)
    assert data.typical_changes(center_within_task=False) == {0.1: 0.0, 0.5: 0.0}


@given(unit=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), sign=st.sampled_from([-1.0, 1.0]))
def test_units_of_the_score_do_not_matter(unit: float, shift: float, sign: float) -> None:
    """Turned, scaled and moved scores give the same features; LAST comes turned already."""
    last, base, best = np.array([0.3, 0.5]), np.array([0.1, 0.1]), np.array([0.4, 0.5])

    def features(unit: float, shift: float, sign: float) -> pd.DataFrame:
        moved = {BASE: sign * (unit * base + shift), BEST: sign * (unit * best + shift)}
        table = pd.DataFrame(moved | {LAST: unit * last + shift, "signal.kl": [1.0, 2.0]})
        return relative(table, unit, sign)

    found = features(unit, shift, sign)
    pd.testing.assert_frame_equal(found, features(1.0, 0.0, 1.0), atol=1e-8, rtol=1e-6)
    assert not {BASE, BEST, LAST} & set(found)


@pytest.mark.parametrize("recorded", [0.2, 0.9], ids=["the lowest", "the highest"])
def test_the_best_score_is_not_the_worst_where_less_is_better(recorded: float) -> None:
    """Scores fell from 0.9 to 0.2, and the signal may hold either of them."""
    table = pd.DataFrame({LAST: [-0.2], BASE: [1.0], BEST: [recorded]})
    assert relative(table, 1.0, -1.0)["best_gain"].tolist() == pytest.approx([0.8])
