"""What was proposed and what was told, in order. Plain records, no models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from surrogates.core.base import (
    STATES,
    AlreadyToldError,
    Observation,
    OptionError,
    Proposal,
    UnknownProposalError,
)
from surrogates.space.axes import is_missing, plain
from surrogates.space.encoding import PREFIX
from surrogates.space.stages import Run

LARGEST = 1e100  # beyond is a penalty that stands for a failure; its square overflows


@dataclass
class Book:
    """Proposals and observations of one search, both in the order they came."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    told: dict[str, Observation] = field(default_factory=dict)
    asks: int = 0
    """Number of `ask` calls so far: with the seed, the whole state of the random numbers."""

    def next_id(self) -> str:
        """The id of the next proposal."""
        return f"{len(self.proposals) + 1:04d}"

    def record(self, id: str, **told: Any) -> Observation:
        """Check and store one observation.

        Raises:
            UnknownProposalError: No proposal has the id.
            AlreadyToldError: It was told before.
            OptionError: A value is out of range.
        """
        if id not in self.proposals:
            known = ", ".join(list(self.proposals)[-5:]) or "none yet"
            raise UnknownProposalError(f"no proposal has id {id!r} (latest: {known}). Call ask().")
        if id in self.told:
            raise AlreadyToldError(
                f"proposal {id} was told before (score {self.told[id].score}). "
                "Each proposal takes one tell; ask() for another trial."
            )
        if told.get("start") is None:
            parent = self.proposals[id].continues
            told["start"] = self.told[parent].fraction if parent is not None else 0.0
        self.told[id] = observation = _observation(id, **told)
        return observation

    @property
    def pending(self) -> list[Proposal]:
        """Proposals not told yet."""
        return [p for i, p in self.proposals.items() if i not in self.told]

    @property
    def spent(self) -> float:
        """Cost told so far."""
        return math.fsum(o.cost for o in self.told.values())

    @property
    def superseded(self) -> set[str]:
        """Stopped trials whose continuation gave a score: their estimate is no longer needed."""
        parents = (self.proposals[i].continues for i, o in self.told.items() if not o.failed)
        return {parent for parent in parents if parent is not None}

    @property
    def usable(self) -> list[Observation]:
        """Scores that speak for their configuration now."""
        dropped = self.superseded
        return [o for i, o in self.told.items() if not o.failed and i not in dropped]

    @property
    def runs(self) -> list[Run]:
        """What was run of which configurations, and gave a score."""
        told = (o for o in self.told.values() if not o.failed)
        return [(self.proposals[o.id].config, o.fraction) for o in told]

    @property
    def stopped(self) -> list[Observation]:
        """Partial trials that may be continued: not failed, not continued before."""
        taken = {p.continues for p in self.proposals.values()}
        return [o for i, o in self.told.items() if self._partial(o) and i not in taken]

    @staticmethod
    def _partial(observation: Observation) -> bool:
        return not observation.failed and observation.fraction < 1.0

    def told_full_cost(self, observation: Observation) -> float | None:
        """Cost a full-length trial would have had, from what was told; None if unknown."""
        run = observation.fraction - observation.start
        if observation.failed or observation.cost <= 0 or run <= 0:
            return None
        return observation.cost / run

    def row(self, proposal: Proposal) -> dict[str, Any]:
        """A proposal and what was told of it, "pending" while nothing was."""
        told = self.told.get(proposal.id)
        return (
            {"id": proposal.id, "kind": proposal.kind, "continues": proposal.continues}
            | {PREFIX + name: value for name, value in proposal.config.items()}
            | {
                "fraction": told.fraction if told else proposal.fraction,
                "score": told.score if told else math.nan,
                "score_se": told.score_se if told else math.nan,
                "cost": told.cost if told else math.nan,
                "state": told.state if told else "pending",
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form (NaN as null)."""
        return {
            "asks": self.asks,
            "proposals": [_nulls(asdict(p)) for p in self.proposals.values()],
            "told": [_nulls(asdict(o)) for o in self.told.values()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Book:
        """Inverse of `to_dict`."""
        book = cls(asks=data["asks"])
        for p in data["proposals"]:
            book.proposals[p["id"]] = Proposal(**_nans(p))
        for o in data["told"]:
            if "start" not in o:  # of before it was told
                parent = book.proposals[o["id"]].continues
                o = o | {"start": book.told[parent].fraction if parent is not None else 0.0}
            book.told[o["id"]] = Observation(**_nans(o))
        return book


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
        raise OptionError(f"{start=}: expected the share that others had run for it, in [0, 1].")
    if not (math.isfinite(cost) and cost >= 0.0):
        raise OptionError(f"{cost=}: expected a finite number, zero or more.")
    if not (math.isfinite(score_se) and score_se >= 0.0):
        raise OptionError(f"{score_se=}: expected a standard error, zero or more.")
    value = math.nan if is_missing(score) else float(score)  # type: ignore[arg-type]
    if state == "failed" or not abs(value) < LARGEST:
        state, value = "failed", math.nan
    numbers = {str(k): float(plain(v)) for k, v in (signals or {}).items() if _is_number(v)}
    return Observation(id, value, score_se, cost, fraction, numbers, state, float(start))  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
