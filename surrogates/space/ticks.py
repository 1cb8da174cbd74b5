"""Axes as people read them in a chart: the place of a value, and the ticks beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Constant

from surrogates.space.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis, make_axis


def searched_axes(space: Mapping[str, Any]) -> dict[str, Axis]:
    """The searched hyperparameters of a space in ConfigSpace's JSON form, by name."""
    parsed = ConfigurationSpace.from_serialized_dict(dict(space))
    return {h.name: make_axis(h) for h in parsed.values() if not isinstance(h, Constant)}


def position(axis: Axis, value: Any) -> float:
    """Place of a value on a drawn axis: log10 or plain number, or rank; NaN if not set."""
    if isinstance(axis, ChoiceAxis):
        ranks = {str(choice): rank for rank, choice in enumerate(axis.choices)}
        return float(ranks.get(axis.feature(value), math.nan))
    feature = axis.feature(value)
    return feature if isinstance(feature, float) else math.nan


def ticks(axis: Axis) -> list[Any]:
    """Values to label on a drawn axis, from its lower end to its upper one."""
    if isinstance(axis, ChoiceAxis):
        return list(axis.choices)
    if isinstance(axis, OrdinalAxis):
        return list(axis.sequence)
    assert isinstance(axis, NumberAxis)
    if axis.log:
        return _log_ticks(axis.lower, axis.upper)
    values = np.linspace(axis.lower, axis.upper, 5)
    return sorted({round(v) for v in values}) if axis.integer else [float(v) for v in values]


def _log_ticks(lower: float, upper: float) -> list[float]:
    """Powers of ten in the range; on less than two decades also 2 and 5 times those."""
    factors = (1,) if math.log10(upper / lower) >= 2 else (1, 2, 5)
    decades = range(math.floor(math.log10(lower)), math.ceil(math.log10(upper)) + 1)
    values = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    inside = [value for value in values if lower * 0.999 <= value <= upper * 1.001]
    return inside if len(inside) >= 2 else [lower, upper]
