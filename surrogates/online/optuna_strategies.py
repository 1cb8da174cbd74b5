"""Optuna's tree-structured Parzen estimator behind the same ask/tell, for comparing like with like.

`tpe`: full-length trials, Optuna's own defaults. `bohb`: the same sampler, joint over columns, on
the longest fraction that enough trials have reached, with asynchronous successive halving over
fractions. Sources: Watanabe (arXiv 2304.11127) for TPE, Falkner et al. (arXiv 1807.01774) for BOHB,
Li et al. (arXiv 1810.05934) for asynchronous halving.

A study is made anew from the trial log at each suggestion, so a loaded search resumes the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from surrogates.core.base import Config, Observation
from surrogates.online.strategies import AskContext, Choice
from surrogates.online.trial_log import TrialLog
from surrogates.space.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis
from surrogates.space.candidates import nearest
from surrogates.space.encoding import SpaceEncoder

ETA = 3  # one stopped trial in three is promoted
RUNGS = (0.1, 0.3)  # fractions of bohb where the caller names none: 1 / ETA^2 and 1 / ETA, about
ATTEMPTS = 50  # at a configuration that is legal and new, before a free candidate is drawn instead


def tpe(ctx: AskContext) -> Choice:
    """TPE on full-length scores; a partial one counts as if it were final."""
    superseded = ctx.log.superseded
    observed = [o for o in ctx.log.observations.values() if o.failed or o.id not in superseded]
    return Choice(_suggest(ctx, observed, optuna.samplers.TPESampler))


def bohb(ctx: AskContext) -> Choice:
    """A promotion where one is due, from the longest fraction down; else a new trial at the first.

    A trial is promoted while it is among the best third of all that were scored at its fraction.
    """
    levels = sorted({*(ctx.options.rungs or RUNGS), 1.0})
    if (promoted := _promotion(ctx, levels)) is not None:
        return promoted

    def sampler(seed: int) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)

    observed = _longest(ctx.log, levels, ctx.encoder.dim)
    return Choice(_suggest(ctx, observed, sampler), levels[0])


def _promotion(ctx: AskContext, levels: Sequence[float]) -> Choice | None:
    waiting = {o.id for o in ctx.stopped()}
    for level, following in reversed(list(pairwise(levels))):
        reached = [o for o in ctx.log.scored if o.fraction == level]
        reached.sort(key=lambda o: (-ctx.model.sign * o.score, o.id))
        for o in reached[: len(reached) // ETA]:
            if o.id in waiting:
                return Choice(ctx.log.config_of(o), following, o)
    return None


def _longest(log: TrialLog, levels: Sequence[float], dim: int) -> list[Observation]:
    """Scores at the longest fraction that dim + 1 trials have reached; failures always."""
    failed = [o for o in log.observations.values() if o.failed]
    at: list[Observation] = []
    for level in reversed(levels):
        at = [o for o in log.scored if o.fraction == level or o.fraction >= level == 1.0]
        if len(at) > dim:
            break
    return at + failed


def _suggest(ctx: AskContext, observed: Sequence[Observation], sampler: Any) -> Config:
    """A configuration that was not proposed before: the nearest candidate, if there are given ones.

    A study that only repeats itself or breaks forbidden clauses is left for a free candidate.
    """
    seed, encoder = int(ctx.rng.integers(2**31)), ctx.encoder
    with _quiet():
        study = optuna.create_study(
            direction="maximize" if ctx.model.sign > 0 else "minimize", sampler=sampler(seed=seed)
        )
        for o in observed:
            state = TrialState.FAIL if o.failed else TrialState.COMPLETE
            score = None if o.failed else o.score
            study.add_trial(_trial(encoder, ctx.log.config_of(o), state, score))
        for p in ctx.log.pending:
            study.add_trial(_trial(encoder, p.config, TrialState.RUNNING))
        for _ in range(ATTEMPTS):
            trial = study.ask()
            config = _draw(encoder, trial)
            if ctx.only_pool:
                free = ctx.free()
                goal = encoder.matrix([config])[0]
                return ctx.pool[free[nearest(ctx.cube[free], goal, np.zeros(len(free)))]]
            if encoder.is_legal(config) and encoder.key(config) not in ctx.taken():
                return config
            study.tell(trial, state=TrialState.FAIL)
    return ctx.pool[int(ctx.rng.choice(ctx.free()))]


def _draw(encoder: SpaceEncoder, trial: optuna.Trial) -> Config:
    """A suggestion, one hyperparameter after the other, parents first, inactive ones left out."""
    axes = {axis.name: axis for axis in encoder.axes}
    config: Config = dict(encoder.constants)
    for name in encoder.space:
        if name not in axes:
            continue
        # Any value will do to see whether the conditions hold.
        probe = encoder.activate(config | {name: axes[name].decode(0.5)})
        if name in probe:
            config[name] = _suggested(trial, axes[name])
    return encoder.activate(config)


def _trial(
    encoder: SpaceEncoder, config: Config, state: TrialState, score: float | None = None
) -> FrozenTrial:
    """A configuration as Optuna knows it; values outside the space are left out."""
    distributions: dict[str, BaseDistribution] = {}
    params: dict[str, Any] = {}
    for axis in encoder.axes:
        unit = axis.encode(config.get(axis.name))
        if not math.isnan(unit):
            distributions[axis.name] = _distribution(axis)
            params[axis.name] = _code(axis, unit)
    return create_trial(state=state, value=score, params=params, distributions=distributions)


def _distribution(axis: Axis) -> BaseDistribution:
    match axis:
        case NumberAxis(integer=True):
            return IntDistribution(int(axis.lower), int(axis.upper), log=axis.log)
        case NumberAxis():
            return FloatDistribution(axis.lower, axis.upper, log=axis.log)
        case OrdinalAxis():
            return IntDistribution(0, len(axis.sequence) - 1)
        case ChoiceAxis():
            return CategoricalDistribution(range(len(axis.choices)))


def _suggested(trial: optuna.Trial, axis: Axis) -> Any:
    """A value from the axis's distribution."""
    match axis:
        case NumberAxis(name, lower, upper, log, integer=True):
            return axis.normalise(trial.suggest_int(name, int(lower), int(upper), log=log))
        case NumberAxis(name, lower, upper, log):
            return axis.normalise(trial.suggest_float(name, lower, upper, log=log))
        case OrdinalAxis(name, sequence):
            return sequence[trial.suggest_int(name, 0, len(sequence) - 1)]
        case ChoiceAxis(name, choices):
            return choices[trial.suggest_categorical(name, range(len(choices)))]


def _code(axis: Axis, unit: float) -> Any:
    """The value at a coordinate as it is in Optuna's distribution: a number, or an index."""
    value = axis.decode(unit)
    match axis:
        case OrdinalAxis():
            return axis.sequence.index(value)
        case ChoiceAxis():
            return axis.choices.index(value)
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that Optuna logs for each study, and its notes on what is experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
