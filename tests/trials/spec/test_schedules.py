from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from trials.spec.hyperparameters import validate
from trials.spec.schedules import Share, own_share

STEPS = 20
PI = math.pi


def schedule(steps: int = STEPS, **config: Any) -> Share:
    found = own_share(validate({f"rl_{name}": v for name, v in config.items()}), "rl", steps)
    assert found is not None
    return found


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates_of(scheduler: Any, steps: int = STEPS) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def theirs(name: str, steps: int = STEPS, warmup: int = 0, **kwargs: Any) -> list[float]:
    """The rates of a scheduler of transformers whose peak is 1."""
    made = get_scheduler(name, optimizer(), warmup, steps, kwargs or None)
    return rates_of(made, steps)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        # (1 - p) / (1 - p / 2) at a quarter, a half, three quarters and the end
        ({"schedule": "rex"}, {0: 1.0, 5: 6 / 7, 10: 2 / 3, 15: 0.4, 20: 0.0}),
        ({"schedule": "rex", "warmup": 0.2}, {0: 0.0, 2: 0.5, 4: 1.0, 12: 2 / 3, 20: 0.0}),
        # cos(pi / 2) = 0: 2 / (2 phi + 2 - phi) = 2 / (2 + phi)
        ({"schedule": "uba"}, {0: 1.0, 10: 2 / 3, 20: 0.0}),
        ({"schedule": "uba", "phi": 6.0}, {0: 1.0, 10: 0.25, 20: 0.0}),
        # falls to the floor over eight steps, holds for eight, ends at a hundredth of it
        (
            {"schedule": "infinite", "min_lr_ratio": 0.5},
            {0: 1.0, 4: 0.75, 8: 0.5, 16: 0.5, 18: 0.05, 20: 0.005},
        ),
        (
            {"schedule": "infinite", "cooldown": 0.2, "decay": 0.5, "decay_shape": "linear"},
            {0: 1.0, 2: 0.625, 4: 0.25, 10: 0.25, 15: 0.125, 20: 0.0},
        ),
        ({"schedule": "infinite"}, {8: 0.25, 15: 0.25}),
        # two steps of warm-up: a half after eight, then the tail
        (
            {"schedule": "power", "warmup": 0.1, "decay": 0.4, "decay_shape": "1-sqrt"},
            {0: 0.0, 1: 0.5, 2: 1.0, 8: 0.5, 12: 6**-0.5, 14: 6**-0.5 * 0.5, 20: 0.0},
        ),
        ({"schedule": "power", "warmup": 0.1, "power": 1.0}, {4: 0.5, 10: 0.2, 16: 0.125}),
        ({"schedule": "power", "decay": 0.05}, {0: 1.0, 1: 1.0, 4: 0.5, 16: 0.25}),
        ({"schedule": "wsd", "decay": 0.5, "decay_shape": "exponential"}, {10: 1.0, 15: 0.1}),
        ({"schedule": "one_cycle"}, {0: 1 / 25, 5: 1.0, 19: 1 / 250_000}),
    ],
)
def test_the_rates_are_those_of_the_formula(
    config: dict[str, Any], values: dict[int, float]
) -> None:
    share = schedule(**config)
    assert {step: share(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize("warmup", [0, 4])
def test_a_budget_aware_schedule_of_two_is_a_cosine(warmup: int) -> None:
    share = schedule(schedule="uba", phi=2.0, warmup=warmup / STEPS)
    assert list(map(share, range(STEPS))) == pytest.approx(theirs("cosine", warmup=warmup))


def test_the_power_of_one_half_is_the_inverse_square_root_before_its_tail() -> None:
    share = schedule(schedule="power", warmup=0.2)
    expected = theirs("inverse_sqrt", warmup=4)
    assert list(map(share, range(16))) == pytest.approx(expected[:16])


@pytest.mark.parametrize("shape", ["cosine", "linear", "1-sqrt"])
def test_tails_are_those_of_transformers(shape: str) -> None:
    """An infinite schedule whose floor is its peak is `wsd`."""
    share = schedule(schedule="infinite", min_lr_ratio=0.999999999, decay_shape=shape, decay=0.5)
    expected = theirs("warmup_stable_decay", num_decay_steps=10, decay_type=shape)
    assert list(map(share, range(STEPS))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("steps", "rise"), [(20, None), (37, 0.1), (100, 0.45)])
def test_one_cycle_is_that_of_pytorch(steps: int, rise: float | None) -> None:
    share = schedule(steps, schedule="one_cycle", **({} if rise is None else {"warmup": rise}))
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer(), max_lr=1.0, total_steps=steps, pct_start=rise or 0.3, cycle_momentum=False
    )
    found = [cycle.get_last_lr()[0]]
    for _ in range(steps - 1):
        cycle.optimizer.step()
        cycle.step()
        found.append(cycle.get_last_lr()[0])
    assert list(map(share, range(steps))) == pytest.approx(found)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "cosine_min_lr", "wsd"])
def test_schedules_of_transformers_are_left_to_it(name: str) -> None:
    h = validate({"sft_schedule": name})
    assert own_share(h, "sft", STEPS) is None


@given(
    name=st.sampled_from(["rex", "uba", "infinite", "one_cycle", "power"]),
    steps=st.integers(1, 400),
    warmup=st.floats(0.01, 0.3),
    shape=st.sampled_from(["cosine", "linear", "1-sqrt", "exponential"]),
    phi=st.floats(0.05, 20.0),
    cooldown=st.floats(0.01, 0.4),
    decay=st.floats(0.01, 0.3),
)
def test_every_rate_is_a_share_of_the_peak_which_is_reached_and_left(
    name: str, steps: int, warmup: float, shape: str, phi: float, cooldown: float, decay: float
) -> None:
    own = {
        "uba": {"phi": phi},
        "infinite": {"cooldown": cooldown, "decay": decay, "decay_shape": shape},
        "power": {"decay": decay, "decay_shape": shape},
    }
    share = schedule(steps, schedule=name, warmup=warmup, **own.get(name, {}))
    rates = [share(step) for step in range(steps + 1)]
    assert all(0.0 <= rate <= 1.0 + 1e-12 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps >= 10 and name != "one_cycle":
        assert max(rates) == pytest.approx(1.0)
    if steps >= 10:
        assert rates[-1] < 0.02
