"""What one `ask` knows, and the choice that it makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from surrogates.core.base import Config, Observation, Only
from surrogates.online.rungs import allowed_rungs
from surrogates.online.task_model import TaskModel
from surrogates.online.trial_log import TrialLog
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.options import SearchOptions
from surrogates.space.stages import distinct_rung


@dataclass(frozen=True)
class Choice:
    """The next run: a new configuration up to `fraction`, or a stopped trial to its end."""

    config: Config
    fraction: float = 1.0
    continues: Observation | None = None
    hedge: bool = False
    """True if it was started because the offline prior did not choose it."""
    level: str | None = None
    """Of size, to run it on; None: the target."""


@dataclass
class AskContext:
    """One `ask`: the task model, the candidates and the random numbers."""

    model: TaskModel
    pool: list[Config]
    only_pool: bool
    """True if the pool is the caller's candidates: nothing outside it may be proposed."""
    rng: np.random.Generator
    seed: int
    options: SearchOptions
    budget: float | None
    only: Only | None = None
    """The levels that may be proposed; None: all."""
    cube: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.cube = self.encoder.matrix(self.pool)

    @property
    def encoder(self) -> SpaceEncoder:
        """The encoder of the space."""
        return self.model.encoder

    @property
    def log(self) -> TrialLog:
        """Proposals, those of this `ask` included, and observations."""
        return self.model.trial_log

    @property
    def started(self) -> int:
        """New configurations proposed so far, on any level."""
        return sum(p.kind == "new" for p in self.log.proposals.values())

    @property
    def started_on_target(self) -> int:
        """New configurations proposed so far for the target."""
        return sum(self.taken().values())

    def level(self, name: str | None) -> str:
        """The level of that name; None is the target."""
        return self.log.target if name is None else name

    def proposed_on(self, level: str | None) -> list[Config]:
        """Configurations with an outcome on a level, and those that are pending there."""
        on, log = self.level(level), self.log
        told = [log.config_of(o) for o in log.observations.values() if log.level_of(o) == on]
        return told + [p.config for p in log.pending if p.level == on]

    def taken(self, level: str | None = None) -> Counter[tuple]:
        """Number of times that each configuration was tried on a level, or will be, by its key."""
        on = self.level(level)
        proposals = self.log.proposals.values()
        tried = [p.config for p in proposals if p.kind == "new" and p.level == on]
        tried += [trial.config for trial in self.log.past if trial.level == on]
        return Counter(map(self.encoder.key, tried))

    def free(self, level: str | None = None) -> np.ndarray:
        """Indices of the candidates not proposed before; the rarest ones if there are none.

        One that differs from another only in what its run never uses was proposed with that one.
        """
        taken = self.taken(level)
        counts = np.array([taken[self.encoder.key(c)] for c in self.pool])
        counts += (counts == 0) & (self.shared_fraction(self.pool, level) >= 1.0)
        return np.flatnonzero(counts == counts.min())

    def exhausted(self, level: str) -> bool:
        """True if every candidate was proposed on a level already."""
        taken = self.taken(level)
        return all(taken[self.encoder.key(config)] for config in self.pool)

    def shared_fraction(self, configs: list[Config], level: str | None = None) -> np.ndarray:
        """Share of each configuration's run that another trial has run, or will, shape (n,)."""
        on = self.level(level)
        waiting = [(p.config, p.fraction) for p in self.log.pending if p.level == on]
        return self.model.shared_stages.shared_fraction(configs, self.log.runs(on) + waiting)

    def stopped(self) -> list[Observation]:
        """Stopped trials that may be continued; only the caller's candidates, if there are any."""
        if not self.only_pool:
            return self.log.stopped
        allowed = {self.encoder.key(c) for c in self.pool}
        return [o for o in self.log.stopped if self.encoder.key(self.log.config_of(o)) in allowed]


def distinct_rungs(
    ctx: AskContext, configs: list[Config], planned: float, level: str | None = None
) -> np.ndarray:
    """The fraction at which each configuration's score is not known already, shape (n,).

    Two configurations cannot differ before a stage has begun in which they do.
    """
    allowed = allowed_rungs(ctx.model.offline.early, ctx.options.rungs)
    return np.array(
        [distinct_rung(planned, allowed, s) for s in ctx.shared_fraction(configs, level)]
    )
