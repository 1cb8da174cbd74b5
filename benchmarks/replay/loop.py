"""One run: an optimizer on a table until its budget is spent, and the regret of its incumbent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from benchmarks.replay.tables import Outcome, Query, ReplayTask
from surrogates.space.encoding import SpaceEncoder

if TYPE_CHECKING:
    from surrogates.offline.models import OfflineModels


@dataclass(frozen=True)
class Problem:
    """Everything that an optimizer is made from."""

    task: ReplayTask
    encoder: SpaceEncoder
    budget: float  # seconds that may be spent
    seed: int  # the same seed gives the same queries
    history: pd.DataFrame | None = None  # rows of the other datasets, for a transfer peer
    offline: OfflineModels | None = None  # models fitted to those rows, for the search


class Optimizer(Protocol):
    """A strategy on a finite list of candidates, which it refers to by their index."""

    def ask(self) -> Query | None:
        """The next query; there is no other before its outcome is told. None: it has no more."""

    def tell(self, query: Query, outcome: Outcome) -> None:
        """Learn the outcome of the last query.

        Its fraction may be larger than the requested one: the next with a known score.
        """

    def incumbent(self) -> int | None:
        """The candidate that it would recommend now; None before there is one."""


class BestSeen:
    """The incumbent of an optimizer that recommends the best score it has seen.

    Only scores at the longest fraction that any trial has reached count.
    """

    def __init__(self) -> None:
        self._reached: dict[int, tuple[float, float]] = {}

    def tell(self, query: Query, score: float | None) -> None:
        """Record a score; None is a failure."""
        if score is not None:
            self._reached[query.index] = query.fraction, score

    @property
    def worst(self) -> float | None:
        """The lowest score of any candidate."""
        return min((score for _, score in self._reached.values()), default=None)

    def incumbent(self) -> int | None:
        """The best candidate; None before there is one."""
        return max(self._reached, key=self._reached.__getitem__, default=None)


@dataclass
class Trace:
    """Cost and regret of one run, query by query. Field names are those of the files."""

    seed: int
    budget: float  # seconds that could be spent
    start: float
    """Normalised regret of a random candidate, which counts until there is an incumbent."""
    moves: list[tuple[int, float, float]] = field(default_factory=list)
    """Candidate, fraction reached, fraction resumed from."""
    costs: list[float] = field(default_factory=list)  # cumulative seconds after each query
    regrets: list[float] = field(default_factory=list)
    """Normalised regret of the incumbent's true final score after each query."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that the optimizer itself took, by its method."""
    asks: int = 0  # calls of `ask`: one more than queries where the last one did not fit the budget
    code: str = ""  # version of the strategy's program

    def at(self, shares: np.ndarray) -> np.ndarray:
        """Regret after each share of the budget."""
        steps = np.array([self.start, *self.regrets])
        spent = np.array(self.costs) / self.budget
        return steps[np.searchsorted(spent, np.asarray(shares) + 1e-12, side="right")]


def replay(task: ReplayTask, optimizer: Optimizer, budget: float, seed: int = 0) -> Trace:
    """Ask and tell until the next query does not fit the budget, or there is none.

    A trial of a table has one outcome, so an optimizer that starts a candidate again has run out
    of queries.

    The optimizer is fresh and seeded. A query that would exceed the budget, in seconds, is not run.
    """
    regrets = task.regrets()
    trace = Trace(seed, budget, float(regrets.mean()))
    spent, started = 0.0, set[int]()
    while True:
        with _timed(trace, "ask"):
            asked = optimizer.ask()
        trace.asks += 1
        if asked is None or (asked.from_fraction == 0 and asked.index in started):
            break
        query = task.settle(asked)
        outcome = task.outcome(query)
        if spent + outcome.cost > budget:
            break
        spent += outcome.cost
        started.add(query.index)
        with _timed(trace, "tell"):
            optimizer.tell(query, outcome)
        with _timed(trace, "incumbent"):
            best = optimizer.incumbent()
        trace.moves.append((query.index, query.fraction, query.from_fraction))
        trace.costs.append(spent)
        trace.regrets.append(trace.start if best is None else float(regrets[best]))
    return trace


@contextmanager
def _timed(trace: Trace, method: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    trace.seconds[method] = trace.seconds.get(method, 0.0) + time.perf_counter() - begun
