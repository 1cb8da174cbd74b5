"""Options of the search, checked before anything is computed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from surrogates.core.base import OptionError

Strategy = Literal["autopipe", "random", "sobol", "ranker", "gp", "tpe", "bohb"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
PRICES = ("share", "flat")
PARTS = ("ranker", "past_tasks", "residual", "early_stopping", "cost", "predictor_noise")


@dataclass(frozen=True)
class SearchOptions:
    """Everything about a search that is not the problem itself."""

    strategy: str = "autopipe"
    """autopipe (opinion + residual GP + early stopping), gp (no history), ranker (the opinion
    alone), sobol, random; tpe and bohb as Optuna has them."""
    without: tuple[str, ...] = ()
    """Parts of autopipe to leave out, to see what each is worth: some of `PARTS`."""
    rungs: tuple[float, ...] | None = None
    """Fractions new trials may start at; None: decided by value; (1.0,): always full length."""
    n_initial: int | None = None
    """Trials before the Gaussian process takes over; None: by dimension, 2 with a history."""
    n_candidates: int = 1000
    """Configurations the acquisition is evaluated on at each suggestion."""
    finalist_share: float = 0.25
    """Share of the budget kept for finishing the best stopped trials."""
    price: str = "share"
    """What a trial costs: "share", in proportion to the part of the schedule that it runs, or
    "flat", the same however long and whatever it is, as in a budget that counts trials."""
    n_threads: int = 1
    """Torch threads inside `ask` and `best`."""

    def __post_init__(self) -> None:
        problems = []
        if self.strategy not in STRATEGIES:
            problems.append(f"strategy={self.strategy!r}: expected one of {', '.join(STRATEGIES)}")
        object.__setattr__(self, "without", tuple(self.without))
        if unknown := sorted(set(self.without) - set(PARTS)):
            problems.append(f"without={unknown}: expected some of {', '.join(PARTS)}")
        if self.rungs is not None:
            object.__setattr__(self, "rungs", tuple(float(r) for r in self.rungs))
            if not self.rungs or not all(0.0 < r <= 1.0 for r in self.rungs):
                problems.append(f"rungs={self.rungs!r}: expected fractions in (0, 1]")
        if self.n_initial is not None and self.n_initial < 1:
            problems.append(f"n_initial={self.n_initial!r}: expected at least 1")
        if self.n_candidates < 8:
            problems.append(f"n_candidates={self.n_candidates!r}: expected at least 8")
        if not 0.0 <= self.finalist_share <= 1.0:
            problems.append(f"finalist_share={self.finalist_share!r}: expected 0 to 1")
        if self.price not in PRICES:
            problems.append(f"price={self.price!r}: expected one of {', '.join(PRICES)}")
        if self.n_threads < 1:
            problems.append(f"n_threads={self.n_threads!r}: expected at least 1")
        if problems:
            raise OptionError("invalid search options: " + "; ".join(problems) + ".")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SearchOptions:
        """Options from keyword arguments.

        Raises:
            OptionError: A name is unknown (the nearest known one is suggested) or a value is off.
        """
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                every = [*known, "offline", "stages"]
                near = difflib.get_close_matches(name, every, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise OptionError(
                    f"unknown search option {name!r}.{hint} Known: {', '.join(every)}."
                )
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
