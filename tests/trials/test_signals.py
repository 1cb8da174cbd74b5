from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.records import CurvePoint, Stage
from trials.signals import LEVELS, signals_at

TOTAL, SFT = 100, 60


def curve_of(stage: Stage, metric: str, values: dict[int, float]) -> list[CurvePoint]:
    return [
        CurvePoint(stage=stage, step=step, metric=metric, value=value)
        for step, value in values.items()
    ]


def test_a_constant_curve_has_its_level_and_no_slope() -> None:
    found = signals_at(curve_of("sft", "loss", dict.fromkeys(range(1, 41), 2.5)), 40, SFT, TOTAL)
    assert found["sft_loss"] == pytest.approx(2.5)
    assert found["sft_loss_slope"] == pytest.approx(0, abs=1e-9)
    assert found["sft_loss_curvature"] == pytest.approx(0, abs=1e-6)
    assert found["sft_progress"] == pytest.approx(40 / 60)
    assert found["rl_progress"] == 0
    assert not any(name.startswith("rl_") and name != "rl_progress" for name in found)


@given(a=st.floats(-5, 5), b=st.floats(-5, 5), c=st.floats(-5, 5), step=st.integers(8, SFT))
def test_slope_and_curvature_of_a_quadratic(a: float, b: float, c: float, step: int) -> None:
    """In units of the metric per full schedule, at the last step."""
    values = {s: a + b * (s / TOTAL) + c * (s / TOTAL) ** 2 for s in range(1, step + 1)}
    found = signals_at(curve_of("sft", "loss", values), step, SFT, TOTAL)
    assert found["sft_loss_slope"] == pytest.approx(b + 2 * c * step / TOTAL, abs=1e-4)
    assert found["sft_loss_curvature"] == pytest.approx(2 * c, abs=1e-3)


def test_a_level_is_the_mean_of_the_last_quarter() -> None:
    values = {step: float(step) for step in range(1, 41)}
    found = signals_at(curve_of("sft", "loss", values), 40, SFT, TOTAL)
    assert found["sft_loss"] == pytest.approx(np.mean(range(31, 41)))


def test_short_curves_have_levels_but_no_trends() -> None:
    found = signals_at(curve_of("sft", "loss", {1: 3.0, 2: 2.0, 3: 1.0}), 3, SFT, TOTAL)
    assert found["sft_loss"] == pytest.approx(2.0)
    assert "sft_loss_slope" not in found


def test_scores_of_both_stages() -> None:
    points = curve_of("sft", "score", {10: 0.2, 50: 0.6}) + curve_of("rl", "score", {80: 0.5})
    found = signals_at(points, 80, SFT, TOTAL)
    assert (found["score"], found["score_best"]) == (0.5, 0.6)
    assert found["score_gain"] == pytest.approx(0.3)
    assert (found["sft_progress"], found["rl_progress"]) == (1.0, 0.5)


def test_a_stage_of_no_steps() -> None:
    found = signals_at(curve_of("rl", "reward", {1: 0.5}), 1, 0, TOTAL)
    assert found["sft_progress"] == 1.0
    assert signals_at([], TOTAL, TOTAL, TOTAL)["rl_progress"] == 0.0


POINTS = st.lists(
    st.builds(
        CurvePoint,
        stage=st.sampled_from(["sft", "rl"]),
        step=st.integers(1, TOTAL),
        metric=st.sampled_from([*LEVELS["sft"], *LEVELS["rl"], "score"]),
        value=st.floats(-100, 100),
    ),
    max_size=60,
    unique_by=lambda point: (point.stage, point.step, point.metric),
).map(lambda points: sorted(points, key=lambda point: point.step))


@given(POINTS, st.integers(1, TOTAL))
def test_what_comes_later_changes_nothing(points: list[CurvePoint], step: int) -> None:
    past = [point for point in points if point.step <= step]
    found = signals_at(points, step, SFT, TOTAL)
    assert found == signals_at(past, step, SFT, TOTAL)
    assert all(math.isfinite(value) for value in found.values())
