"""One hyperparameter as an axis of the unit interval.

Four kinds: float, integer, ordinal, categorical. Each axis gives

    decode(u)         the value at a coordinate u in [0, 1]
    encode(value)     a coordinate that decodes to the value; NaN if it is missing
    normalise(value)  the value as a plain Python object of the axis's type; None if it is missing
    embed(value)      `width` numbers in [0, 1] for a Gaussian process; neutral if it is missing
    feature(value)    the entry of a CatBoost table
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Hyperparameter,
    OrdinalHyperparameter,
)

from surrogates.core.base import OptionError

MISSING = "<missing>"


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python object it stands for."""
    return value.item() if isinstance(value, np.generic) else value


def is_missing(value: Any) -> bool:
    """None, NaN or pandas' missing markers."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA refuses a truth value
        return True


def as_number(value: Any) -> float:
    """The value as a float, NaN where it is missing or not a number."""
    if is_missing(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def same_value(a: Any, b: Any) -> bool:
    """Equality that survives a trip through a file: 16 == 16.0 == "16", True == "True"."""
    if type(a) is type(b):
        return bool(a == b)
    x, y = as_number(a), as_number(b)
    if x == x and y == y:
        return x == y
    return str(a) == str(b)


@dataclass(frozen=True)
class NumberAxis:
    """A float or integer range, linear or log."""

    name: str
    lower: float
    upper: float
    log: bool
    integer: bool
    width: int = 1

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value

    def _edges(self) -> tuple[float, float]:
        """Ends of the axis; an integer owns the half-unit on either side of it."""
        pad = 0.5 if self.integer else 0.0
        return self._scale(self.lower - pad), self._scale(self.upper + pad)

    def decode(self, u: float) -> float | int:
        low, high = self._edges()
        value = low + (high - low) * min(max(float(u), 0.0), 1.0)
        value = math.exp(value) if self.log else value
        value = min(max(value, self.lower), self.upper)
        return min(max(round(value), int(self.lower)), int(self.upper)) if self.integer else value

    def encode(self, value: Any) -> float:
        number = as_number(value)
        if number != number or (self.log and number <= 0):
            return math.nan
        low, high = self._edges()
        return min(max((self._scale(number) - low) / (high - low), 0.0), 1.0)

    def normalise(self, value: Any) -> float | int | None:
        number = as_number(value)
        if not math.isfinite(number):
            return None
        return round(number) if self.integer else number

    def embed(self, value: Any) -> list[float]:
        number = as_number(value)
        if number != number:
            return [0.5]
        if self.log and number <= 0:
            return [0.0]
        low, high = self._scale(self.lower), self._scale(self.upper)
        return [min(max((self._scale(number) - low) / (high - low), 0.0), 1.0)]

    def feature(self, value: Any) -> float:
        number = as_number(value)
        if not self.log:
            return number
        return math.log10(number) if number > 0 else math.nan


def _at(values: tuple[Any, ...], u: float) -> Any:
    """The value whose share of the unit interval holds u."""
    return values[min(int(float(u) * len(values)), len(values) - 1)]


@dataclass(frozen=True)
class OrdinalAxis:
    """An ordered list of values, encoded by rank."""

    name: str
    sequence: tuple[Any, ...]
    width: int = 1

    def decode(self, u: float) -> Any:
        return _at(self.sequence, u)

    def encode(self, value: Any) -> float:
        rank = self._rank(value)
        return (round(rank) + 0.5) / len(self.sequence) if rank == rank else math.nan

    def normalise(self, value: Any) -> Any:
        if is_missing(value):
            return None
        match = (s for s in self.sequence if same_value(s, plain(value)))
        return next(match, plain(value))

    def _rank(self, value: Any) -> float:
        """Rank of the value; numbers between two steps are interpolated."""
        if is_missing(value):
            return math.nan
        for rank, step in enumerate(self.sequence):
            if same_value(step, plain(value)):
                return float(rank)
        steps = [as_number(s) for s in self.sequence]
        number = as_number(value)
        if number != number or any(s != s for s in steps) or sorted(steps) != steps:
            return math.nan
        return float(np.interp(number, steps, np.arange(len(steps))))

    def embed(self, value: Any) -> list[float]:
        rank = self._rank(value)
        return [0.5] if rank != rank else [rank / max(len(self.sequence) - 1, 1)]

    def feature(self, value: Any) -> float:
        return self._rank(value)


@dataclass(frozen=True)
class ChoiceAxis:
    """A categorical: one-hot for Gaussian processes, a string for CatBoost."""

    name: str
    choices: tuple[Any, ...]

    @property
    def width(self) -> int:
        return len(self.choices)

    def decode(self, u: float) -> Any:
        return _at(self.choices, u)

    def _index(self, value: Any) -> int | None:
        matches = (i for i, c in enumerate(self.choices) if same_value(c, plain(value)))
        return None if is_missing(value) else next(matches, None)

    def encode(self, value: Any) -> float:
        index = self._index(value)
        return math.nan if index is None else (index + 0.5) / len(self.choices)

    def normalise(self, value: Any) -> Any:
        if is_missing(value):
            return None
        index = self._index(value)
        return plain(value) if index is None else self.choices[index]

    def embed(self, value: Any) -> list[float]:
        index = self._index(value)
        if index is None:
            return [1.0 / len(self.choices)] * len(self.choices)
        return [float(i == index) for i in range(len(self.choices))]

    def feature(self, value: Any) -> str:
        index = self._index(value)
        if index is not None:
            return str(self.choices[index])
        return MISSING if is_missing(value) else str(plain(value))


Axis: TypeAlias = NumberAxis | OrdinalAxis | ChoiceAxis


def make_axis(hyperparameter: Hyperparameter) -> Axis:
    """The axis of a ConfigSpace hyperparameter.

    Raises:
        OptionError: Its type has neither choices, nor a sequence, nor bounds.
    """
    name = hyperparameter.name
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return ChoiceAxis(name, tuple(plain(c) for c in hyperparameter.choices))
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return OrdinalAxis(name, tuple(plain(s) for s in hyperparameter.sequence))
    lower, upper = getattr(hyperparameter, "lower", None), getattr(hyperparameter, "upper", None)
    if lower is None or upper is None:
        raise OptionError(
            f"hyperparameter {name!r} of type {type(hyperparameter).__name__} has no bounds; "
            "use a float or integer range, a categorical or an ordinal."
        )
    integer = "Integer" in type(hyperparameter).__name__
    log = bool(getattr(hyperparameter, "log", False))
    return NumberAxis(name, float(lower), float(upper), log, integer)
