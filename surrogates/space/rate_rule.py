"""Reference learning rates: a rule by model size, fitted to rates that people chose.

    log10 rate = a_(stage, adapter) + slope * log10(parameters / 1e9)

docs/spaces.md has its errors on authors and sizes left out, and those of the forms that lost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Stage = Literal["sft", "dpo", "rl"]
Adapter = Literal["full", "lora"]
Cell = tuple[Stage, Adapter]
STAGES: tuple[Stage, ...] = get_args(Stage)
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
CELLS: tuple[Cell, ...] = tuple((stage, adapter) for stage in STAGES for adapter in ADAPTERS)
# What has a slope of its own: nothing, all cells together, each adapter, or each cell.
Form = Literal["constants", "shared slope", "slope by adapter", "lines"]
FORMS: tuple[Form, ...] = get_args(Form)
CHOSEN: Form = "shared slope"
HUBER = 0.25  # decades; residuals beyond count by their size, not by its square
ITERATIONS = 60
REACH = 10.0  # a range goes so far to either side; of choices left out, 94 % are within
DIGITS = 2  # of rates and bounds that people read


class RateChoice(Protocol):
    """A learning rate that somebody chose for a stage of training."""

    @property
    def cell(self) -> Cell:
        """The stage and the adapter."""

    @property
    def log_size(self) -> float:
        """log10(parameters / 1e9) of the model."""

    @property
    def learning_rate(self) -> float:
        """Above zero."""

    @property
    def author(self) -> str:
        """Whose choice it is."""


@dataclass(frozen=True)
class RateRange:
    """Where a search over a learning rate begins, and how far it goes."""

    lower: float
    default: float
    upper: float


@dataclass(frozen=True)
class RateRule:
    """A fitted rule: for each stage and adapter the rate at 1e9 parameters, and the slope."""

    levels: Mapping[Cell, float]  # log10
    slopes: Mapping[Cell, float]
    counts: Mapping[Cell, int]  # choices that it was fitted to

    def rate(self, stage: Stage, adapter: Adapter, parameters: int) -> float:
        """The reference rate: what the authors would choose, within their scatter."""
        cell = (stage, adapter)
        return float(10 ** (self.levels[cell] + self.slopes[cell] * math.log10(parameters / 1e9)))

    def range(self, stage: Stage, adapters: Sequence[Adapter], parameters: int) -> RateRange:
        """The range for a search over these adapters, one decade to either side of their rates.

        The default is the geometric middle of the rates.
        """
        rates = [self.rate(stage, adapter, parameters) for adapter in adapters]
        middle = math.exp(sum(map(math.log, rates)) / len(rates))
        return RateRange(
            *(rounded(each) for each in (min(rates) / REACH, middle, max(rates) * REACH))
        )


def fit_rule(choices: Sequence[RateChoice], form: Form = CHOSEN) -> RateRule:
    """Fits a rule by Huber's loss (Ann. Math. Stat. 35, 1964), by reweighted least squares.

    Each author has the weight of one choice in each stage and adapter, however many there are:
    copies of one default are one opinion.

    Raises:
        ValueError: without a choice for each stage and adapter.
    """
    counts = Counter(choice.cell for choice in choices)
    if missing := [cell for cell in CELLS if not counts[cell]]:
        raise ValueError(f"no rates for {missing}")
    rates = np.log10([choice.learning_rate for choice in choices])
    own = Counter((choice.author, choice.cell) for choice in choices)
    weights = np.array([1 / own[choice.author, choice.cell] for choice in choices])
    columns = _columns([(choice.cell, choice.log_size) for choice in choices], form)
    robust = weights
    for _ in range(ITERATIONS):
        root = np.sqrt(robust)
        solution = np.linalg.lstsq(columns * root[:, None], rates * root, rcond=None)[0]
        residuals = np.abs(rates - columns @ solution)
        robust = weights * np.minimum(1, HUBER / np.maximum(residuals, 1e-9))
    levels = _columns([(cell, 0.0) for cell in CELLS], form) @ solution
    ahead = _columns([(cell, 1.0) for cell in CELLS], form) @ solution
    return RateRule(
        levels=dict(zip(CELLS, map(float, levels), strict=True)),
        slopes=dict(zip(CELLS, map(float, ahead - levels), strict=True)),
        counts=counts,
    )


def _columns(points: Sequence[tuple[Cell, float]], form: Form) -> NDArray[np.float64]:
    """The design matrix: n x (6 + number of slopes), for cells and log sizes."""
    groups = {"constants": 0, "shared slope": 1, "slope by adapter": 2, "lines": len(CELLS)}
    matrix = np.zeros((len(points), len(CELLS) + groups[form]))
    for row, (cell, size) in enumerate(points):
        number = CELLS.index(cell)
        matrix[row, number] = 1
        if groups[form]:  # cells alternate between the adapters
            matrix[row, len(CELLS) + number % groups[form]] = size
    return matrix


def rounded(rate: float) -> float:
    """A rate to the digits that people read."""
    return float(f"{rate:.{DIGITS - 1}e}")
