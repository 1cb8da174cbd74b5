"""Options of the search, checked before anything is computed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from surrogates.core.base import OptionError

Strategy = Literal["autopipe", "random", "sobol", "ranker", "gp", "tpe", "bohb"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
WITH_LEVELS: tuple[Strategy, ...] = ("autopipe", "gp")  # that try smaller models
BESIDE = ("offline", "stages", "levels", "level_meta", "past")  # options of `Search` itself
Part = Literal["ranker", "residual", "early_stopping", "cost", "predictor_noise", "proxy", "shift"]


class SearchOptions(BaseModel):
    """Everything about a search that is not the problem itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = "autopipe"
    """autopipe (offline prior + residual GP + early stopping), gp (no history), ranker (the offline
    prior alone), sobol, random; tpe and bohb as Optuna has them."""
    ablate: tuple[Part, ...] = ()
    """Parts of autopipe to leave out, to measure the worth of each."""
    rungs: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = Field(None, min_length=1)
    """Fractions new trials may start at; None: decided by value; (1.0,): always full length."""
    n_initial: int | None = Field(None, ge=1)
    """Trials before the Gaussian process takes over; None: by dimension, 3 with a history."""
    n_candidates: int = Field(1000, ge=8)
    """Configurations the acquisition is evaluated on at each suggestion."""
    finalist_share: float = Field(0.25, ge=0, le=1)
    """Share of the budget kept for finishing the best stopped trials."""
    price: Literal["share", "flat"] = "share"
    """Cost of a trial: "share", in proportion to the part of the schedule that it runs, or "flat",
    always the same, as in a budget that counts trials."""
    n_threads: int = Field(1, ge=1)
    """Torch threads inside `ask` and `best`."""

    @classmethod
    def of(cls, given: Mapping[str, Any], levels: bool = False) -> SearchOptions:
        """Options from keyword arguments, of a search with several levels of size or without.

        Raises:
            OptionError: A name is unknown (the nearest known one is suggested), a value is off, or
                there are levels that it has no use for.
        """
        try:
            options = cls(**given)
        except ValidationError as error:
            problems = "; ".join(_problem(each) for each in error.errors())
            raise OptionError(f"invalid search options: {problems}.") from None
        if levels and options.strategy not in WITH_LEVELS:
            raise OptionError(
                f"strategy={options.strategy!r} has no use for levels; expected "
                f"{' or '.join(map(repr, WITH_LEVELS))}, or leave levels out."
            )
        if levels and options.price == "flat":
            raise OptionError(
                "price='flat': a trial on a smaller level costs a fraction of one, so with levels "
                "expected price='share', and a budget in compute or time."
            )
        return options


def _problem(error: Any) -> str:
    """One of pydantic's errors in words."""
    name = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{name}={error['input']!r}: {error['msg']}"
    known = [*SearchOptions.model_fields, *BESIDE]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown search option {name!r}.{hint} Known: {', '.join(known)}"
