"""One run: a player on a table until its budget is spent, and what it would have ended with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.replay.tables import Move, ReplayTask


class Player(Protocol):
    """A strategy on a finite list of candidates, which it names by their index."""

    def ask(self) -> Move | None:
        """The next move, before whose outcome is told there is no other; None gives up."""

    def tell(
        self,
        move: Move,
        score: float | None,
        score_se: float,
        cost: float,
        signals: Mapping[str, float],
    ) -> None:
        """What the asked move gave; None is the score of a failed trial.

        The fraction may be another than the asked one: the nearest above it with a known score.
        """

    def incumbent(self) -> int | None:
        """The candidate it would end with now; None before there is one."""


class BestSeen:
    """The incumbent of those that end with the best score they have seen.

    Scores of the longest fraction that any trial has reached count, shorter ones do not.
    """

    def __init__(self) -> None:
        self._reached: dict[int, tuple[float, float]] = {}

    def tell(self, move: Move, score: float | None) -> None:
        """Note a move's score; None is a failure."""
        if score is not None:
            self._reached[move.index] = move.fraction, score

    @property
    def worst(self) -> float | None:
        """The least score of any candidate."""
        return min((score for _, score in self._reached.values()), default=None)

    def incumbent(self) -> int | None:
        """The best candidate; None before there is one."""
        return max(self._reached, key=self._reached.__getitem__, default=None)


@dataclass
class Trace:
    """What one run spent and found, move by move."""

    seed: int
    budget: float
    """Seconds that could be spent."""
    start: float
    """Normalised regret of a random candidate: what counts until there is an incumbent."""
    moves: list[tuple[int, float, float]] = field(default_factory=list)
    """Candidate, fraction reached, fraction begun at."""
    costs: list[float] = field(default_factory=list)
    """Seconds spent in all after each move."""
    regrets: list[float] = field(default_factory=list)
    """Normalised regret of the incumbent's true final score after each move."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds the player itself took, by its call."""
    asks: int = 0
    """Calls of `ask`: one more than moves where the last one did not fit the budget."""

    def at(self, shares: np.ndarray) -> np.ndarray:
        """Regret when a share of the budget is spent, for each of the shares."""
        steps = np.array([self.start, *self.regrets])
        spent = np.array(self.costs) / self.budget
        return steps[np.searchsorted(spent, np.asarray(shares) + 1e-12, side="right")]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def play(task: ReplayTask, player: Player, budget: float, seed: int = 0) -> Trace:
    """Play until the next move no longer fits the budget, or none is left.

    A trial of a table has one outcome, so a player that starts a candidate again has no more to
    play.

    Args:
        task: The table.
        player: Fresh, and seeded by its maker.
        budget: Seconds; a move that would exceed what is left is not run.
        seed: Noted in the trace.
    """
    regrets = task.regrets()
    trace = Trace(seed, budget, float(regrets.mean()))
    spent, started = 0.0, set[int]()
    while True:
        with _timed(trace, "ask"):
            asked = player.ask()
        trace.asks += 1
        if asked is None or (asked.from_fraction == 0 and asked.index in started):
            break
        move = task.settled(asked)
        outcome = task.outcome(move)
        if spent + outcome.cost > budget:
            break
        spent += outcome.cost
        started.add(move.index)
        with _timed(trace, "tell"):
            player.tell(move, outcome.score, outcome.score_se, outcome.cost, outcome.signals)
        with _timed(trace, "incumbent"):
            best = player.incumbent()
        trace.moves.append((move.index, move.fraction, move.from_fraction))
        trace.costs.append(spent)
        trace.regrets.append(trace.start if best is None else float(regrets[best]))
    return trace


@contextmanager
def _timed(trace: Trace, call: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    trace.seconds[call] = trace.seconds.get(call, 0.0) + time.perf_counter() - begun
