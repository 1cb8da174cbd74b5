"""Numbers and outcomes in words."""

from __future__ import annotations

import pytest

from tasks.runs.formatting import (
    decimals,
    format_duration,
    format_setting,
    outcome,
    p_text,
    plus_minus,
    verdict,
)
from tests.tasks.conftest import MakeRun


@pytest.mark.parametrize(
    ("gain", "se", "expected"),
    [
        (0.108, 0.021, "more than noise explains"),
        (0.04, 0.021, "within noise"),
        (-0.04, 0.021, "within noise"),
        (-0.2, 0.021, "keep the default"),
        (None, None, "not paired"),
    ],
)
def test_a_difference_within_noise_is_called_so(
    make_run: MakeRun, gain: float | None, se: float | None, expected: str
) -> None:
    summary = make_run(paired_gain=gain, paired_gain_se=se).summary()
    assert summary is not None
    assert expected in verdict(summary)


def test_a_training_that_gained_nothing_over_the_base_model_is_called_so(make_run: MakeRun) -> None:
    summary = make_run().summary()
    assert summary is not None
    assert "Nothing shows" not in outcome(summary)
    untrained = summary.base.model_copy(update={"test": summary.best.test - 0.01})
    told = outcome(summary.model_copy(update={"base": untrained}))
    assert told.endswith("Nothing shows that training improved on the base model.")


def test_numbers_have_sensible_digits() -> None:
    assert plus_minus(0.71234, 0.0231) == "0.712 ± 0.023"
    assert plus_minus(71.234, 2.31) == "71.2 ± 2.3"
    assert plus_minus(-0.05, 0.1, signed=True) == "−0.05 ± 0.10"
    assert plus_minus(float("nan"), 0.1) == "–"
    assert decimals(0.0) == 3
    assert [format_setting(v) for v in (3e-05, 0.2, 16, "cosine", None)] == [
        "3e-05", "0.2", "16", "cosine", "not set",
    ]  # fmt: skip
    assert [format_duration(s) for s in (8.4, 245, 7800)] == ["8.4 s", "4 min 05 s", "2 h 10 min"]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0213, "p = 0.021"), (0.001, "p = 0.001"), (0.0002, "p < 0.001"), (1.0, "p = 1.000")],
)
def test_a_small_p_value_is_no_zero(p, text):
    assert p_text(p) == text
