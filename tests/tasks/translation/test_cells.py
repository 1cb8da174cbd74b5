"""Cells are read one by one, by the type of the field that they fill."""

from __future__ import annotations

import math

import pytest

from tasks.translation.cells import FIELDS, cell_type, parse_cell
from tasks.translation.results import RowError
from tests.histories import bundled


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("score", " 0.5 ", 0.5),
        ("score", "1e-4", 1e-4),
        ("score", "NaN", None),
        ("score", None, None),
        ("seed", "42.0", 42),
        ("seed", "9007199254740993", 9007199254740993),  # a float would lose its last digit
        ("total_steps", 100.0, 100),
        ("continued", "True", True),
        ("continued", "0", False),
        ("dataset_id", "42", "42"),
        ("dataset_id", 42.0, "42"),
        ("dataset_id", "null", "null"),
        ("dataset_fingerprint", "123456789012e456", "123456789012e456"),
        ("config.sft_learning_rate", "1e-4", 1e-4),
        ("config.sft_batch_size", "16.0", 16),
        ("config.sft_packing", "false", False),
        ("config.rl_scale_rewards", "none", "none"),
        ("config.lora_targets", "None", None),
        ("signal.rl_kl", "inf", math.inf),
    ],
)
def test_a_cell_becomes_a_value_of_its_field(field, cell, value):
    found = parse_cell(field, cell)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "cell", "reason"),
    [
        ("score", "50%", "score: expected a number, found '50%'"),
        ("score", "0,5", "score: expected a number, found '0,5'"),
        ("score", "inf", "score: expected a finite number, found 'inf'"),
        ("score", True, "score: expected a number, found True"),
        ("cost_seconds", "12s", "cost_seconds: expected a number, found '12s'"),
        ("seed", "1.5", "seed: expected a whole number, found '1.5'"),
        ("seed", "1" + "0" * 30, "seed: expected a whole number"),
        ("continued", "maybe", "continued: expected true or false, found 'maybe'"),
        ("config.sft_learning_rate", "abc", "config.sft_learning_rate: expected a number"),
        ("config.sft_batch_size", "big", "config.sft_batch_size: expected a number"),
        ("meta.log_rows", "many", "meta.log_rows: expected a number, found 'many'"),
    ],
)
def test_a_cell_of_another_type_is_named(field, cell, reason):
    with pytest.raises(RowError) as refused:
        parse_cell(field, cell, "c")
    assert str(refused.value).startswith(reason)
    assert str(refused.value).endswith("in column 'c'")


def test_every_column_of_a_history_is_a_field():
    rows = bundled("chain_sum")
    plain = {name for name in rows if "." not in name}
    assert plain <= set(FIELDS)
    assert "model_fingerprint" in FIELDS
    assert {cell_type(name) for name in rows if name.startswith(("meta.", "signal."))} == {
        "any number"
    }
