"""Numbers as the files that DVC follows hold them."""

import json

import pandas as pd

from tasks.output.numbers import metrics_by_name, round_floats


def test_rows_get_names_without_punctuation_and_only_finite_numbers():
    table = pd.DataFrame(
        {"method": ["RMSE + meta", "(last) score"], "tau": [1 / 3, float("nan")], "n": [2, 3]}
    )
    found = metrics_by_name(table, "method")
    assert found == {"rmse_meta": {"tau": 0.333333, "n": 2.0}, "last_score": {"n": 3.0}}
    json.dumps(found, allow_nan=False)


def test_only_the_columns_asked_for():
    table = pd.DataFrame({"method": ["a"], "tau": [0.5], "note": ["text"]})
    assert metrics_by_name(table, "method", ["tau"]) == {"a": {"tau": 0.5}}


def test_floats_at_any_depth_are_rounded_to_significant_digits():
    assert round_floats({"a": {"b": 1234.56789, "n": 7}, "s": "x"}) == {
        "a": {"b": 1234.57, "n": 7},
        "s": "x",
    }
