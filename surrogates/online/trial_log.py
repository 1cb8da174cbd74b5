"""Proposals and observations of a search, in order. Plain records, no models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from surrogates.core.base import (
    STATES,
    AlreadyToldError,
    Config,
    Observation,
    OptionError,
    Proposal,
    UnknownProposalError,
)
from surrogates.history.past import PastTrial
from surrogates.space.axes import as_number, is_missing
from surrogates.space.encoding import PREFIX
from surrogates.space.stages import Run

MAX_SCORE = 1e100  # a larger one is a penalty that stands for a failure; its square overflows


@dataclass
class TrialLog:
    """Proposals and observations of one search, both in the order they came."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    observations: dict[str, Observation] = field(default_factory=dict)
    past: list[PastTrial] = field(default_factory=list)
    target: str = ""
    """The level of size that is searched for; all others are its proxies."""
    asks: int = 0
    """Number of `ask` calls so far: with the seed, the whole state of the random numbers."""

    def config_of(self, observation: Observation) -> Config:
        """The configuration that was observed."""
        return self.proposals[observation.id].config

    def parent_of(self, observation: Observation) -> str | None:
        """Id of the stopped trial that was continued; None for a new trial and a past one."""
        proposal = self.proposals.get(observation.id)
        return proposal.continues if proposal is not None else None

    def record(self, id: str, **reported: Any) -> None:
        """Check and store one observation.

        Raises:
            UnknownProposalError: No proposal has the id.
            AlreadyToldError: It was told before.
            OptionError: A value is out of range.
        """
        if id not in self.proposals:
            known = ", ".join(list(self.proposals)[-5:]) or "none yet"
            raise UnknownProposalError(f"no proposal has id {id!r} (latest: {known}). Call ask().")
        if id in self.observations:
            raise AlreadyToldError(
                f"proposal {id} was told before (score {self.observations[id].score}). "
                "Each proposal takes one tell; ask() for another trial."
            )
        if reported.get("start") is None:
            reported["start"] = self._parent_fraction(id)
        self.observations[id] = _observation(id, **reported)

    def _parent_fraction(self, id: str) -> float:
        """Share of the schedule that the continued trial had run; 0 for a new trial."""
        parent = self.proposals[id].continues
        return self.observations[parent].fraction if parent is not None else 0.0

    @property
    def pending(self) -> list[Proposal]:
        """Proposals without an observation yet."""
        return [p for i, p in self.proposals.items() if i not in self.observations]

    @property
    def spent(self) -> float:
        """Total cost so far."""
        return math.fsum(o.cost for o in self.observations.values())

    @property
    def scored(self) -> list[Observation]:
        """All observations with a score."""
        return [o for o in self.observations.values() if not o.failed]

    @property
    def superseded(self) -> set[str]:
        """Stopped trials whose continuation gave a score: their forecast is no longer needed."""
        parents = (self.proposals[o.id].continues for o in self.scored)
        return {parent for parent in parents if parent is not None}

    def usable(self, level: str) -> list[Observation]:
        """The latest score of each trial of a level."""
        superseded = self.superseded
        return [o for o in self.scored if o.id not in superseded and self.level_of(o) == level]

    def level_of(self, observation: Observation) -> str:
        """The level on which it was observed."""
        return self.proposals[observation.id].level

    def runs(self, level: str) -> list[Run]:
        """Configurations that gave a score on a level, each with the fraction that was run."""
        return [(self.config_of(o), o.fraction) for o in self.scored if self.level_of(o) == level]

    @property
    def stopped(self) -> list[Observation]:
        """The target's partial trials that may be continued: not failed, not continued before."""
        continued = {p.continues for p in self.proposals.values()}
        partial = (o for o in self.scored if o.fraction < 1.0 and o.id not in continued)
        return [o for o in partial if self.level_of(o) == self.target]

    @property
    def full_length_costs(self) -> list[tuple[Config, float, str]]:
        """Configurations with the cost that they would have had at full length, and the level."""
        return [
            (self.config_of(o), o.cost / (o.fraction - o.start), self.level_of(o))
            for o in self.scored
            if o.cost > 0 and o.fraction > o.start
        ]

    def why_nothing(self) -> str:
        """The reason why nothing can be recommended while no trial of the target has a score."""
        if not (self.scored or self.past):
            return (
                "nothing to recommend: no trial has a score yet and there is no history. "
                "Call ask(), run the proposals and tell() their scores."
            )
        return (
            f"nothing to recommend: best() speaks of the target, {self.target!r}, and only smaller "
            "levels have scores yet. Call ask(only='target'), run the proposals and tell() their "
            "scores."
        )

    def row(self, proposal: Proposal) -> dict[str, Any]:
        """A proposal and its observation as one flat row, "pending" while there is none."""
        observed = self.observations.get(proposal.id)
        return (
            {"id": proposal.id, "kind": proposal.kind, "continues": proposal.continues}
            | ({"level": proposal.level} if self.target else {})
            | {PREFIX + name: value for name, value in proposal.config.items()}
            | {
                "fraction": observed.fraction if observed else proposal.fraction,
                "score": observed.score if observed else math.nan,
                "score_se": observed.score_se if observed else math.nan,
                "cost": observed.cost if observed else math.nan,
                "state": observed.state if observed else "pending",
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form (NaN as null)."""
        return {
            "asks": self.asks,
            "proposals": [_nulls(asdict(p)) for p in self.proposals.values()],
            "told": [_nulls(asdict(o)) for o in self.observations.values()],
            "past": [asdict(trial) for trial in self.past],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], target: str = "") -> TrialLog:
        """Inverse of `to_dict`."""
        past = [PastTrial(**trial) for trial in data.get("past", [])]  # earlier files lack it
        log = cls(past=past, target=target, asks=data["asks"])
        log.proposals = {p["id"]: Proposal(**_nans(p)) for p in data["proposals"]}
        for saved in data["told"]:
            # Files written before `start` was recorded lack it.
            start = saved.get("start", log._parent_fraction(saved["id"]))
            log.observations[saved["id"]] = Observation(**_nans(saved) | {"start": start})
        return log


_MAY_BE_NAN = {
    "score", "expected_score", "expected_score_sd", "prior_score", "residual", "expected_cost"
}  # fmt: skip


def _nulls(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and v != v else v for k, v in record.items()}


def _nans(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: math.nan if v is None and k in _MAY_BE_NAN else v for k, v in record.items()}


def _observation(
    id: str,
    *,
    score: float | None,
    score_se: float,
    cost: float,
    fraction: float,
    signals: Mapping[str, Any] | None,
    state: str,
    start: float,
) -> Observation:
    if state not in STATES:
        raise OptionError(f"state={state!r}: expected one of {', '.join(STATES)}.")
    fraction, cost = float(fraction), float(cost)
    score_se = 0.0 if is_missing(score_se) else float(score_se)
    if not 0.0 < fraction <= 1.0:
        raise OptionError(f"{fraction=}: expected the share of the full schedule run, in (0, 1].")
    if not 0.0 <= start <= 1.0:
        raise OptionError(f"{start=}: expected the share of the schedule not run, in [0, 1].")
    if not (math.isfinite(cost) and cost >= 0.0):
        raise OptionError(f"{cost=}: expected a finite number, zero or more.")
    if not (math.isfinite(score_se) and score_se >= 0.0):
        raise OptionError(f"{score_se=}: expected a standard error, zero or more.")
    value = math.nan if is_missing(score) else float(score)  # type: ignore[arg-type]
    if state == "failed" or not abs(value) < MAX_SCORE:
        state, value = "failed", math.nan
    numbers = {str(name): as_number(v) for name, v in (signals or {}).items()}
    finite = {name: v for name, v in numbers.items() if math.isfinite(v)}
    return Observation(id, value, score_se, cost, fraction, finite, state, float(start))  # type: ignore[arg-type]
