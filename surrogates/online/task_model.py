"""The model of one dataset, given the offline models and the observations so far.

Internally more is always better; raw scores are multiplied by `sign` (-1 for minimisation) on the
way in and out, in `search.py` and here, nowhere else.
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
from surrogates.online.offline_prior import OfflinePrior
from surrogates.online.trial_log import TrialLog
from surrogates.space.stages import SharedStages

NUGGET = 0.05  # expected share of variance of single configurations, where noise is known
SCALE_WEIGHT = 3.0  # observations that the history's typical score scale counts as


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Run with n torch threads, then restore the caller's number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TaskModel:
    """Posterior over scores, costs and failures after the observed trials.

    `sign` is 1 to maximise, -1 to minimise; `flat`: every trial costs the same, however long.
    """

    def __init__(
        self,
        prior: OfflinePrior,
        trial_log: TrialLog,
        sign: float,
        shared_stages: SharedStages,
        flat: bool = False,
    ) -> None:
        self.prior, self.offline, self.encoder = prior, prior.offline, prior.encoder
        self.trial_log, self.sign = trial_log, sign
        self.shared_stages, self.flat = shared_stages, flat
        self.observed: list[Observation] = trial_log.usable
        self.configs: list[Config] = [trial_log.config_of(o) for o in self.observed]
        self.full = np.array([o.full_length for o in self.observed], dtype=bool)
        self.canonical_configs = [self._canonical(o) for o in self.observed]
        """The configurations that the scores are attributed to, see `SharedStages.canonical`."""
        self.y, self.y_var = self._estimates()
        self._failures = self._failure_model()
        costs = trial_log.full_length_costs
        self._cost_configs = [config for config, _ in costs]
        self._log_costs = np.log([cost for _, cost in costs])

    def _canonical(self, o: Observation) -> Config:
        return self.shared_stages.canonical(self.trial_log.config_of(o), o.fraction)

    # -- scores --------------------------------------------------------------------------------

    def _scale(self, y: np.ndarray) -> float:
        """Standard deviation of final scores on this task, shrunk to the typical past one.

        The more the past scale varied from task to task, the less it counts.
        """
        ss = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
        early = self.offline.early
        typical = early.typical_scale if early is not None else self.offline.scale
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
        rows = np.flatnonzero(~self.full)
        if len(rows) == 0:
            return y, var
        scale = self._scale(y[self.full] if self.full.sum() >= 3 else y)
        partial = [self.observed[i] for i in rows]
        if self.offline.early is None:
            var[rows] += np.array([((1.0 - o.fraction) * scale) ** 2 for o in partial])
            return y, var
        y[rows], forecast_var = self._forecast(self.offline.early, partial, scale)
        if "predictor_noise" not in self.prior.ablate:
            var[rows] += forecast_var
        return y, var

    def _forecast(
        self, early: EarlyPredictor, partial: list[Observation], scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Full-length scores of partial runs and the variances of their own errors.

        The error that all partial runs of a task share is estimated as an offset from the trials
        that were continued to their end (forecast against outcome), shrunk towards 0. What remains
        unknown of it counts as noise only once there are full-length scores to compare with.
        """
        configs = [self._canonical(o) for o in partial]
        mean, variance = self._early_predict(early, partial, configs, scale)
        shared = np.array([early.shared_at(o.fraction) for o in partial])
        errors, weights = self._finished_forecasts(early, scale)
        offset = float(weights @ errors / (1.0 + weights.sum())) if len(errors) else 0.0
        unknown = 1.0 / (1.0 + weights.sum()) if self.full.any() else 0.0
        return mean + offset, variance * (1.0 - shared + unknown * shared)

    def _early_predict(
        self,
        early: EarlyPredictor,
        partial: list[Observation],
        configs: list[Config],
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = early.rows(
            configs,
            [o.fraction for o in partial],
            [self.sign * o.score for o in partial],
            [o.signals for o in partial],
            self.prior.dataset,
            self.encoder,
        )
        return early.predict(rows, scale)

    def _finished_forecasts(
        self, early: EarlyPredictor, scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outcome minus forecast of continued trials, and the weight of each as evidence on the
        shared offset: its variance over that of the trial's own error."""
        log = self.trial_log
        pairs = [
            (log.observations[parent], child)
            for child in self.observed
            if child.full_length and (parent := log.proposals[child.id].continues) is not None
        ]
        if not pairs:
            return np.zeros(0), np.zeros(0)
        parents = [parent for parent, _ in pairs]
        configs = [log.config_of(parent) for parent in parents]
        mean, _ = self._early_predict(early, parents, configs, scale)
        outcome = np.array([self.sign * child.score for _, child in pairs])
        shared = np.array([early.shared_at(parent.fraction) for parent in parents])
        return outcome - mean, shared / np.maximum(1.0 - shared, 0.01)

    @cached_property
    def gp(self) -> ResidualGP | None:
        """The Gaussian process over distinct configurations; None below two of them."""
        rows = self._distinct_rows()
        keys = [self.encoder.key(self.canonical_configs[i]) for i in rows]
        first, y, var = merge_duplicates(keys, self.y[rows], self.y_var[rows])
        if len(first) < 2 or "residual" in self.prior.ablate:
            return None
        configs = [self.canonical_configs[rows[i]] for i in first]
        noise_known = all(o.score_se > 0 for o in self.observed)
        nugget = NUGGET if noise_known else None
        return ResidualGP.fit(self.prior.inputs(configs), y, var, self.prior.mean_prior, nugget)

    def _distinct_rows(self) -> list[int]:
        """Observations, without repeats of one measurement: partial runs that are identical."""
        first: dict[tuple, int] = {}
        for i, (config, o) in enumerate(zip(self.configs, self.observed, strict=True)):
            run = self.shared_stages.stage(config, o.fraction).key
            first.setdefault((i,) if self.full[i] else (run, o.fraction, o.score), i)
        return list(first.values())

    @property
    def continued(self) -> int:
        """Number of trials that were continued, or are being."""
        return sum(p.continues is not None for p in self.trial_log.proposals.values())

    def baseline(self, full_only: bool) -> np.ndarray:
        """Inputs of the observed configurations, of the full-length ones only if asked."""
        chosen = [c for c, f in zip(self.configs, self.full, strict=True) if f or not full_only]
        return self.prior.inputs(self.encoder.unique(chosen)) if chosen else np.zeros((0, 0))

    def predict(
        self, configs: list[Config], use_gp: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean, sd and prior part of the full-length score, caller's units, each (n,).

        NaN where nothing is known: no history and no score yet; the prior part also where the
        history is not trusted. Without the Gaussian process: the offline prior mean, moved to the
        level of the observed scores.
        """
        m = self.prior.trusted_mean(configs)
        if use_gp and self.gp is not None:
            mean, sd = self.gp.raw(*self.gp.posterior(self.prior.inputs(configs)))
            offline_part = self.gp.offline_part(m)
        else:
            mean, sd = self._predict_without_gp(configs, m)
            offline_part = mean
        if self.prior.mean_prior is None and self.observed:
            offline_part = np.full(len(configs), np.nan)
        return self.sign * mean, sd, self.sign * offline_part

    def _predict_without_gp(
        self, configs: list[Config], m: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The prior mean on the history's level and scale, moved through the observed scores."""
        rho = self.prior.mean_prior.rho if self.prior.mean_prior is not None else 0.0
        scale = self._scale(self.y)
        level = self.offline.level
        if len(self.y):
            own = rho * scale * self.prior.trusted_mean(self.configs)
            level = float(np.mean(self.y - own))
        mean = level + scale * rho * m
        sd = np.full(len(m), scale * math.sqrt(1.0 - rho**2))
        observed = {self.encoder.key(c): i for i, c in enumerate(self.configs)}
        for row, config in enumerate(configs):
            i = observed.get(self.encoder.key(config))
            if i is not None:
                mean[row], sd[row] = self.y[i], math.sqrt(self.y_var[i])
        return mean, sd

    # -- costs and failures --------------------------------------------------------------------

    def log_cost(self, configs: list[Config]) -> np.ndarray:
        """Expected log cost of full-length trials, shape (n,)."""
        return expected_log_cost(
            self.prior.relative_log_cost(configs),
            self.encoder.matrix(configs),
            self.prior.relative_log_cost(self._cost_configs),
            self.encoder.matrix(self._cost_configs),
            self._log_costs,
            self.offline.cost.base if self.offline.cost is not None else 0.0,
        )

    def pending_cost(self, pending: list[Proposal]) -> float:
        """Expected cost of the pending proposals.

        0 until a first cost is known: before that the caller's unit is unknown, and the history's
        (seconds, say) may have nothing to do with the budget's (trials, say).
        """
        if self.flat:
            return float(len(pending))
        if not pending or not self._cost_configs:
            return 0.0
        configs = [p.config for p in pending]
        completed = self.completed_fraction(configs)
        for i, p in enumerate(pending):
            if p.continues:
                completed[i] = self.trial_log.observations[p.continues].fraction
        left = np.array([p.fraction for p in pending]) - completed
        return float(np.exp(self.log_cost(configs)) @ np.maximum(left, 0.0))

    def completed_fraction(self, configs: list[Config]) -> np.ndarray:
        """Share of each configuration's run that observed trials have run already, shape (n,)."""
        return self.shared_stages.shared_fraction(configs, self.trial_log.runs)

    def _failure_model(self) -> FailureModel:
        observed = list(self.trial_log.observations.values())
        cube = self.encoder.matrix([self.trial_log.config_of(o) for o in observed])
        failed, weight = np.array([o.failed for o in observed], dtype=bool), np.ones(len(observed))
        past, past_failed = self.offline.failure_cube, self.offline.failure_flags
        if past is not None and past_failed is not None:
            cube = np.vstack([cube, past])
            failed = np.concatenate([failed, past_failed])
            weight = np.concatenate([weight, np.full(len(past), past_weight(len(past)))])
        return FailureModel(cube, failed, weight)

    def failure_probability(self, configs: Sequence[Config]) -> np.ndarray:
        """Probability that each configuration's trial fails, shape (n,)."""
        return self._failures.probability(self.encoder.matrix(configs))

    # -- early stopping ------------------------------------------------------------------------

    @property
    def partial_runs_work(self) -> bool:
        """True if the caller does stop trials at the proposed fraction and reports signals."""
        early = self.offline.early
        if early is None:
            return False
        for o in self.trial_log.scored:
            if self.trial_log.proposals[o.id].fraction >= 1.0:
                continue
            # A trial that the caller's own rules ended is over early and reported as final.
            if o.fraction >= 1.0:
                if o.state == "completed":
                    return False
                continue
            # An early part lacks the signals of later stages, so one signal is enough.
            reported = {name.removeprefix("signal.") for name in o.signals}
            if early.signal_names and not reported & set(early.signal_names):
                return False
        return True
