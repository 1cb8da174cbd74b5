"""Records and errors shared by the surrogates, and the contract of the search.

Who calls what, in which order::

    search = Search(space, history=past_runs, dataset=meta_features, budget=20)
    while budget is left:
        for proposal in search.ask(n):        # any number of times before telling
            ...                               # the caller runs the trial
            search.tell(proposal.id, score, cost=..., fraction=..., signals=...)
    search.best()                             # at any time, costs no trial

The caller owns the trials, the budget's clock and all files; the search owns the models.
`tell` may come in any order and from any number of earlier `ask` calls, once per proposal.
Scores are in the caller's units and direction everywhere in this interface.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Only = Literal["target", "proxies"]
"""The levels of size that a trial may be on."""
Config = dict[str, Any]
"""A flat configuration: hyperparameter name -> plain Python value, inactive ones left out."""

State = Literal["completed", "stopped", "failed"]
STATES: tuple[State, ...] = ("completed", "stopped", "failed")


class SurrogateError(ValueError):
    """Root of every error raised on purpose by this package."""


class OptionError(SurrogateError):
    """An option or argument is unknown or out of range."""


class HistoryError(SurrogateError):
    """The history table cannot be read."""


class UnknownProposalError(SurrogateError):
    """`tell` names a proposal that this search never made."""


class AlreadyToldError(SurrogateError):
    """`tell` was called a second time for the same proposal."""


class NothingToRecommendError(SurrogateError):
    """`best` was asked before any trial finished, and there is no history to go by."""


class NoCandidateError(SurrogateError):
    """No legal configuration could be proposed."""


@dataclass(frozen=True)
class Proposal:
    """One trial to run. All scores are in the caller's units; NaN where nothing is known yet."""

    id: str
    """Unique within a search and deterministic: "0001", "0002", ..."""
    config: Config
    """Hyperparameters, inactive conditional ones left out."""
    fraction: float
    """Share of the full schedule to run up to, in (0, 1]."""
    expected_score: float
    """Posterior mean of the full-length score."""
    expected_cost: float
    """Cost still to pay for this proposal, in the units of the observed costs."""
    expected_score_sd: float = math.nan
    """Posterior standard deviation of the full-length score."""
    prior_score: float = math.nan
    """The part of `expected_score` that comes from past datasets alone."""
    residual: float = math.nan
    """`expected_score - prior_score`: the effect of this dataset's own trials."""
    failure_probability: float = 0.0
    """Estimated probability that the trial fails."""
    kind: Literal["new", "continue"] = "new"
    """"new" starts afresh, "continue" resumes the stopped trial `continues`."""
    continues: str | None = None
    """Id of the stopped proposal to continue from, else None."""
    hedge: bool = False
    """True if it is one of the first trials that the offline prior did not choose."""
    level: str = ""
    """Name of the model to run it on, in a search over several levels of size, else empty."""


@dataclass(frozen=True)
class Recommendation:
    """The configuration to use."""

    config: Config
    score: float
    """Posterior mean of its full-length score."""
    score_se: float
    """Posterior standard deviation of that mean."""
    id: str | None = None
    """Of its proposal; None if it was never run (chosen by the offline prior alone)."""


@dataclass(frozen=True)
class Observation:
    """The outcome of one proposal, as `tell` recorded it."""

    id: str
    score: float
    """In the caller's direction; NaN for a failed trial."""
    score_se: float
    cost: float
    fraction: float
    signals: Mapping[str, float] = field(default_factory=dict)
    state: State = "completed"
    start: float = 0.0
    """Share of the schedule that other trials had run for it; its cost covers the rest."""

    @property
    def failed(self) -> bool:
        """True if the trial gave no usable score."""
        return self.state == "failed"

    @property
    def full_length(self) -> bool:
        """True if the score is of the full schedule."""
        return not self.failed and self.fraction >= 1.0
