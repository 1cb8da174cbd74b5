"""Runs that begin alike: what an early score is a score of.

A run has stages, and a later one cannot reach back. So two configurations that agree on all that
decides the run up to some point have the same score there, and an early score says nothing of
hyperparameters whose stage has not begun. Which these are, and when, is for the caller to say:
where stages end may depend on the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from surrogates.core.base import Config, OptionError
from surrogates.space.encoding import SpaceEncoder

SAME = 1e-9  # fractions closer than this are one
KEPT = 20_000  # configurations whose stages are remembered
LEAST_PART = 0.1  # of the schedule that a trial runs on its own, or its score is hardly one of it


@dataclass(frozen=True)
class Stage:
    """A part of a run."""

    end: float
    """Share of the schedule up to which nothing after this stage has run, in (0, 1]."""
    key: Hashable
    """Equal for two configurations exactly if their runs are the same up to `end`."""
    names: frozenset[str]
    """Hyperparameters that may decide the run up to `end`."""


StagesOf = Callable[[Config], Sequence[Stage]]
"""The stages of a configuration's run, in order; the last one ends at 1."""

Run = tuple[Config, float]
"""A configuration and the share of the schedule that was run, or is to be."""


class Beginnings:
    """What runs have in common.

    Args:
        encoder: Of the space.
        stages_of: None takes a run for a single stage: no two configurations begin alike.
    """

    def __init__(self, encoder: SpaceEncoder, stages_of: StagesOf | None) -> None:
        self.encoder, self.stages_of = encoder, stages_of
        self._default = encoder.default()
        self._known: dict[tuple, tuple[Stage, ...]] = {}

    def stages(self, config: Config) -> tuple[Stage, ...]:
        """Of the run of a configuration.

        Raises:
            OptionError: What the caller says of its stages makes no run.
        """
        key = self.encoder.key(config)
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = self._asked(config, key)
        return self._known[key]

    def _asked(self, config: Config, key: tuple) -> tuple[Stage, ...]:
        if self.stages_of is None:
            return (Stage(1.0, key, frozenset(self.encoder.names)),)
        found = tuple(self.stages_of(config))
        ends = [0.0, *(stage.end for stage in found)]
        if not found or sorted(set(ends)) != ends or abs(ends[-1] - 1.0) > SAME:
            raise OptionError(f"stages end at {ends[1:]}: expected rising shares, the last one 1.")
        return found

    def stage(self, config: Config, fraction: float) -> Stage:
        """The stage that a run is in when a share of the schedule is run."""
        return next(s for s in self.stages(config) if fraction <= s.end + SAME)

    def settled(self, config: Config, fraction: float) -> Config:
        """The configuration that a score at `fraction` is given to.

        It is the score of all configurations that begin like this; of these it stands for the one
        whose later stages are those of the space's default, so that it tells nothing of others.
        """
        stage = self.stage(config, fraction)
        later = [name for name in self.encoder.names if name not in stage.names]
        if not later:
            return config
        kept = {name: value for name, value in config.items() if name not in later}
        default = {name: self._default[name] for name in later if name in self._default}
        return self.encoder.activate(kept | default)

    def in_common(self, configs: Sequence[Config], runs: Iterable[Run]) -> np.ndarray:
        """Up to which share each configuration's run is the same as one of the runs, shape (n,).

        0 where none begins like it, 1 where the whole run is known.
        """
        reached: dict[Hashable, float] = {}
        for config, fraction in runs:
            for stage in self.stages(config):
                share = min(stage.end, fraction)
                reached[stage.key] = max(share, reached.get(stage.key, 0.0))
                if fraction <= stage.end + SAME:
                    break
        return np.array([self._share(config, reached) for config in configs], dtype=np.float64)

    def _share(self, config: Config, reached: dict[Hashable, float]) -> float:
        return max((reached.get(stage.key, 0.0) for stage in self.stages(config)), default=0.0)


def distinct_rung(planned: float, allowed: Sequence[float], known: float) -> float:
    """The fraction to stop a new trial at, whose run is known up to a share already.

    The planned one, or the next of the allowed ones at which a good part of the run is its own; at
    1 its run differs from all others, if it does at all.
    """
    if known <= 0.0 or planned >= 1.0:
        return planned
    later = (r for r in sorted(allowed) if r >= planned and r - known >= LEAST_PART - SAME)
    return next(later, 1.0)
