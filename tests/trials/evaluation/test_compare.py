from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.evaluation.compare import paired_difference, row_adjusted_se

outcomes = st.floats(0, 1)
pairs = st.lists(st.tuples(outcomes, outcomes), min_size=2, max_size=40)
binary_pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=12)


def test_the_difference_of_right_and_wrong_answers() -> None:
    found = paired_difference([1, 1, 0, 1], [1, 0, 0, 0])
    assert (found.mean, found.rows) == (0.5, 4)
    assert found.se == pytest.approx(math.sqrt((4 * 0.25) / 3) / 2)
    assert found.p_value == 0.5  # two rows differ, both the same way: 2 * (1/2)^2


@settings(deadline=None, max_examples=50)
@given(pairs)
def test_swapping_the_models_only_turns_the_sign(values: list[tuple[float, float]]) -> None:
    a, b = zip(*values, strict=True)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.mean == -back.mean
    assert forth.se == pytest.approx(back.se)
    # The random flips of the general case are symmetric, up to their own chance.
    assert forth.p_value == pytest.approx(back.p_value, abs=0.05)


@settings(deadline=None, max_examples=50)
@given(pairs)
def test_mean_error_and_p_value_are_what_they_say(values: list[tuple[float, float]]) -> None:
    a, b = map(np.array, zip(*values, strict=True))
    found = paired_difference(a.tolist(), b.tolist())
    assert found.mean == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert found.se == pytest.approx((a - b).std(ddof=1) / math.sqrt(len(a)))
    assert 0 < found.p_value <= 1


@settings(deadline=None, max_examples=25)
@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(values: list[tuple[float, float]], rng) -> None:
    shuffled = list(values)
    rng.shuffle(shuffled)
    one, other = (paired_difference(*zip(*rows, strict=True)) for rows in (values, shuffled))
    assert one.mean == pytest.approx(other.mean, abs=1e-12)
    assert one.se == pytest.approx(other.se, abs=1e-12)
    assert one.p_value == pytest.approx(other.p_value, abs=0.05)


@given(pairs)
def test_a_model_does_not_differ_from_itself(values: list[tuple[float, float]]) -> None:
    a = [first for first, _ in values]
    found = paired_difference(a, a)
    assert (found.mean, found.se, found.p_value) == (0.0, 0.0, 1.0)


@given(binary_pairs)
def test_the_p_value_of_right_and_wrong_is_that_of_all_sign_flips(
    values: list[tuple[bool, bool]],
) -> None:
    a, b = (list(map(float, side)) for side in zip(*values, strict=True))
    differences = [x - y for x, y in zip(a, b, strict=True) if x != y]
    flips = [
        sum(d * s for d, s in zip(differences, signs, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    exact = sum(abs(total) >= abs(sum(differences)) for total in flips) / len(flips)
    assert paired_difference(a, b).p_value == pytest.approx(exact)


def test_the_p_value_of_graded_scores_is_close_to_that_of_all_sign_flips() -> None:
    differences = [0.3, 0.1, -0.05, 0.2, 0.4, -0.15, 0.25, 0.12, 0.02, 0.33]
    flips = [
        sum(d * s for d, s in zip(differences, signs, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    exact = sum(abs(total) >= sum(differences) - 1e-12 for total in flips) / len(flips)
    found = paired_difference(differences, [0.0] * len(differences)).p_value
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999))


def test_the_error_covers_the_true_difference() -> None:
    """The true difference lies within two errors in about 95 % of samples, paired as they are."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        difficulty = rng.random(120)  # shared by both models: what pairing takes out
        a, b = difficulty < 0.6, (difficulty < 0.5) | (rng.random(120) < 0.05)
        found = paired_difference(a.astype(float).tolist(), b.astype(float).tolist())
        covered += abs(found.mean - (0.6 - (0.5 + 0.5 * 0.05))) < 2 * found.se
    assert 0.92 <= covered / 500 <= 0.98


def test_a_single_row_shows_no_spread() -> None:
    assert math.isnan(paired_difference([1.0], [0.0]).se)


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 outcomes cannot be paired with 2.*same rows"):
        paired_difference([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match="no outcomes"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="row 1 has outcomes nan and 0"):
        paired_difference([1, math.nan], [1, 0])


def test_what_is_hard_for_all_is_no_error_of_one() -> None:
    """Rows differ much, models little: simulated comparisons are as uncertain as it says."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=400)
    scores = rows + 0.3 * rng.normal(size=(6, 400))
    found = row_adjusted_se(scores[0], list(scores[1:]))
    assert found == pytest.approx(0.3 / math.sqrt(400), rel=0.1)
    assert found < 0.4 * scores[0].std(ddof=1) / math.sqrt(400)
    # Of two models it is the paired standard error, shared between them.
    pair = row_adjusted_se(scores[0], [scores[1]])
    assert pair == pytest.approx(paired_difference(scores[0], scores[1]).se / math.sqrt(2))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(outcomes, min_size=8, max_size=8), min_size=1, max_size=5))
def test_the_own_error_is_between_a_tenth_and_all_of_the_plain_one(
    models: list[list[float]],
) -> None:
    plain = float(np.std(models[0], ddof=1)) / math.sqrt(8)
    found = row_adjusted_se(models[0], models[1:])
    assert plain / 10 - 1e-12 <= found <= plain + 1e-12
    if len(models) == 1:
        assert found == plain


def test_scores_of_other_rows_say_nothing() -> None:
    assert row_adjusted_se([0.0, 1.0, 1.0], [[1.0, 0.0]]) == row_adjusted_se([0.0, 1.0, 1.0], [])
    assert row_adjusted_se([1.0], [[1.0]]) == 0.0
