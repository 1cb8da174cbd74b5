"""Each alarm on a stream that is what it warns of, and on one that is not."""

from __future__ import annotations

import pytest

from trials.spec.kinds import ALARMS, StopRule
from trials.spec.records import Stop, StoppingRules
from trials.spec.stopping import DynamicsMonitor

Stream = list[dict[str, float]]
QUIET = {"entropy": 1.0, "groups_without_spread": 0.5, "reward": 0.4, "truncated": 0.1}


def stream(steps: int = 40, **changed: float) -> Stream:
    """Quiet for ten steps, then with other values."""
    return [{**QUIET, **(changed if step >= 10 else {})} for step in range(steps)]


def play(values: Stream, **modes: str) -> tuple[Stop | None, list[Stop]]:
    others = {"no_spread_steps": 10_000, "reward_patience": 10_000}
    monitor = DynamicsMonitor("rl", StoppingRules(**others, **modes))  # type: ignore[arg-type]
    stops = [monitor.observe(step, each) for step, each in enumerate(values, 1)]
    return next((stop for stop in stops if stop), None), monitor.shadows


GONE = stream(entropy=0.05, groups_without_spread=1.0)
SHAPED = [
    {**QUIET, "reward": 0.4 + 0.01 * step + 0.001 * (step % 2), "task_reward": 0.5 - 0.01 * step}
    for step in range(30)
]
CASES: dict[StopRule, tuple[Stream, int]] = {
    StopRule.ENTROPY_COLLAPSE: (GONE, 20),
    StopRule.ENTROPY_GROWTH: (stream(entropy=2.5), 29),
    StopRule.TRUNCATION: (stream(truncated=0.9), 20),
    StopRule.SHAPING_GAP: (SHAPED, 20),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_warns_in_its_shadow_and_stops_where_it_is_told_to(rule: StopRule) -> None:
    values, step = CASES[rule]
    stop, shadows = play(values)
    assert stop is None
    assert [(shadow.rule, shadow.step) for shadow in shadows] == [(rule, step)]
    stop, shadows = play(values, **{rule.value: "stop"})
    assert stop is not None
    assert (stop.rule, stop.step, shadows) == (rule, step, [])
    assert play(values, **{rule.value: "off"}) == (None, [])


@pytest.mark.parametrize(
    "values",
    [
        stream(),
        # Solved: low entropy and flat groups are what success looks like.
        stream(entropy=0.05, groups_without_spread=1.0, reward=1.0),
        stream(entropy=2.5, reward=0.7),
        stream(entropy=1.9),
        [{**QUIET, "truncated": 0.9} for _ in range(40)],
        [{**QUIET, "reward": 0.4 + 0.01 * step} for step in range(40)],
        [{"reward": 0.5} for _ in range(40)],
    ],
    ids=["quiet", "solved", "exploring", "a little", "always truncated", "rising", "bare"],
)
def test_nothing_is_said_of_what_is_well(values: Stream) -> None:
    assert play(values) == (None, [])


def scores(before: float, now: float, rows: int = 200) -> tuple[list[float], list[float]]:
    """Outcomes of the same rows: twenty change each way, and then as many as make the change."""
    first = [float(row < before * rows) for row in range(rows)]
    right = [row for row in range(rows) if first[row]]
    wrong = [row for row in range(rows) if not first[row]]
    change = round((now - before) * rows)
    lost, won = right[: 20 + max(0, -change)], wrong[: 20 + max(0, change)]
    return first, [1.0 - x if row in {*lost, *won} else x for row, x in enumerate(first)]


def monitored(
    before: float, now: float, training: tuple[float, float], **modes: str
) -> tuple[Stop | None, DynamicsMonitor]:
    first, second = scores(before, now)
    monitor = DynamicsMonitor("rl", StoppingRules(**modes))  # type: ignore[arg-type]
    monitor.before(first)
    for step in range(30):
        reward = training[0] if step < 15 else training[1]
        monitor.observe(step, {"reward": reward + 0.001 * (step % 3)})
    return monitor.observe_score(30, second), monitor


@pytest.mark.parametrize(
    ("before", "now", "training", "expected"),
    [
        (0.6, 0.4, (0.5, 0.5), {StopRule.HELDOUT_DROP}),
        (0.6, 0.4, (0.4, 0.8), {StopRule.HELDOUT_DROP, StopRule.HELDOUT_GAP}),
        (0.6, 0.58, (0.4, 0.8), {StopRule.HELDOUT_GAP}),
        (0.6, 0.58, (0.5, 0.5), set()),
        (0.4, 0.7, (0.4, 0.7), set()),
    ],
)
def test_the_validation_score_is_compared_row_by_row(
    before: float, now: float, training: tuple[float, float], expected: set[StopRule]
) -> None:
    stop, monitor = monitored(before, now, training)
    assert stop is None
    assert {shadow.rule for shadow in monitor.shadows} == expected


def test_a_drop_stops_where_it_may() -> None:
    stop, monitor = monitored(0.6, 0.4, (0.5, 0.5), heldout_drop="stop")
    assert stop is not None
    assert (stop.rule, monitor.shadows) == (StopRule.HELDOUT_DROP, [])


def test_other_rows_are_not_compared() -> None:
    monitor = DynamicsMonitor("rl", StoppingRules())
    monitor.before([1.0] * 10)
    assert monitor.observe_score(5, [0.0] * 9) is None
    assert monitor.shadows == []


def test_what_only_warns_decides_nothing() -> None:
    """So a trial keeps its name and its checkpoints, whatever is warned of."""
    quiet = StoppingRules(**dict.fromkeys((rule.value for rule in ALARMS), "off"))  # type: ignore[arg-type]
    assert quiet.deciding == StoppingRules().deciding
    assert "truncation" in StoppingRules(truncation="stop").deciding
