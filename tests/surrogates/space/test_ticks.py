"""Axes as people read them in a chart."""

from __future__ import annotations

import math

import pytest
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from surrogates.space.axes import make_axis
from surrogates.space.ticks import position, searched_axes, ticks


@pytest.mark.parametrize(
    ("hyperparameter", "expected"),
    [
        (UniformFloatHyperparameter("x", 1e-4, 1e-1, log=True), [1e-4, 1e-3, 1e-2, 1e-1]),
        (UniformFloatHyperparameter("x", 0.2, 3.0, log=True), [0.2, 0.5, 1, 2]),
        (UniformFloatHyperparameter("x", 0.0, 1.0), [0, 0.25, 0.5, 0.75, 1]),
        (UniformIntegerHyperparameter("x", 1, 3), [1, 2, 3]),
        (OrdinalHyperparameter("x", [8, 16]), [8, 16]),
        (CategoricalHyperparameter("x", ["full", "lora"]), ["full", "lora"]),
    ],
)
def test_ticks_are_round_values(hyperparameter, expected) -> None:
    assert ticks(make_axis(hyperparameter)) == expected


def test_values_lie_where_their_ticks_are() -> None:
    axis = make_axis(UniformFloatHyperparameter("x", 1e-4, 1e-1, log=True))
    assert position(axis, 0.01) == -2
    assert math.isnan(position(axis, None))
    kind = make_axis(CategoricalHyperparameter("x", ["full", "lora"]))
    assert [position(kind, value) for value in ticks(kind)] == [0, 1]


def test_only_what_varies_is_searched() -> None:
    space = ConfigurationSpace({"only": [1, 2], "fixed": 3})
    assert set(searched_axes(space.to_serialized_dict())) == {"only"}
