"""Settings: budgets are read as people write them, and unknown keys are errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.settings import Budget, TuneSettings


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
        ("2.5x", 2.5, "full"),
    ],
)
def test_budget_is_read_as_written(text, amount, unit):
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize("text", ["", "soon", "-3", "12 nights", "m", "0", "0s"])
def test_a_budget_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match=r"budget|greater than 0"):
        Budget.parse(text)


@given(st.integers(1, 10**6))
def test_a_time_budget_survives_being_printed(seconds):
    budget = Budget(amount=seconds, unit="seconds")
    assert Budget.parse(str(budget)) == budget


def test_unknown_settings_and_too_small_budgets_are_errors():
    with pytest.raises(ValidationError, match="extra"):
        TuneSettings(dataset="d", model="m", serching="fast")
    with pytest.raises(ValidationError, match="at least 2 trials"):
        TuneSettings(dataset="d", model="m", budget=Budget(amount=1, unit="trials"))
