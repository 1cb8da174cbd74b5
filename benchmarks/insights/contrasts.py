"""Questions to one group's landscape, each answered by one number.

A contrast is asked of a table with one row a configuration: a column for each hyperparameter
(None or NaN where inactive) and `z`, the standardised score. Sides are boolean expressions over
hyperparameters, as `pandas.DataFrame.eval` reads them. NaN where too few rows answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from benchmarks.insights.importance import own_effect
from benchmarks.insights.marginals import BEST, top_weights

MIN_SIDE = 3  # rows that a side needs
NAN = float("nan")


class Contrast(Protocol):
    """What a rule needs to know about its question."""

    @property
    def unit(self) -> str:
        """Of the answer."""

    @property
    def needs(self) -> set[str]:
        """Hyperparameters without which it cannot be asked."""

    def __call__(self, table: pd.DataFrame) -> float:
        """The answer in one group."""

    def nothing(self, table: pd.DataFrame) -> float:
        """What the answer would be if scores did not depend on configurations."""


@dataclass(frozen=True)
class Gap:
    """Mean standardised score of one side minus that of the other."""

    high: str
    low: str
    unit: str = "sd"

    @property
    def needs(self) -> set[str]:
        return _names(self.high, self.low)

    def __call__(self, table: pd.DataFrame) -> float:
        high, low = (_side(table, side)["z"] for side in (self.high, self.low))
        return float(high.mean() - low.mean()) if min(len(high), len(low)) >= MIN_SIDE else NAN

    def nothing(self, table: pd.DataFrame) -> float:
        return 0.0


@dataclass(frozen=True)
class BestGap(Gap):
    """The same of the best tenth of either side: what each can reach when tuned."""

    def __call__(self, table: pd.DataFrame) -> float:
        sides = [_side(table, side)["z"].to_numpy() for side in (self.high, self.low)]
        if min(map(len, sides)) < MIN_SIDE:
            return NAN
        high, low = (float(top_weights(z, BEST) @ z) for z in sides)
        return high - low


@dataclass(frozen=True)
class SlopeGap:
    """Slope of the standardised score over log10 of a hyperparameter, one side minus the other."""

    of: str
    high: str
    low: str
    unit: str = "sd per decade"

    @property
    def needs(self) -> set[str]:
        return _names(self.of, self.high, self.low)

    def __call__(self, table: pd.DataFrame) -> float:
        high, low = (_slope(_side(table, side), self.of) for side in (self.high, self.low))
        return high - low

    def nothing(self, table: pd.DataFrame) -> float:
        return 0.0


@dataclass(frozen=True)
class BestRatio:
    """log10 of the ratio of two hyperparameters, geometric mean over the best tenth."""

    of: str
    by: str
    where: str
    unit: str = "decades"

    @property
    def needs(self) -> set[str]:
        return _names(self.of, self.by, self.where)

    def __call__(self, table: pd.DataFrame) -> float:
        rows = _side(table, self.where)
        if len(rows) < MIN_SIDE:
            return NAN
        return float(top_weights(rows["z"].to_numpy(), BEST) @ self._logs(rows))

    def nothing(self, table: pd.DataFrame) -> float:
        rows = _side(table, self.where)
        return float(self._logs(rows).mean()) if len(rows) else NAN

    def _logs(self, rows: pd.DataFrame) -> np.ndarray:
        return np.log10(rows[self.of].to_numpy(float) / rows[self.by].to_numpy(float))


@dataclass(frozen=True)
class BestFactor:
    """log10 of how many times larger a hyperparameter is in the best tenth of one side than in
    that of the other."""

    of: str
    high: str
    low: str
    unit: str = "decades"

    @property
    def needs(self) -> set[str]:
        return _names(self.of, self.high, self.low)

    def __call__(self, table: pd.DataFrame) -> float:
        return self._difference(table, lambda z: top_weights(z, BEST))

    def nothing(self, table: pd.DataFrame) -> float:
        return self._difference(table, lambda z: np.full(len(z), 1.0 / len(z)))

    def _difference(
        self, table: pd.DataFrame, weights: Callable[[np.ndarray], np.ndarray]
    ) -> float:
        sides = [_side(table, side) for side in (self.high, self.low)]
        if min(map(len, sides)) < MIN_SIDE:
            return NAN
        high, low = (
            float(weights(side["z"].to_numpy()) @ np.log10(side[self.of].to_numpy(float)))
            for side in sides
        )
        return high - low


@dataclass(frozen=True)
class OwnGap:
    """Share of the group's variance that a hyperparameter explains on its own, minus the mean share
    of the others with the same prefix."""

    of: str
    prefix: str
    unit: str = "share of variance"

    @property
    def needs(self) -> set[str]:
        return {self.of}

    def __call__(self, table: pd.DataFrame) -> float:
        shares = {
            str(name): own_effect(_codes(table[name]), table["z"].to_numpy())
            for name in table
            if str(name).startswith(self.prefix)
        }
        others = [v for name, v in shares.items() if name != self.of and np.isfinite(v)]
        return shares[self.of] - float(np.mean(others)) if others else NAN

    def nothing(self, table: pd.DataFrame) -> float:
        return 0.0


def _side(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which a boolean expression holds."""
    return table.loc[np.asarray(table.eval(expression), dtype=bool)]


def _slope(rows: pd.DataFrame, name: str) -> float:
    x = np.log10(rows[name].to_numpy(float))
    if len(x) < MIN_SIDE or np.ptp(x) == 0:
        return NAN
    return float(np.polyfit(x, rows["z"].to_numpy(), 1)[0])


def _codes(values: pd.Series) -> np.ndarray:
    """Numbers as they are, other values as the codes of categories; NaN where missing."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() == values.notna().sum():
        return numbers.to_numpy(float)
    codes = pd.Categorical(values).codes.astype(float)
    return np.where(codes < 0, np.nan, codes)


def _names(*expressions: str) -> set[str]:
    """Hyperparameters in the expressions; quoted values and methods are none."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", " ".join(expressions))
    return set(re.findall(r"(?<![.\w])[a-z]\w*", bare)) - {"and", "or", "not", "in"}
