"""What the search believes about one dataset, given the offline models and what was told so far.

Internally more is always better; raw scores times `sign` (-1 for minimisation) and back happen in
`search.py` and here in `_signed`, nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from surrogates.core.base import Config, Observation, Proposal
from surrogates.gp.failure import FailureModel, past_weight
from surrogates.gp.residual_gp import ResidualGP, merge_duplicates
from surrogates.offline.cost import expected_log_cost
from surrogates.offline.early import EarlyPredictor
from surrogates.online.offline_prior import OfflineOpinion
from surrogates.online.trial_log import Book
from surrogates.space.stages import Beginnings

SCALE_WEIGHT = 3.0  # how many observations the history's typical score scale counts as


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Run with n torch threads and give the caller's number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TaskModel:
    """Posterior over scores, costs and failures after the told trials.

    Args:
        opinion: The offline part.
        book: Proposals and observations so far (read only).
        sign: 1 to maximise, -1 to minimise.
        beginnings: Which runs are the same up to when.
        flat: Whether a trial costs the same whatever it is.
    """

    def __init__(
        self,
        opinion: OfflineOpinion,
        book: Book,
        sign: float,
        beginnings: Beginnings,
        flat: bool = False,
    ) -> None:
        self.opinion, self.book, self.sign = opinion, book, sign
        self.beginnings, self.flat = beginnings, flat
        self.encoder = opinion.encoder
        self.observed: list[Observation] = book.usable
        self.configs: list[Config] = [book.proposals[o.id].config for o in self.observed]
        self.full = np.array([o.full_length for o in self.observed], dtype=bool)
        self.scored: list[Config] = [
            beginnings.settled(config, o.fraction)
            for config, o in zip(self.configs, self.observed, strict=True)
        ]
        """The configurations that the scores are given to, see `Beginnings.settled`."""
        self.y, self.y_var = self._estimates()
        self._failures = self._failure_model()
        self._told_cost = self._told_costs()

    # -- scores --------------------------------------------------------------------------------

    def _scale(self, y: np.ndarray) -> float:
        """Standard deviation of final scores on this task, shrunk to the typical past one.

        How much the past one counts falls with how much it varied from task to task.
        """
        ss = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
        early = self.opinion.offline.early
        typical = early.typical_scale if early is not None else self.opinion.offline.scale
        if not math.isfinite(typical):
            return math.sqrt(ss / max(len(y) - 1, 1)) or 1.0
        spread = early.scale_spread if early is not None else 1.0
        weight = SCALE_WEIGHT / (1.0 + spread**2)
        return math.sqrt((weight * typical**2 + ss) / (weight + max(len(y) - 1, 0)))

    def _estimates(self) -> tuple[np.ndarray, np.ndarray]:
        """Full-length scores and their noise variances; partial runs through the early predictor.

        Without a predictor a partial score stands for itself, with a variance that grows with the
        part not run: sd = (1 - fraction) x the task's scale.
        """
        y = np.array([self.sign * o.score for o in self.observed])
        var = np.array([o.score_se**2 for o in self.observed])
        partial = np.flatnonzero(~self.full) if len(y) else np.zeros(0, dtype=int)
        if len(partial) == 0:
            return y, var
        scale = self._scale(y[self.full] if self.full.sum() >= 3 else y)
        early = self.opinion.offline.early
        chosen = [self.observed[i] for i in partial]
        if early is None:
            var[partial] += np.array([((1.0 - o.fraction) * scale) ** 2 for o in chosen])
            return y, var
        y[partial], own = self._forecast(early, chosen, y[partial], scale)
        if "predictor_noise" not in self.opinion.without:
            var[partial] += own
        return y, var

    def _forecast(
        self,
        early: EarlyPredictor,
        partial: list[Observation],
        last: np.ndarray,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Full-length scores of partial runs and the variances of their own errors.

        The error that all partial runs of a task share is estimated as an offset, shrunk towards
        0, from the trials that were continued to their end (forecast against outcome). What
        remains unknown of it counts as noise only once there are full-length scores to compare
        with.
        """
        configs = [self.beginnings.settled(self._config(o), o.fraction) for o in partial]
        mean, variance = self._early_predict(early, partial, configs, last, scale)
        shared = np.array([early.shared_at(o.fraction) for o in partial])
        errors, weights = self._finished_forecasts(early, scale)
        offset = float(weights @ errors / (1.0 + weights.sum())) if len(errors) else 0.0
        unknown = 1.0 / (1.0 + weights.sum()) if self.full.any() else 0.0
        return mean + offset, variance * (1.0 - shared + unknown * shared)

    def _config(self, o: Observation) -> Config:
        return self.book.proposals[o.id].config

    def _early_predict(
        self,
        early: EarlyPredictor,
        partial: list[Observation],
        configs: list[Config],
        last: np.ndarray,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = early.rows(
            configs,
            [o.fraction for o in partial],
            list(last),
            [o.signals for o in partial],
            self.opinion.dataset,
            self.encoder,
        )
        return early.predict(rows, scale)

    def _finished_forecasts(
        self, early: EarlyPredictor, scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outcome minus forecast of continued trials, and the weight of each as evidence on the
        shared offset: its variance over that of the trial's own error."""
        pairs = [
            (self.book.told[parent], child)
            for child in self.observed
            if child.full_length and (parent := self.book.proposals[child.id].continues) is not None
        ]
        if not pairs:
            return np.zeros(0), np.zeros(0)
        parents = [p for p, _ in pairs]
        last = np.array([self.sign * p.score for p in parents])
        configs = [self._config(p) for p in parents]
        mean, _ = self._early_predict(early, parents, configs, last, scale)
        outcome = np.array([self.sign * c.score for _, c in pairs])
        shared = np.array([early.shared_at(p.fraction) for p in parents])
        return outcome - mean, shared / np.maximum(1.0 - shared, 0.01)

    @cached_property
    def gp(self) -> ResidualGP | None:
        """The Gaussian process over distinct configurations; None below two of them."""
        rows = self._distinct()
        keys = [self.encoder.key(self.scored[i]) for i in rows]
        first, y, var = merge_duplicates(keys, self.y[rows], self.y_var[rows])
        if len(first) < 2 or "residual" in self.opinion.without:
            return None
        configs = [self.scored[rows[i]] for i in first]
        known = all(o.score_se > 0 for o in self.observed)
        nugget = self.opinion.nugget if known else None
        return ResidualGP.fit(
            self.inputs(configs), self.opinion.split, y, var, self.opinion.prior, nugget
        )

    def _distinct(self) -> list[int]:
        """The observations without those of a beginning that is there already: one measurement."""
        seen: dict[tuple, int] = {}
        for i, (config, o) in enumerate(zip(self.configs, self.observed, strict=True)):
            place = self.beginnings.stage(config, o.fraction).key
            seen.setdefault((i,) if self.full[i] else (place, o.fraction, o.score), i)
        return list(seen.values())

    @property
    def continued(self) -> int:
        """Trials that were continued, or are being."""
        return sum(p.continues is not None for p in self.book.proposals.values())

    def inputs(self, configs: list[Config]) -> np.ndarray:
        """`n x (d + 1 + h)` inputs of the Gaussian process: cube, m, past deviations."""
        return self.opinion.inputs(configs)

    def baseline(self, full_only: bool) -> np.ndarray:
        """Inputs of the observed configurations, of the full-length ones only if asked."""
        chosen = [c for c, f in zip(self.configs, self.full, strict=True) if f or not full_only]
        return self.inputs(self.encoder.unique(chosen)) if chosen else np.zeros((0, 0))

    def predict(
        self, configs: list[Config], use_gp: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean, sd and prior part of the full-length score, caller's units, each (n,).

        NaN where nothing is known: no history and no score yet; the prior part also where no
        opinion of the past is trusted. Without the Gaussian process:
        the opinion moved to the level of the told scores.
        """
        m = self.opinion.trusted_score(configs)
        if use_gp and self.gp is not None:
            mean, sd = self.gp.raw(*self.gp.posterior(self.inputs(configs)))
            prior = self.gp.prior_mean(m)
        else:
            mean, sd = self._without_gp(configs, m)
            prior = mean
        if self.opinion.prior is None and self.observed:
            prior = np.full(len(configs), np.nan)  # no past dataset had a say in it
        return self._signed(mean), sd, self._signed(prior)

    def _without_gp(self, configs: list[Config], m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opinion on the history's level and scale, moved through the scores there are."""
        offline, prior = self.opinion.offline, self.opinion.prior
        rho = prior.rho if prior is not None else 0.0
        scale = self._scale(self.y)
        trend = scale * rho * m
        if len(self.y):
            own = rho * scale * self.opinion.trusted_score(self.configs)
            level = float(np.mean(self.y - own))
        else:
            level = offline.level
        mean, sd = level + trend, np.full(len(m), scale * math.sqrt(1.0 - rho**2))
        told = {self.encoder.key(c): i for i, c in enumerate(self.configs)}
        for row, config in enumerate(configs):
            i = told.get(self.encoder.key(config))
            if i is not None:
                mean[row], sd[row] = self.y[i], math.sqrt(self.y_var[i])
        return mean, sd

    def _signed(self, values: np.ndarray) -> np.ndarray:
        return self.sign * values

    # -- costs and failures --------------------------------------------------------------------

    def _told_costs(self) -> tuple[list[Config], np.ndarray]:
        told = [(o, self.book.told_full_cost(o)) for o in self.book.told.values()]
        known = [(self.book.proposals[o.id].config, c) for o, c in told if c is not None]
        return [c for c, _ in known], np.log([cost for _, cost in known])

    def log_cost(self, configs: list[Config]) -> np.ndarray:
        """Expected log cost of full-length trials, shape (n,)."""
        told, costs = self._told_cost
        base = self.opinion.offline.cost.base if self.opinion.offline.cost is not None else 0.0
        return expected_log_cost(
            self.opinion.relative_log_cost(configs),
            self.encoder.matrix(configs),
            self.opinion.relative_log_cost(told),
            self.encoder.matrix(told),
            costs,
            base,
        )

    def cost_to_come(self, pending: list[Proposal]) -> float:
        """Expected cost of the proposals not told yet.

        0 until a first cost is told: before that the caller's unit is unknown, and the history's
        (seconds, say) may have nothing to do with the budget's (trials, say).
        """
        if self.flat:
            return float(len(pending))
        if not pending or not self._told_cost[0]:
            return 0.0
        configs = [p.config for p in pending]
        begun = self.begun(configs)
        for i, p in enumerate(pending):
            if p.continues:
                begun[i] = self.book.told[p.continues].fraction
        left = np.array([p.fraction for p in pending]) - begun
        return float(np.exp(self.log_cost(configs)) @ np.maximum(left, 0.0))

    def begun(self, configs: list[Config]) -> np.ndarray:
        """Share of each configuration's run that trials which were told have run, shape (n,)."""
        return self.beginnings.in_common(configs, self.book.runs)

    def _failure_model(self) -> FailureModel:
        told = list(self.book.told.values())
        cube = self.encoder.matrix([self.book.proposals[o.id].config for o in told])
        flags, weight = np.array([o.failed for o in told], dtype=bool), np.ones(len(told))
        past, past_flags = self.opinion.offline.failure_cube, self.opinion.offline.failure_flags
        if past is not None and past_flags is not None:
            cube = np.vstack([cube, past])
            flags = np.concatenate([flags, past_flags])
            weight = np.concatenate([weight, np.full(len(past), past_weight(len(past)))])
        return FailureModel(cube, flags, weight)

    def failure_probability(self, configs: Sequence[Config]) -> np.ndarray:
        """Probability that each configuration's trial fails, shape (n,)."""
        return self._failures.probability(self.encoder.matrix(configs))

    # -- early stopping ------------------------------------------------------------------------

    @property
    def partial_runs_work(self) -> bool:
        """Whether the caller does stop trials at the proposed fraction and reports signals."""
        early = self.opinion.offline.early
        if early is None:
            return False
        for id, told in self.book.told.items():
            if self.book.proposals[id].fraction >= 1.0 or told.failed:
                continue
            # A trial that the caller's own rules ended is over early and told as final.
            if told.fraction >= 1.0:
                if told.state == "completed":
                    return False
                continue
            # Signals of a later stage are missing in an early part, so not all are asked for.
            given = {s.removeprefix("signal.") for s in told.signals}
            if early.signal_names and not given & set(early.signal_names):
                return False
        return True
