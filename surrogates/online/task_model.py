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

from surrogates.core.base import Config, Proposal
from surrogates.gp.failure import FailureModel, past_weight
from surrogates.gp.levels import LevelPrior, correlation_prior
from surrogates.gp.residual_gp import ResidualGP, merge_duplicates
from surrogates.offline.agreement import pooled
from surrogates.offline.cost import expected_log_cost
from surrogates.online.offline_prior import OfflinePrior
from surrogates.online.scores import LevelScores
from surrogates.online.trial_log import TrialLog
from surrogates.space.levels import Levels, Shifts
from surrogates.space.stages import SharedStages

NUGGET = 0.05  # expected share of variance of single configurations, where noise is known


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

    In a search over several levels of size scores, failures and stopped trials are the target's
    unless a level is named.

    Args:
        priors: The offline models as seen from each level, the target's last.
        trial_log: Proposals and observations.
        sign: 1 to maximise, -1 to minimise.
        shared_stages: Stages that runs have in common.
        levels: Of size; by default there is one.
        flat: Every trial costs the same, however long.
    """

    def __init__(
        self,
        priors: Sequence[OfflinePrior],
        trial_log: TrialLog,
        sign: float,
        shared_stages: SharedStages,
        levels: Levels | None = None,
        flat: bool = False,
    ) -> None:
        self.priors, self.levels = priors, levels or Levels()
        self.prior, self.offline, self.encoder = priors[-1], priors[-1].offline, priors[-1].encoder
        self.trial_log, self.sign = trial_log, sign
        self.shared_stages, self.flat = shared_stages, flat
        shifted = "shift" not in self.prior.ablate
        self.shifts = Shifts.of(self.encoder, self.levels) if shifted else Shifts.none(self.levels)
        self.left: dict[str, str | None] = {}
        """Why a proxy is not used any more, where that was asked (`surrogates.online.proxies`)."""
        self.scores = {
            name: LevelScores(prior, trial_log, sign, shared_stages, name)
            for name, prior in zip(self.levels.names, priors, strict=True)
        }
        target = self.scores[self.levels.target]
        self.observed, self.configs, self.full = target.observed, target.configs, target.full
        self.y, self.y_var = target.y, target.y_var
        self._failures = {name: self._failure_model(name) for name in self.levels.names}
        costs = trial_log.full_length_costs
        self._cost_configs = [config for config, *_ in costs]
        self._relative_costs = self._learned_costs(costs)
        self._log_costs = np.log([cost / self.level_cost(level) for _, cost, level in costs])

    # -- scores --------------------------------------------------------------------------------

    @cached_property
    def gp(self) -> ResidualGP | None:
        """The Gaussian process over distinct configurations.

        None below two of them, or without a score of the target.
        """
        if not self.observed or "residual" in self.prior.ablate:
            return None
        parts = [part for part in map(self._distinct, self.levels.names) if part is not None]
        if sum(len(y) for _, y, _ in parts) < 2:
            return None
        inputs, y, var = (np.concatenate(part) for part in zip(*parts, strict=True))
        # Of the target alone: a proxy on the floor scores 0 with an error of 0, and says nothing.
        noise_known = all(o.score_se > 0 for o in self.observed)
        nugget = NUGGET if noise_known else None
        return ResidualGP.fit(inputs, y, var, self.prior.mean_prior, nugget, self._level_prior())

    def _distinct(self, level: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Inputs, scores and variances of a level's distinct configurations; None without any."""
        scores = self.scores[level]
        rows = scores.distinct_rows()
        if not rows:
            return None
        keys = [self.encoder.key(scores.canonical[i]) for i in rows]
        first, y, var = merge_duplicates(keys, scores.y[rows], scores.y_var[rows])
        return self.inputs([scores.canonical[rows[i]] for i in first], level), y, var

    def _level_prior(self) -> LevelPrior | None:
        if not self.levels.proxies:
            return None
        shifts = self.shifts
        return LevelPrior(
            len(self.levels.names), shifts.columns, shifts.groups, shifts.scale, shifts.prior,
            shifts.active, tuple(map(self.correlation_prior, self.levels.proxies)),
        )  # fmt: skip

    def agreement(self, proxy: str) -> tuple[float, ...]:
        """Its correlations with the target on past datasets; empty if the pair is not known."""
        return tuple(self.offline.agreements.get((proxy, self.levels.target), ()))

    def correlation_prior(self, proxy: str) -> tuple[float, float]:
        """Beta parameters of a proxy's correlation with the target before any score."""
        return pooled(correlation_prior(self.levels.cost(proxy)), self.agreement(proxy))

    @property
    def expected_correlations(self) -> list[float]:
        """Of each proxy with the target: as learned, or as expected before there is a model."""
        if self.gp is not None and self.gp.hyperparameters.levels is not None:
            return list(map(float, self.gp.hyperparameters.levels.correlations[:-1]))
        prior = self._level_prior()
        return [a / (a + b) for a, b in prior.correlation] if prior is not None else []

    def inputs(self, configs: list[Config], level: str | None = None) -> np.ndarray:
        """Inputs of the Gaussian process; of the target if no level is named."""
        if not self.levels.proxies:
            return self.prior.inputs(configs)
        index = self.levels.index(self.levels.target if level is None else level)
        inputs = self.priors[index].inputs(configs)
        return np.column_stack([inputs, np.full(len(configs), float(index))])

    def images(self, configs: list[Config], level: str) -> list[Config]:
        """The configurations of the target that those of a level stand for."""
        fit = self.gp.hyperparameters.levels if self.gp is not None else None
        shift = fit.shift if fit is not None else self.shifts.prior
        return [self.shifts.image(c, self.levels.index(level), shift) for c in configs]

    @property
    def continued(self) -> int:
        """Number of trials that were continued, or are being."""
        return sum(p.continues is not None for p in self.trial_log.proposals.values())

    def baseline(self, full_only: bool) -> np.ndarray:
        """Inputs of the observed configurations, of the full-length ones only if asked."""
        chosen = [c for c, f in zip(self.configs, self.full, strict=True) if f or not full_only]
        return self.inputs(self.encoder.unique(chosen)) if chosen else np.zeros((0, 0))

    def predict(
        self, configs: list[Config], use_gp: bool = True, level: str | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean, sd and prior part of the full-length score, caller's units, each (n,).

        NaN where nothing is known: no history and no score yet; the prior part also where the
        history is not trusted. Without the Gaussian process: the offline prior mean, moved to the
        level of the observed scores.
        """
        index = self.levels.index(self.levels.target if level is None else level)
        m = self.priors[index].trusted_mean(configs)
        if use_gp and self.gp is not None:
            inputs = self.inputs(configs, level)
            mean, sd = self.gp.raw(*self.gp.posterior(inputs), index)
            offline_part = self.gp.offline_part(m, index)
        else:
            mean, sd = self._predict_without_gp(configs, m)
            offline_part = mean
        if self.prior.mean_prior is None and self.observed:
            offline_part = np.full(len(configs), np.nan)
        return self.sign * mean, sd, self.sign * offline_part

    def _predict_without_gp(
        self, configs: list[Config], m: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The prior mean on the history's level and scale, moved through the target's scores."""
        rho = self.prior.mean_prior.rho if self.prior.mean_prior is not None else 0.0
        scale = self.scores[self.levels.target].scale(self.y)
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

    def level_cost(self, level: str) -> float:
        """Cost of a full-length trial of a level, relative to one of the target."""
        return self._relative_costs[self.levels.index(level)]

    def _learned_costs(self, costs: Sequence[tuple[Config, float, str]]) -> tuple[float, ...]:
        """What was said that each level costs, corrected by what its trials cost.

        With e the log of a trial's cost less what is expected of its configuration, the correction
        of a proxy's log cost is k / (k + 1) (mean(e) - mean(e of the target)) after k trials.
        """
        if not self.levels.proxies or not costs:
            return self.levels.costs
        expected = self.prior.relative_log_cost([config for config, *_ in costs])
        excess: dict[str, list[float]] = {name: [] for name in self.levels.names}
        for (_, cost, level), log_cost in zip(costs, expected, strict=True):
            said = self.levels.cost(level)
            excess[level].append(math.log(cost / said) - float(log_cost))
        target = excess[self.levels.target]
        if not target:
            return self.levels.costs
        mean = math.fsum(target) / len(target)
        moved = {
            name: math.fsum(e - mean for e in own) / (len(own) + 1) for name, own in excess.items()
        }
        moved[self.levels.target] = 0.0
        return tuple(self.levels.cost(name) * math.exp(moved[name]) for name in self.levels.names)

    @property
    def costs_known(self) -> bool:
        """True once a trial of this search had a cost, which tells the caller's unit."""
        return bool(self._cost_configs)

    def pending_cost(self, pending: list[Proposal]) -> float:
        """Expected cost of the pending proposals.

        0 until a first cost is known: before that the caller's unit is unknown, and the history's
        (seconds, say) may have nothing to do with the budget's (trials, say).
        """
        if self.flat:
            return float(len(pending))
        if not pending or not self.costs_known:
            return 0.0
        configs = [p.config for p in pending]
        completed = self.completed_fraction(configs)
        for i, p in enumerate(pending):
            if p.continues:
                completed[i] = self.trial_log.observations[p.continues].fraction
            elif p.level != self.levels.target:
                completed[i] = self.completed_fraction([p.config], p.level).item()
        left = np.array([p.fraction for p in pending]) - completed
        left *= [self.level_cost(p.level) for p in pending]
        return float(np.exp(self.log_cost(configs)) @ np.maximum(left, 0.0))

    def completed_fraction(self, configs: list[Config], level: str | None = None) -> np.ndarray:
        """Share of each configuration's run that observed trials have run already, shape (n,)."""
        runs = self.trial_log.runs(self.levels.target if level is None else level)
        return self.shared_stages.shared_fraction(configs, runs)

    def _failure_model(self, level: str) -> FailureModel:
        log = self.trial_log
        observed = [o for o in log.observations.values() if log.level_of(o) == level]
        cube = self.encoder.matrix([self.trial_log.config_of(o) for o in observed])
        failed, weight = np.array([o.failed for o in observed], dtype=bool), np.ones(len(observed))
        past, past_failed = self.offline.failure_cube, self.offline.failure_flags
        if past is not None and past_failed is not None:
            cube = np.vstack([cube, past])
            failed = np.concatenate([failed, past_failed])
            weight = np.concatenate([weight, np.full(len(past), past_weight(len(past)))])
        return FailureModel(cube, failed, weight)

    def failure_probability(
        self, configs: Sequence[Config], level: str | None = None
    ) -> np.ndarray:
        """Probability that each configuration's trial fails, shape (n,)."""
        model = self._failures[self.levels.target if level is None else level]
        return model.probability(self.encoder.matrix(configs))

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
