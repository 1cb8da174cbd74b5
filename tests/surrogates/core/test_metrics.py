from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.core.metrics import (
    kendall_tau,
    ndcg,
    normal_scores,
    pearson,
    regret_at,
    spearman,
    standard_scores,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)
pairs = values.flatmap(
    lambda y: st.tuples(
        st.lists(st.floats(-1e6, 1e6), min_size=len(y), max_size=len(y)), st.just(y)
    )
)


@given(pairs)
def test_metrics_stay_in_their_range(pair: tuple[list[float], list[float]]) -> None:
    x, y = pair
    for metric in (kendall_tau, pearson, spearman):
        assert -1.0 - 1e-9 <= metric(x, y) <= 1.0 + 1e-9
    assert -1e-9 <= ndcg(x, y, 3) <= 1.0 + 1e-9
    assert 0.0 <= regret_at(x, y, 2) <= 1.0


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True))
def test_the_perfect_order_is_perfect(y: list[int]) -> None:
    assert kendall_tau(y, y) == pytest.approx(1.0)
    assert kendall_tau([-v for v in y], y) == pytest.approx(-1.0)
    assert ndcg(y, y, 5) == pytest.approx(1.0)
    assert regret_at(y, y, 1) == 0.0
    assert regret_at([-v for v in y], y, 1) == 1.0


@given(pairs, st.integers(1, 5))
def test_more_choices_never_raise_regret(pair: tuple[list[float], list[float]], k: int) -> None:
    x, y = pair
    assert regret_at(x, y, k + 1) <= regret_at(x, y, k)


def test_values_worked_out_by_hand() -> None:
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    # Order chosen: gains 0.5 then 1 then 0; ideal: 1, 0.5, 0.
    expected = (0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3))
    assert ndcg([3, 2, 1], [1, 2, 0], k=2) == pytest.approx(expected)
    assert regret_at([3, 2, 1], [1, 2, 0], k=1) == pytest.approx(0.5)


def test_constant_scores_have_no_order() -> None:
    assert kendall_tau([1, 2], [5, 5]) == 0.0
    assert pearson([1, 1], [1, 2]) == 0.0
    assert ndcg([1, 2], [5, 5]) == 1.0
    assert regret_at([1, 2], [5, 5]) == 0.0


def test_nan_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        kendall_tau([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="one length"):
        ndcg([1.0], [1.0, 2.0])


def test_normal_scores_keep_order_and_share_ties() -> None:
    z = normal_scores(np.array([10.0, -5.0, 10.0, 1e9]))
    assert z[0] == z[2]
    assert z[1] < z[0] < z[3]
    assert abs(normal_scores(np.arange(11.0))[5]) < 1e-12


def test_standard_scores_forget_unit_and_level() -> None:
    values = np.random.default_rng(0).normal(size=50)
    z = standard_scores(values)
    assert z.mean() == pytest.approx(0.0, abs=1e-9)
    assert z.std() == pytest.approx(1.0)
    assert np.array_equal(z, standard_scores(1e3 * values - 7e3))
    assert standard_scores(np.full(3, 0.1)).tolist() == [0.0] * 3
