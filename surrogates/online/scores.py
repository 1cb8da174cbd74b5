"""The scores of one level of size: those at full length, and forecasts of stopped trials."""

from __future__ import annotations

import math

import numpy as np

from surrogates.core.base import Config, Observation
from surrogates.offline.early import EarlyPredictor
from surrogates.online.offline_prior import OfflinePrior
from surrogates.online.trial_log import TrialLog
from surrogates.space.stages import SharedStages

SCALE_WEIGHT = 3.0  # observations that the history's typical score scale counts as


class LevelScores:
    """The latest score of each trial of a level, as estimates at full length; more is better.

    Args:
        prior: The offline models as seen from the level.
        trial_log: Proposals and observations.
        sign: 1 to maximise, -1 to minimise.
        shared_stages: Stages that runs have in common.
        level: Its name.
    """

    def __init__(
        self,
        prior: OfflinePrior,
        trial_log: TrialLog,
        sign: float,
        shared_stages: SharedStages,
        level: str,
    ) -> None:
        self.prior, self.offline, self.encoder = prior, prior.offline, prior.encoder
        self.trial_log, self.sign, self.shared_stages = trial_log, sign, shared_stages
        own, past = trial_log.usable(level), [t for t in trial_log.past if t.level == level]
        self.observed: list[Observation] = own + [trial.observation for trial in past]
        self.configs: list[Config] = [trial_log.config_of(o) for o in own]
        self.configs += [trial.config for trial in past]
        self.canonical = [
            shared_stages.canonical(config, o.fraction)
            for config, o in zip(self.configs, self.observed, strict=True)
        ]
        """The configurations that the scores are attributed to, see `SharedStages.canonical`."""
        self.full = np.array([o.full_length for o in self.observed], dtype=bool)
        self.y, self.y_var = self._estimates()

    def scale(self, y: np.ndarray) -> float:
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
        scale = self.scale(y[self.full] if self.full.sum() >= 3 else y)
        partial, configs = [self.observed[i] for i in rows], [self.canonical[i] for i in rows]
        if self.offline.early is None:
            var[rows] += np.array([((1.0 - o.fraction) * scale) ** 2 for o in partial])
            return y, var
        y[rows], forecast_var = self._forecast(self.offline.early, partial, configs, scale)
        if "predictor_noise" not in self.prior.ablate:
            var[rows] += forecast_var
        return y, var

    def _forecast(
        self,
        early: EarlyPredictor,
        partial: list[Observation],
        configs: list[Config],
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Full-length scores of partial runs and the variances of their own errors.

        The error that all partial runs of a task share is estimated as an offset from the trials
        that were continued to their end (forecast against outcome), shrunk towards 0. What remains
        unknown of it counts as noise only once there are full-length scores to compare with.
        """
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
            if child.full_length and (parent := log.parent_of(child)) is not None
        ]
        if not pairs:
            return np.zeros(0), np.zeros(0)
        parents = [parent for parent, _ in pairs]
        configs = [log.config_of(parent) for parent in parents]
        mean, _ = self._early_predict(early, parents, configs, scale)
        outcome = np.array([self.sign * child.score for _, child in pairs])
        shared = np.array([early.shared_at(parent.fraction) for parent in parents])
        return outcome - mean, shared / np.maximum(1.0 - shared, 0.01)

    def distinct_rows(self) -> list[int]:
        """Observations, without repeats of one measurement: partial runs that are identical."""
        first: dict[tuple, int] = {}
        for i, (config, o) in enumerate(zip(self.configs, self.observed, strict=True)):
            run = self.shared_stages.stage(config, o.fraction).key
            first.setdefault((i,) if self.full[i] else (run, o.fraction, o.score), i)
        return list(first.values())
