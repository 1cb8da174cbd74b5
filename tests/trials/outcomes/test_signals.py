from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.outcomes.signals import LEVELS, signals_at
from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan
from trials.spec.records import CurvePoint

TOTAL, SFT = 100, 60
PLAN = StagePlan(sft=SFT, dpo=0, rl=TOTAL - SFT)
THREE = StagePlan(sft=40, dpo=20, rl=40)


def curve_of(stage: Stage, metric: str, values: dict[int, float]) -> list[CurvePoint]:
    return [
        CurvePoint(stage=stage, step=step, metric=metric, value=value)
        for step, value in values.items()
    ]


def test_a_constant_curve_has_its_level_and_no_slope() -> None:
    found = signals_at(curve_of("sft", "loss", dict.fromkeys(range(1, 41), 2.5)), 40, PLAN)
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
    found = signals_at(curve_of("sft", "loss", values), step, PLAN)
    assert found["sft_loss_slope"] == pytest.approx(b + 2 * c * step / TOTAL, abs=1e-4)
    assert found["sft_loss_curvature"] == pytest.approx(2 * c, abs=1e-3)


def test_a_level_is_the_mean_of_the_last_quarter() -> None:
    values = {step: float(step) for step in range(1, 41)}
    found = signals_at(curve_of("sft", "loss", values), 40, PLAN)
    assert found["sft_loss"] == pytest.approx(np.mean(range(31, 41)))


def test_short_curves_have_levels_but_no_trends() -> None:
    found = signals_at(curve_of("sft", "loss", {1: 3.0, 2: 2.0, 3: 1.0}), 3, PLAN)
    assert found["sft_loss"] == pytest.approx(2.0)
    assert "sft_loss_slope" not in found


def test_scores_of_both_stages() -> None:
    points = curve_of("sft", "score", {10: 0.2, 50: 0.6}) + curve_of("rl", "score", {80: 0.5})
    found = signals_at(points, 80, PLAN)
    assert (found["score"], found["score_best"]) == (0.5, 0.6)
    assert found["score_gain"] == pytest.approx(0.3)
    assert (found["sft_progress"], found["rl_progress"]) == (1.0, 0.5)


def test_a_stage_of_no_steps() -> None:
    found = signals_at(curve_of("rl", "reward", {1: 0.5}), 1, StagePlan(0, 0, TOTAL))
    assert found["sft_progress"] == 1.0
    assert signals_at([], TOTAL, StagePlan(TOTAL, 0, 0))["rl_progress"] == 0.0


def test_names_and_values_of_two_stages_are_those_of_the_bundled_history() -> None:
    """Measured with the release that the bundled history was recorded with."""
    points = [
        *curve_of("sft", "loss", {step: 3 / step for step in range(1, 61)}),
        *curve_of("sft", "entropy", dict.fromkeys(range(1, 61), 1.5)),
        *curve_of("rl", "reward", {step: step / 100 for step in range(61, 91)}),
        *curve_of("rl", "kl", dict.fromkeys(range(61, 91), 0.25)),
        *curve_of("sft", "score", {10: 0.1, 50: 0.4}),
        *curve_of("rl", "score", {80: 0.3}),
    ]
    assert signals_at(points, 90, PLAN) == pytest.approx(BEFORE, abs=1e-9)


BEFORE = {
    "sft_progress": 1.0,
    "rl_progress": 0.75,
    "sft_loss": 0.05698445948008314,
    "sft_entropy": 1.5,
    "rl_reward": 0.87,
    "rl_kl": 0.25,
    "sft_loss_slope": -0.053359785243411575,
    "sft_loss_curvature": 0.7018700698655693,
    "rl_reward_slope": 1.0,
    "rl_reward_curvature": 0.0,
    "score": 0.3,
    "score_gain": 0.2,
    "score_best": 0.4,
}


def test_a_dpo_stage_has_levels_a_trend_and_progress() -> None:
    points = curve_of("dpo", "loss", {step: 2 - step / TOTAL for step in range(41, 56)})
    points += curve_of("dpo", "margin", dict.fromkeys(range(41, 56), 0.4))
    points += curve_of("dpo", "accuracy", dict.fromkeys(range(41, 56), 0.75))
    found = signals_at(points, 55, THREE)
    assert found["dpo_loss_slope"] == pytest.approx(-1)
    assert (found["dpo_margin"], found["dpo_accuracy"]) == pytest.approx((0.4, 0.75))
    progress = [found[f"{stage}_progress"] for stage in ("sft", "dpo", "rl")]
    assert progress == [1.0, 0.75, 0.0]


@given(step=st.integers(1, TOTAL))
def test_stages_progress_one_after_another(step: int) -> None:
    found = signals_at([], step, THREE)
    done = [found[f"{stage}_progress"] * THREE.steps(stage) for stage in THREE.stages]
    assert sum(done) == pytest.approx(step)
    assert "dpo_progress" not in signals_at([], step, PLAN)


POINTS = st.lists(
    st.builds(
        CurvePoint,
        stage=st.sampled_from(["sft", "dpo", "rl"]),
        step=st.integers(1, TOTAL),
        metric=st.sampled_from([*LEVELS["sft"], *LEVELS["dpo"], *LEVELS["rl"], "score"]),
        value=st.floats(-100, 100),
    ),
    max_size=60,
    unique_by=lambda point: (point.stage, point.step, point.metric),
).map(lambda points: sorted(points, key=lambda point: point.step))


@given(POINTS, st.integers(1, TOTAL))
def test_what_comes_later_changes_nothing(points: list[CurvePoint], step: int) -> None:
    past = [point for point in points if point.step <= step]
    found = signals_at(points, step, PLAN)
    assert found == signals_at(past, step, PLAN)
    assert all(math.isfinite(value) for value in found.values())
