"""Questions to one group's landscape, each answered by one number.

A contrast is asked of a table with one row per configuration: a column for each hyperparameter
(None or NaN where inactive) and `z`, the standardised score. Sides are boolean expressions over
hyperparameters, as `pandas.DataFrame.eval` reads them. NaN where too few rows answer.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from benchmarks.insights.importance import own_effect
from benchmarks.insights.marginals import top_weights

MIN_SIDE = 3  # rows that a side needs
NAN = float("nan")


@dataclass(frozen=True)
class Contrast(ABC):
    """A question; its fields are expressions over hyperparameters."""

    unit: ClassVar[str] = "sd"  # of the answer

    @property
    def needs(self) -> set[str]:
        """Hyperparameters without which it cannot be asked."""
        # Quoted values and methods are no hyperparameters.
        bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", " ".join(astuple(self)))
        return set(re.findall(r"(?<![.\w])[a-z]\w*", bare)) - {"and", "or", "not", "in"}

    @abstractmethod
    def __call__(self, table: pd.DataFrame) -> float:
        """The answer in one group."""

    def nothing(self, table: pd.DataFrame) -> float:
        """The answer if scores did not depend on configurations."""
        return 0.0


@dataclass(frozen=True)
class Gap(Contrast):
    """Mean standardised score of one side minus that of the other."""

    high: str
    low: str

    def __call__(self, table: pd.DataFrame) -> float:
        return self._difference(table, self.answer)

    def answer(self, rows: pd.DataFrame) -> float:
        """The number of one side."""
        return float(rows["z"].mean())

    def _difference(self, table: pd.DataFrame, answer: Callable[[pd.DataFrame], float]) -> float:
        high, low = _side(table, self.high), _side(table, self.low)
        return answer(high) - answer(low) if min(len(high), len(low)) >= MIN_SIDE else NAN


@dataclass(frozen=True)
class BestGap(Gap):
    """The same for the best tenth of either side: what each can reach when tuned."""

    def answer(self, rows: pd.DataFrame) -> float:
        z = rows["z"].to_numpy()
        return float(top_weights(z) @ z)


@dataclass(frozen=True)
class SlopeGap(Gap):
    """Slope of the standardised score over log10 of a hyperparameter, one side minus the other."""

    of: str
    unit: ClassVar[str] = "sd per decade"

    def answer(self, rows: pd.DataFrame) -> float:
        x = _log10(rows, self.of)
        return float(np.polyfit(x, rows["z"].to_numpy(), 1)[0]) if np.ptp(x) else NAN


@dataclass(frozen=True)
class BestFactor(Gap):
    """log10 of the factor between a hyperparameter in the best tenth of either side."""

    of: str
    unit: ClassVar[str] = "decades"

    def answer(self, rows: pd.DataFrame) -> float:
        return float(top_weights(rows["z"].to_numpy()) @ _log10(rows, self.of))

    def nothing(self, table: pd.DataFrame) -> float:
        return self._difference(table, lambda rows: float(_log10(rows, self.of).mean()))


@dataclass(frozen=True)
class BestRatio(Contrast):
    """log10 of the ratio of two hyperparameters, geometric mean over the best tenth of a side."""

    of: str
    by: str
    where: str
    unit: ClassVar[str] = "decades"

    def __call__(self, table: pd.DataFrame) -> float:
        rows = _side(table, self.where)
        if len(rows) < MIN_SIDE:
            return NAN
        return float(top_weights(rows["z"].to_numpy()) @ self._logs(rows))

    def nothing(self, table: pd.DataFrame) -> float:
        rows = _side(table, self.where)
        return float(self._logs(rows).mean()) if len(rows) else NAN

    def _logs(self, rows: pd.DataFrame) -> np.ndarray:
        return np.log10(rows[self.of].to_numpy(float) / rows[self.by].to_numpy(float))


@dataclass(frozen=True)
class OwnGap(Contrast):
    """Share of the group's variance that a hyperparameter explains on its own.

    Less the mean share of the others of its stage.
    """

    of: str
    unit: ClassVar[str] = "share of variance"

    def __call__(self, table: pd.DataFrame) -> float:
        stage = self.of.partition("_")[0] + "_"
        shares = {
            name: own_effect(_codes(table[name]), table["z"].to_numpy())
            for name in map(str, table)
            if name.startswith(stage)
        }
        others = [v for name, v in shares.items() if name != self.of and np.isfinite(v)]
        return shares[self.of] - float(np.mean(others)) if others else NAN


def _side(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which a boolean expression holds."""
    return table.loc[np.asarray(table.eval(expression), dtype=bool)]


def _log10(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.log10(rows[name].to_numpy(float))


def _codes(values: pd.Series) -> np.ndarray:
    """Numbers as they are, other values as the codes of categories; NaN where missing."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() == values.notna().sum():
        return numbers.to_numpy(float)
    codes = pd.Categorical(values).codes.astype(float)
    return np.where(codes < 0, np.nan, codes)
