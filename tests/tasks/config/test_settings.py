"""Settings: budgets are read as people write them, and unknown keys are errors."""

import pytest
from annotated_types import Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tasks.config.settings import Budget, CollectSettings, TuneSettings


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("25m", 1500, "seconds"),
        ("1h30m", 5400, "seconds"),
        ("90s", 90, "seconds"),
        ("0.5h", 1800, "seconds"),
        ("12", 12, "trials"),
        ("12 trials", 12, "trials"),
        ("8 full", 8, "full"),
        ("2.5 full", 2.5, "full"),
        ("1 full", 1, "full"),
        ("366h", 366 * 3600, "seconds"),
    ],
)
def test_budget_is_read_as_written(text, amount, unit):
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-3", "12 nights", "m", "0", "0s", "0m", "1", "1 trial", "-1h", "1.5"),
        *("5x", "2.5x", "0.5 full", "0 full", "0.999 full", "-1 full", "full"),
        *("nan", "inf", "infinity", "1e9", "1e999 full", "nan full", "0x10", "١٢"),
        *(
            "9" * 400,
            "9" * 400 + "m",
            "9" * 400 + " full",
            "9" * 5000,
            "0." + "0" * 400,
            "99999999h",
        ),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match=r"budget|greater than 0") as refused:
        Budget.parse(text)
    assert len(str(refused.value)) < 500


NUMBERS = [
    ({"disk_gigabytes": v} for v in (float("inf"), float("nan"), -1, 0, 1e300, 10**400)),
    ({"parallel": v} for v in (0, -1, 10**9, 10**400, 1.5)),
    ({"threads": v} for v in (0, -2, 10**9)),
    ({"seed": v} for v in (-1, 2**32, 10**5000)),
    ({"retries": v} for v in (-1, 10**9)),
    ({"test_rows": v} for v in (0, 10**12)),
    ({"gpus_per_trial": v} for v in (0, 10**9)),
    ({"trials_per_worker": v} for v in (0, 10**30)),
    ({"finalist_share": v} for v in (-0.1, 1.0, float("nan"), float("inf"))),
    ({"schedule": {"total_steps": v}} for v in (1, -5, 10**12)),
    ({"schedule": {"max_length": v}} for v in (0, 10**30)),
    ({"schedule": {"eval_points": v}} for v in ([float("nan")], [0.0], [2.0], [float("inf")])),
    ({"schedule": {"pass_temperature": v}} for v in (float("inf"), float("nan"), 0)),
    ({"limits": {"wall_seconds": v}} for v in (float("inf"), float("nan"), 0, 1e300)),
    ({"limits": {"silent_seconds": v}} for v in (float("inf"), -1)),
    ({"compute": {"memory_bytes": v}} for v in (0, 10**30)),
    ({"compute": {"vllm_memory": v}} for v in (float("nan"), 1.0)),
    ({"stopping": {"kl_growth": v}} for v in (float("inf"), float("nan"))),
    ({"stopping": {"kl_patience": v}} for v in (0, 10**30)),
    ({"budget": {"amount": v, "unit": "seconds"}} for v in (float("inf"), float("nan"), 0, 1e300)),
    ({"budget": {"amount": v, "unit": "trials"}} for v in (1, 2.5, float("inf"))),
]


@pytest.mark.parametrize("change", [each for group in NUMBERS for each in group])
def test_every_number_is_finite_and_has_bounds(change):
    with pytest.raises(ValueError, match=r"validation error"):
        TuneSettings.model_validate({"dataset": "d", "model": "m", **change})


@pytest.mark.parametrize("settings", [TuneSettings, CollectSettings])
def test_what_is_accepted_is_read_again(settings):
    given = {"datasets": ["d"]} if settings is CollectSettings else {"dataset": "d"}
    made = settings(model="m", seed=2**32 - 1, **given)
    assert settings.model_validate_json(made.model_dump_json()) == made


def numbers_without_bounds(kind, place=""):
    for name, field in kind.model_fields.items():
        bound = field.annotation
        if isinstance(bound, type) and issubclass(bound, BaseModel):
            yield from numbers_without_bounds(bound, f"{name}.")
        elif bound is float and not any(isinstance(m, (Le, Lt)) for m in field.metadata):
            finite = kind.model_config.get("allow_inf_nan") is False
            if not finite:
                yield f"{place}{name}"


def test_no_setting_may_be_infinite():
    assert list(numbers_without_bounds(TuneSettings)) == []
    assert list(numbers_without_bounds(CollectSettings)) == []


@given(st.integers(1, 10**6))
def test_a_time_budget_survives_being_printed(seconds):
    budget = Budget(amount=seconds, unit="seconds")
    assert Budget.parse(str(budget)) == budget


def test_unknown_settings_and_too_small_budgets_are_errors():
    with pytest.raises(ValidationError, match="extra"):
        TuneSettings(dataset="d", model="m", serching="fast")
    with pytest.raises(ValidationError, match="at least 2 trials"):
        TuneSettings(dataset="d", model="m", budget=Budget(amount=1, unit="trials"))
