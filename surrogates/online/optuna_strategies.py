"""Optuna's tree-structured Parzen estimator behind the same ask/tell, for comparing like with like.

`tpe`: full-length trials, Optuna's own defaults. `bohb`: the same sampler, joint over columns, on
the longest fraction that enough trials have reached, with asynchronous successive halving over
fractions. Sources: Watanabe (arXiv 2304.11127) for TPE, Falkner et al. (arXiv 1807.01774) for BOHB,
Li et al. (arXiv 1810.05934) for asynchronous halving.

A study is made anew from the book at each suggestion, so a search that was saved goes on the same.
"""

from __future__ import annotations

import logging
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
from surrogates.online.strategies import Choice, Round
from surrogates.online.trial_log import Book
from surrogates.space.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis
from surrogates.space.candidates import nearest

ETA = 3  # one stopped trial in three is promoted
RUNGS = (0.1, 0.3)  # fractions of bohb where the caller names none: 1 / ETA^2 and 1 / ETA, about
ATTEMPTS = 50  # at a configuration that is legal and new, before a free candidate is drawn instead


def tpe(turn: Round, book: Book, maximize: bool) -> Choice:
    """TPE on full-length scores; a partial one counts as if it were final."""
    told = [o for o in book.told.values() if o.failed or o.id not in book.superseded]
    return Choice(_suggest(turn, book, told, maximize, optuna.samplers.TPESampler))


def bohb(turn: Round, book: Book, maximize: bool, rungs: tuple[float, ...] | None) -> Choice:
    """A promotion where one is due, from the longest fraction down; else a new trial at the first.

    A trial is promoted while it is among the best third of all that were scored at its fraction.
    """
    levels = sorted({*(rungs or RUNGS), 1.0})
    if (promoted := _promotion(turn, book, levels, maximize)) is not None:
        return promoted

    def sampler(seed: int) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)

    told = _longest(book, levels, turn.encoder.dim)
    return Choice(_suggest(turn, book, told, maximize, sampler), levels[0])


def _promotion(turn: Round, book: Book, levels: Sequence[float], maximize: bool) -> Choice | None:
    sign = 1.0 if maximize else -1.0
    allowed = {turn.encoder.key(c) for c in turn.pool} if turn.only_pool else None
    taken = {p.continues for p in turn.pending}
    for level, following in reversed(list(pairwise(levels))):
        reached = [o for o in book.told.values() if not o.failed and o.fraction == level]
        reached.sort(key=lambda o: (-sign * o.score, o.id))
        waiting = {o.id for o in book.stopped} - taken
        for o in reached[: len(reached) // ETA]:
            config = book.proposals[o.id].config
            if o.id in waiting and (allowed is None or turn.encoder.key(config) in allowed):
                return Choice(config, following, o)
    return None


def _longest(book: Book, levels: Sequence[float], dim: int) -> list[Observation]:
    """Scores at the longest fraction that dim + 1 trials have reached; failures always."""
    failed = [o for o in book.told.values() if o.failed]
    scored = [o for o in book.told.values() if not o.failed]
    at: list[Observation] = []
    for level in reversed(levels):
        at = [o for o in scored if o.fraction >= level and (level == 1.0 or o.fraction == level)]
        if len(at) > dim:
            break
    return at + failed


def _suggest(
    turn: Round, book: Book, told: Sequence[Observation], maximize: bool, sampler: Any
) -> Config:
    """A configuration that was not proposed before: the nearest candidate, if there are given ones.

    A study that only repeats itself or breaks forbidden clauses is left for a free candidate.
    """
    seed = int(turn.rng.integers(2**31))
    with _quiet():
        study = optuna.create_study(
            direction="maximize" if maximize else "minimize", sampler=sampler(seed=seed)
        )
        study.add_trials([_finished(turn, book, o) for o in told])
        study.add_trials([_trial(turn, p.config, TrialState.RUNNING) for p in turn.pending])
        for _ in range(ATTEMPTS):
            trial = study.ask()
            config = _draw(turn, trial)
            if turn.only_pool:
                free = turn.free()
                goal = turn.encoder.matrix([config])[0]
                return turn.pool[free[nearest(turn.cube[free], goal, np.zeros(len(free)))]]
            if turn.encoder.is_legal(config) and turn.encoder.key(config) not in turn.taken:
                return config
            study.tell(trial, state=TrialState.FAIL)
    return turn.pool[int(turn.rng.choice(turn.free()))]


def _draw(turn: Round, trial: optuna.Trial) -> Config:
    """Asks for one hyperparameter after the other, parents first, the inactive ones left out."""
    axes = {axis.name: axis for axis in turn.encoder.axes}
    config: Config = dict(turn.encoder.constants)
    for name in turn.encoder.space:
        if name not in axes:
            continue
        # Any value will do to see whether the conditions hold.
        probe = turn.encoder.activate(config | {name: axes[name].decode(0.5)})
        if name in probe:
            config[name] = _value(axes[name], _ask(trial, axes[name]))
    return turn.encoder.activate(config)


def _finished(turn: Round, book: Book, o: Observation) -> FrozenTrial:
    config = book.proposals[o.id].config
    if o.failed:
        return _trial(turn, config, TrialState.FAIL)
    return _trial(turn, config, TrialState.COMPLETE, o.score)


def _trial(
    turn: Round, config: Config, state: TrialState, score: float | None = None
) -> FrozenTrial:
    """A configuration as Optuna knows it; values outside the space are left out."""
    distributions: dict[str, BaseDistribution] = {}
    params: dict[str, Any] = {}
    for axis in turn.encoder.axes:
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
    raise AssertionError(f"no such axis: {axis!r}")


def _ask(trial: optuna.Trial, axis: Axis) -> Any:
    """What Optuna chooses from the axis's distribution."""
    name, distribution = axis.name, _distribution(axis)
    match distribution:
        case FloatDistribution(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case IntDistribution(low=low, high=high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise AssertionError(f"no such distribution: {distribution!r}")


def _code(axis: Axis, unit: float) -> Any:
    """The value at a coordinate as it is in Optuna's distribution: a number, or an index."""
    value = axis.decode(unit)
    match axis:
        case OrdinalAxis():
            return axis.sequence.index(value)
        case ChoiceAxis():
            return axis.choices.index(value)
    return value


def _value(axis: Axis, code: Any) -> Any:
    """Inverse of `_code`."""
    match axis:
        case OrdinalAxis():
            return axis.sequence[int(code)]
        case ChoiceAxis():
            return axis.choices[int(code)]
    return axis.normalise(code)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that Optuna logs for each study, and its notes on what is experimental."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(before)
