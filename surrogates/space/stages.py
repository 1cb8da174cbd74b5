"""Runs that share their first stages: an early score is the score of all of them.

A run has stages, and a later one cannot reach back. So two configurations that agree on all that
decides the run up to some point have the same score there, and an early score does not depend on
hyperparameters whose stage has not begun. Which these are, and when, is for the caller to say:
where stages end may depend on the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from surrogates.core.base import Config, OptionError
from surrogates.space.encoding import SpaceEncoder

TOLERANCE = 1e-9  # fractions closer than this are one
MAX_CACHED = 20_000  # configurations whose stages are cached
MIN_OWN_SHARE = 0.1  # of the schedule, that a trial must not share: its score says little else


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


class SharedStages:
    """The first stages that runs have in common; without `stages_of` a run is a single stage."""

    def __init__(self, encoder: SpaceEncoder, stages_of: StagesOf | None) -> None:
        self.encoder, self.stages_of = encoder, stages_of
        self._default = encoder.default()
        self._known: dict[tuple, tuple[Stage, ...]] = {}

    def stages(self, config: Config) -> tuple[Stage, ...]:
        """Of the run of a configuration.

        Raises:
            OptionError: The ends of the stages do not rise to 1.
        """
        key = self.encoder.key(config)
        if key not in self._known:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = self._asked(config, key)
        return self._known[key]

    def _asked(self, config: Config, key: tuple) -> tuple[Stage, ...]:
        if self.stages_of is None:
            return (Stage(1.0, key, frozenset(self.encoder.names)),)
        found = tuple(self.stages_of(config))
        ends = [0.0, *(stage.end for stage in found)]
        if not found or sorted(set(ends)) != ends or abs(ends[-1] - 1.0) > TOLERANCE:
            raise OptionError(f"stages end at {ends[1:]}: expected rising shares, the last one 1.")
        return found

    def stage(self, config: Config, fraction: float) -> Stage:
        """The stage that a run is in when a share of the schedule is run."""
        return next(s for s in self.stages(config) if fraction <= s.end + TOLERANCE)

    def canonical(self, config: Config, fraction: float) -> Config:
        """The configuration that a score at `fraction` is attributed to.

        It is the score of all configurations that share the stages so far; of these it is given to
        the one whose later stages are the default's, so that it carries no information on others.
        """
        stage = self.stage(config, fraction)
        later = [name for name in self.encoder.names if name not in stage.names]
        if not later:
            return config
        kept = {name: value for name, value in config.items() if name not in later}
        default = {name: self._default[name] for name in later if name in self._default}
        return self.encoder.activate(kept | default)

    def shared_fraction(self, configs: Sequence[Config], runs: Iterable[Run]) -> np.ndarray:
        """Share of each configuration's run that is identical to the start of a run, shape (n,).

        0 where no run begins like it, 1 where the whole run is known.
        """
        reached: dict[Hashable, float] = {}
        for config, fraction in runs:
            for stage in self.stages(config):
                share = min(stage.end, fraction)
                reached[stage.key] = max(share, reached.get(stage.key, 0.0))
                if fraction <= stage.end + TOLERANCE:
                    break
        known = ([reached.get(s.key, 0.0) for s in self.stages(config)] for config in configs)
        return np.array(list(map(max, known)), dtype=np.float64)


def distinct_rung(planned: float, allowed: Sequence[float], known: float) -> float:
    """The fraction at which to stop a new trial whose run is known up to a share already.

    The planned one, or the next of the allowed ones at which a good part of the run is its own; at
    1 its run differs from all others, if it does at all.
    """
    if known <= 0.0 or planned >= 1.0:
        return planned
    later = (r for r in sorted(allowed) if r >= planned and r - known >= MIN_OWN_SHARE - TOLERANCE)
    return next(later, 1.0)
