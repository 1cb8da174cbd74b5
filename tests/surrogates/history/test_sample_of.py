"""Skill is evaluated on whole datasets of a large history, and on all of a small one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.history.features import sample_of
from surrogates.history.prefixes import prefix_rows
from surrogates.history.table import read_history
from surrogates.offline import early, ranker
from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import make_history, mixed_space


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    most=st.integers(8, 200),
    seed=st.integers(0, 3),
)
def test_a_part_is_bounded_sorted_and_the_same_again(sizes, most, seed) -> None:
    labels = np.repeat([f"d{n}" for n in range(len(sizes))], sizes)
    rows = sample_of(labels, most, seed)
    assert 0 < len(rows) <= max(most, len(labels) if len(labels) <= most else 0)
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, sample_of(labels, most, seed))
    if len(labels) <= most:
        assert len(rows) == len(labels)
        return
    share = most // min(len(sizes), 8)
    for name in np.unique(labels[rows]):
        own = int((labels == name).sum())
        assert int((labels[rows] == name).sum()) == min(own, share)


def test_the_bundled_history_is_judged_whole() -> None:
    """2,272 trials with four prefixes each: its models do not depend on the limits."""
    assert ranker.MAX_EVALUATED >= 2272
    assert early.MAX_EVALUATED >= 4 * 2272
    assert early.MAX_ROWS >= 4 * 2272


def test_models_of_a_part_still_know_their_skill(monkeypatch: pytest.MonkeyPatch) -> None:
    space = mixed_space()
    history = make_history(space, tasks=6, trials=16, curves=True, deviation=0.15)
    monkeypatch.setattr(ranker, "MAX_EVALUATED", 48)
    monkeypatch.setattr(early, "MAX_EVALUATED", 150)
    models = OfflineModels.fit(history, space)
    known = np.isfinite(models.ranker.out_of_fold)
    assert 0 < known.sum() <= 48 < len(known)
    assert models.ranker.skill.datasets >= 3
    assert models.ranker.skill.datasets >= 3
    assert sum(rung.rows for rung in models.early.rungs) <= 150


def test_a_part_keeps_the_rungs_of_the_whole() -> None:
    space = mixed_space()
    encoder = SpaceEncoder(space)
    history = read_history(make_history(space, tasks=2, trials=6, curves=True), encoder)
    data = prefix_rows(history, encoder)
    rows = np.arange(0, len(data.target), 2)
    part = data.subset(rows)
    assert np.array_equal(part.rung, data.rung[rows])
    assert part.features.equals(data.features.iloc[rows].reset_index(drop=True))
    assert part.sign == data.sign
