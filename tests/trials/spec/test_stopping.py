from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.spec.kinds import Stage
from trials.spec.records import Stop, StoppingRules
from trials.spec.stopping import Diverged, DynamicsMonitor

RULES = StoppingRules()


def first_stop(
    stage: Stage, stream: list[dict[str, float]], rules: StoppingRules = RULES
) -> Stop | None:
    monitor = DynamicsMonitor(stage, rules)
    stops = (monitor.observe(step, values) for step, values in enumerate(stream, 1))
    return next((stop for stop in stops if stop), None)


def healthy_sft(rng: random.Random, steps: int = 150) -> list[dict[str, float]]:
    return [
        {"loss": 3 * math.exp(-step / 40) + abs(rng.gauss(0, 0.1)), "grad_norm": rng.random()}
        for step in range(steps)
    ]


def noisy_rl(rng: random.Random, first: float, last: float) -> list[dict[str, float]]:
    """Rewards that are means of 32 right or wrong completions; the KL creeps up."""
    stream = []
    for step in range(150):
        mean = first + (last - first) * step / 150
        reward = sum(rng.random() < mean for _ in range(32)) / 32
        kl = 0.002 * step * rng.uniform(0.7, 1.3)
        flat = rng.choice([0.0, 0.25, 0.5])
        stream.append({"loss": 0.0, "reward": reward, "kl": kl, "groups_without_spread": flat})
    return stream


def share_stopped(first: float, last: float, streams: int = 200) -> float:
    rngs = map(random.Random, range(streams))
    return sum(first_stop("rl", noisy_rl(rng, first, last)) is not None for rng in rngs) / streams


def test_nothing_fires_on_healthy_sft() -> None:
    for seed in range(100):
        assert first_stop("sft", healthy_sft(random.Random(seed))) is None


def test_rising_noisy_rewards_are_seldom_stopped() -> None:
    assert share_stopped(0.3, 0.7) <= 0.15


def test_flat_noisy_rewards_are_seldom_stopped() -> None:
    assert share_stopped(0.5, 0.5) <= 0.15


def test_a_slow_collapse_is_always_stopped() -> None:
    assert share_stopped(0.7, 0.2) == 1.0


def test_an_exploding_loss() -> None:
    stream = [{"loss": 1.0}, {"loss": 0.8}] + [{"loss": 3.5}] * RULES.loss_patience
    assert first_stop("sft", stream) == Stop(
        rule="loss_explosion", step=2 + RULES.loss_patience, values={"loss": 3.5, "least": 0.8}
    )


def test_a_loss_that_comes_back_is_no_explosion() -> None:
    stream = [{"loss": 1.0}] + [{"loss": 9.0}] * (RULES.loss_patience - 1) + [{"loss": 0.9}]
    assert first_stop("sft", stream * 3) is None


def test_a_loss_near_zero_may_triple() -> None:
    assert first_stop("sft", [{"loss": 0.01}, {"loss": 0.05}, {"loss": 0.5}]) is None


def test_a_growing_kl() -> None:
    stream = [{"kl": 1.1 * 1.2**step} for step in range(10)]
    stop = first_stop("rl", stream)
    assert stop is not None
    assert (stop.rule, stop.step) == ("kl_growth", 1 + RULES.kl_patience)
    assert stop.values == {"kl": stream[5]["kl"], "previous": stream[4]["kl"]}


def test_a_kl_that_pauses_or_is_small_does_not_stop() -> None:
    growth = [1.2, 1.2, 1.2, 1.2, 1.0] * 6
    paused = [{"kl": 2.0 * math.prod(growth[:step])} for step in range(len(growth))]
    assert first_stop("rl", paused) is None
    assert first_stop("rl", [{"kl": 1e-6 * 1.5**step} for step in range(30)]) is None


def test_a_dropping_reward() -> None:
    rng = random.Random(0)
    rising = [{"reward": 0.7 + rng.uniform(-0.05, 0.05)} for _ in range(30)]
    falling = [{"reward": 0.3 + rng.uniform(-0.05, 0.05)} for _ in range(15)]
    stop = first_stop("rl", rising + falling)
    assert stop is not None
    assert stop.rule == "reward_drop"
    assert 30 < stop.step <= 30 + 5 + RULES.reward_patience
    assert stop.values["reward"] < 0.9 * stop.values["best"]


def test_a_reward_of_zero_throughout() -> None:
    stream = [{"reward": 0.0} for _ in range(30)]
    assert first_stop("rl", stream) == Stop(rule="zero_reward", step=25, values={"steps": 25.0})
    stream[20] = {"reward": 0.1}
    assert first_stop("rl", stream) is None


def test_groups_without_spread() -> None:
    dead = [{"reward": 0.5, "groups_without_spread": 1.0} for _ in range(30)]
    assert first_stop("rl", dead) == Stop(rule="no_spread", step=25, values={"steps": 25.0})
    solved = [{"reward": 1.0, "groups_without_spread": 1.0} for _ in range(60)]
    assert first_stop("rl", solved) is None
    dead[10]["groups_without_spread"] = 0.75
    assert first_stop("rl", dead) is None


@pytest.mark.parametrize("metric", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_nan_is_divergence_even_with_the_rules_off(stage: Stage, metric: str, value: float) -> None:
    monitor = DynamicsMonitor(stage, StoppingRules(enabled=False))
    monitor.observe(1, {"loss": 1.0, "grad_norm": 1.0})
    with pytest.raises(Diverged, match=f"{stage} diverged at step 2.*{metric}") as caught:
        monitor.observe(2, {"loss": 1.0, "grad_norm": 1.0} | {metric: value})
    assert (caught.value.step, list(caught.value.values)) == (2, [metric])


def test_rules_that_are_off_do_not_fire() -> None:
    stream = [{"reward": 0.0, "kl": 2.0**step, "groups_without_spread": 1.0} for step in range(60)]
    assert first_stop("rl", stream) is not None
    assert first_stop("rl", stream, StoppingRules(enabled=False)) is None


def test_a_rule_without_its_metric_is_reported() -> None:
    monitor = DynamicsMonitor("rl", RULES)
    assert monitor.inactive() == ["kl_growth", "reward_drop"]
    for step in range(60):
        assert monitor.observe(step, {"reward": 0.5}) is None
    assert monitor.inactive() == ["kl_growth"]
    monitor.observe(60, {"reward": 0.5, "kl": 0.1})
    assert monitor.inactive() == []
    sft = DynamicsMonitor("sft", RULES)
    sft.observe(0, {"loss": 1.0})
    assert sft.inactive() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.floats(0.01, 100))
def test_the_reward_drop_does_not_depend_on_the_scale(rewards: list[float], scale: float) -> None:
    """A reward in cents is judged like the same in euros, up to rounding at the threshold."""
    rules = StoppingRules(zero_reward_steps=1000)
    plain = first_stop("rl", [{"reward": 1 + value} for value in rewards], rules)
    scaled = first_stop("rl", [{"reward": scale * (1 + value)} for value in rewards], rules)
    assert (plain and plain.rule) == (scaled and scaled.rule)


def test_an_exploding_dpo_loss_stops_the_trial_too() -> None:
    monitor = DynamicsMonitor("dpo", StoppingRules(loss_patience=3))
    stops = [monitor.observe(step, {"loss": 0.7 * 1.5**step}) for step in range(60)]
    first = next(stop for stop in stops if stop)
    assert first.rule == "loss_explosion"
    assert DynamicsMonitor("dpo", StoppingRules()).inactive() == ["loss_explosion"]


def test_the_rules_judge_by_the_tasks_own_reward() -> None:
    """All right and a little long is no dead signal; all wrong and short is one."""
    rules = StoppingRules(no_spread_steps=3, zero_reward_steps=3)
    right = {"reward": 0.8, "task_reward": 1.0, "groups_without_spread": 1.0}
    monitor = DynamicsMonitor("rl", rules)
    assert not any(monitor.observe(step, right) for step in range(20))
    wrong = {"reward": 0.1, "task_reward": 0.0, "groups_without_spread": 0.0}
    monitor = DynamicsMonitor("rl", rules)
    stops = [monitor.observe(step, wrong) for step in range(3)]
    assert stops[-1] is not None
    assert stops[-1].rule == "zero_reward"
