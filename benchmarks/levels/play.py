"""One run: the search on a family of models until its budget is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.levels.arms import Arm
from benchmarks.levels.family import MODELS, Family
from benchmarks.replay.tables import Query
from surrogates.core.base import NothingToRecommendError, Proposal
from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder


@dataclass
class Run:
    """One run, trial by trial. Field names are those of the files."""

    seed: int
    budget: float  # in mean trials of the target at full length
    start: float
    """Regret of a random candidate, which counts until there is a recommendation."""
    trials: list[tuple[str, int, float]] = field(default_factory=list)
    """Model, candidate, fraction reached."""
    costs: list[float] = field(default_factory=list)  # cumulative, after each trial
    regrets: list[float] = field(default_factory=list)
    """Regret of the recommendation after each trial, in standard deviations."""
    left: dict[str, str] = field(default_factory=dict)
    """Proxies that were left, and why."""
    code: str = ""  # version of the search

    def at(self, shares: Sequence[float]) -> np.ndarray:
        """Regret after each share of the budget."""
        steps = np.array([self.start, *self.regrets])
        spent = np.array(self.costs) / self.budget
        return steps[np.searchsorted(spent, np.asarray(shares) + 1e-12, side="right")]

    def spent_on(self, model: str) -> float:
        """Share of the costs that went into trials of a model."""
        own = np.array([name == model for name, *_ in self.trials], dtype=bool)
        costs = np.diff([0.0, *self.costs])
        return float(costs[own].sum() / max(costs.sum(), 1e-12))


def play(
    family: Family,
    encoder: SpaceEncoder,
    arm: Arm,
    budget: float,
    seed: int,
    offline: OfflineModels | None = None,
) -> Run:
    """Ask and tell until no other trial fits the budget.

    The compute that a configuration takes is known beforehand, so only those are asked for that
    can still be run on the target.
    """
    search = _search(family, encoder, arm, budget, seed, offline)
    index = {encoder.key(config): i for i, config in enumerate(family.configs)}
    candidates, regrets = family.target.candidates(), family.regrets()
    run = Run(seed, budget, float(regrets.mean()))
    reached: dict[str, float] = {}
    started = set[tuple[str, int]]()
    left, rest = budget, family.target.costs[:, -1].copy()
    while (fitting := rest <= left).any():
        [proposal] = search.ask(1, candidates=candidates[fitting])
        model, at = proposal.level or MODELS[-1], index[encoder.key(proposal.config)]
        if proposal.continues is None and (model, at) in started:
            break  # a trial of a table has one outcome, so there is nothing else to ask for
        begun = reached[proposal.continues] if proposal.continues else 0.0
        query, outcome = family.outcome(model, Query(at, proposal.fraction, begun))
        cost = outcome.cost
        if begun and not arm.checkpoints:
            cost = family.outcome(model, Query(at, query.fraction))[1].cost
        if cost > left:
            break
        left -= cost
        if model == MODELS[-1] and arm.checkpoints:
            rest[at] -= cost
        started.add((model, at))
        reached[proposal.id] = query.fraction
        _tell(search, proposal, query.fraction, cost, outcome)
        run.trials.append((model, at, query.fraction))
        run.costs.append(budget - left)
        run.regrets.append(_regret(search, regrets, index, encoder, run.start))
    run.left = {state.level: state.left for state in search.proxies() if state.left}
    return run


def _search(
    family: Family,
    encoder: SpaceEncoder,
    arm: Arm,
    budget: float,
    seed: int,
    offline: OfflineModels | None,
) -> Search:
    models = (*arm.proxies, MODELS[-1])
    levels: dict[str, Any] = {}
    if arm.proxies:
        levels["levels"] = family.relative_costs(models)
        levels["level_meta"] = {model: family.tables[model].meta for model in models}
    return Search(
        encoder.space,
        dataset=family.target.meta or None,
        budget=budget,
        seed=seed,
        offline=offline,
        **levels,
        **arm.options,
    )


def _tell(search: Search, proposal: Proposal, fraction: float, cost: float, outcome: Any) -> None:
    finished = "completed" if fraction >= 1 else "stopped"
    search.tell(
        proposal.id,
        outcome.score,
        outcome.score_se,
        cost,
        fraction=fraction,
        signals=outcome.signals,
        state="failed" if outcome.score is None else finished,
    )


def _regret(
    search: Search,
    regrets: np.ndarray,
    index: Mapping[tuple[Any, ...], int],
    encoder: SpaceEncoder,
    start: float,
) -> float:
    """Of the recommendation; one without a trial of the target behind it is none."""
    try:
        best = search.best()
    except NothingToRecommendError:
        return start
    return float(regrets[index[encoder.key(best.config)]]) if best.id is not None else start
