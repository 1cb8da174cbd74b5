"""What describes the levels of a search: refused where it is of another type or order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surrogates.core.base import OptionError
from surrogates.space.levels import Levels

COSTS = {"small": 0.05, "large": 1.0}


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        (["small", "large"], r"expected a mapping of names to relative costs.*found list"),
        (0.5, "found float"),
        ({"small": "cheap", "large": 1.0}, "positive relative costs, found 'cheap' for 'small'"),
        ({"small": None, "large": 1.0}, "found None for 'small'"),
        ({"small": float("nan"), "large": 1.0}, "found nan for 'small'"),
        ({"small": True, "large": 1.0}, "found True for 'small'"),
        ({7: 0.1, "large": 1.0}, "expected the name of a model, found 7"),
        ({"small": 1.0, "large": 1.0}, "'small' costs as much as the target"),
        ({"middle": 0.3, "small": 0.1, "large": 1.0}, "expected the smallest first"),
    ],
)
def test_costs_that_are_none_or_in_another_order_are_refused(costs: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Levels.of(costs)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ([{"width": 64}], r"level_meta=.*expected a mapping of names to meta-features.*found list"),
        ({"small": 64}, "level_meta of 'small': expected a mapping of meta-features.*found 64"),
        ({"small": {"width": "wide"}}, "expected a number as 'width', found 'wide'"),
        ({"large": {"model_hidden_size": []}}, r"as 'model_hidden_size', found \[\]"),
    ],
)
def test_meta_features_of_another_type_are_refused(meta: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Levels.of(COSTS, meta)


def test_what_is_not_known_of_a_level_may_be_left_out() -> None:
    meta = {"small": {"width": None}, "large": {"width": np.float32(128)}}
    assert Levels.of({"small": np.float64(3), "large": 30}, meta).costs == (0.1, 1.0)
    assert Levels.of({"base": 0.1, "instruct": 0.1, "large": 1.0}).costs == (0.1, 0.1, 1.0)
    assert Levels.of(None, {}) == Levels()
