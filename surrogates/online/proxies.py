"""Which smaller levels a search may still use: trust is earned, and lost.

A proxy costs a share of the budget and may be worth nothing, or rank the configurations in reverse.
The correlation that the Gaussian process learns does not notice: the search tries on the target
what a proxy is optimistic about, and those trials are nearly equal to the proxy. So a level is left

    at the floor    when its scores vary less than their own noise: var(y) < 2 mean(se^2)
    contradicted    when of the pairs of target trials that it tells apart (by more than the
                    standard deviation of its own prediction) most came out the other way round

and only cheap ones are used before the target has spoken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surrogates.gp.residual_gp import ResidualGP
from surrogates.online.task_model import NUGGET, TaskModel

SHARE = 0.25  # of the budget, that all proxies together may spend
CHEAP = 0.12  # of the target's cost: dearer proxies wait for evidence that proxies agree with it
EVIDENCE = 3  # full-length trials of the target that are evidence
LAST = 0.25  # share of the budget at its end in which nothing but the target runs
FLOOR_TRIALS = 5
MIN_TRIALS = 4  # of a proxy, before its order is compared with the target's


@dataclass(frozen=True)
class ProxyState:
    """What a proxy has done so far, and whether it may go on."""

    level: str
    trials: int
    cost: float
    """In the caller's units."""
    correlation: float
    """With the target, as learned; NaN before there is a model."""
    interval: tuple[float, float]
    """That holds it with a probability of 90 %."""
    left: str | None
    """Why it is not used any more; None while it is."""


def proxy_states(model: TaskModel) -> list[ProxyState]:
    """Of every proxy, the smallest first."""
    return [_state(model, index, name) for index, name in enumerate(model.levels.proxies)]


def _state(model: TaskModel, index: int, name: str) -> ProxyState:
    log, gp = model.trial_log, model.gp
    own = [o for o in log.observations.values() if log.level_of(o) == name]
    correlation, interval = math.nan, (math.nan, math.nan)
    if gp is not None and gp.hyperparameters.levels is not None:
        correlation = float(gp.hyperparameters.levels.correlations[index])
        interval = gp.correlation_interval(index)
    cost = math.fsum(o.cost for o in own)
    return ProxyState(name, len(own), cost, correlation, interval, _reason_to_leave(model, name))


def open_proxies(model: TaskModel, spent: float, budget: float | None) -> list[str]:
    """Names of the proxies that may have the next trial.

    `spent` includes what pending trials will cost. Without a budget the proxies may spend a third
    of what the target has.
    """
    log, names = model.trial_log, model.levels.proxies
    if not names:
        return []
    pending = [p for p in log.pending if p.level in names]
    told = (o.cost for o in log.observations.values() if log.level_of(o) in names)
    used = math.fsum(told) + model.pending_cost(pending)
    if budget is None:
        allowed = SHARE / (1.0 - SHARE) * max(spent - used, 0.0)
    elif spent > (1.0 - LAST) * budget:
        return []
    else:
        allowed = SHARE * budget
    tried = int(model.full.sum()) >= EVIDENCE
    full = float(np.exp(model.log_cost([model.encoder.default()])[0]))
    affordable = [
        name
        for name in names
        if (tried or model.levels.cost(name) <= CHEAP)
        and used + full * model.levels.cost(name) <= allowed
    ]
    return [name for name in affordable if _reason_to_leave(model, name) is None]


def _reason_to_leave(model: TaskModel, level: str) -> str | None:
    """Computed once for each model, as it takes a fit."""
    if level not in model.left:
        model.left[level] = _evidence_against(model, level)
    return model.left[level]


def _evidence_against(model: TaskModel, level: str) -> str | None:
    scores = model.scores[level]
    known = len(scores.y) >= FLOOR_TRIALS and bool((scores.y_var > 0).all())
    if known and scores.y.var(ddof=1) < 2.0 * scores.y_var.mean():
        return "its scores do not differ by more than their noise"
    agreeing, contrary = _pairs(model, level)
    if contrary >= 2 and contrary > agreeing:
        return f"{contrary} of {agreeing + contrary} pairs of target trials came out the other way"
    return None


def _pairs(model: TaskModel, level: str) -> tuple[int, int]:
    """Pairs of full-length target trials that the proxy told apart: as it said, and contrary."""
    scores, target = model.scores[level], np.flatnonzero(model.full)
    if len(scores.y) < MIN_TRIALS or len(target) < 2:
        return 0, 0
    images = model.images(scores.canonical, level)
    nugget = NUGGET if (scores.y_var > 0).all() else None
    alone = ResidualGP.fit(model.prior.inputs(images), scores.y, scores.y_var, None, nugget)
    if alone is None:
        return 0, 0
    tried = [model.configs[i] for i in target]
    mean, covariance = alone.joint(model.prior.inputs(tried))
    y, noise = model.y[target], model.y_var[target]
    agreeing = contrary = 0
    for i in range(len(target)):
        for j in range(i):
            apart = covariance[i, i] + covariance[j, j] - 2.0 * covariance[i, j]
            told = abs(mean[i] - mean[j]) > math.sqrt(max(apart, 1e-12))
            seen = abs(y[i] - y[j]) > math.sqrt(noise[i] + noise[j])
            if told and seen:
                same = (mean[i] > mean[j]) == (y[i] > y[j])
                agreeing, contrary = agreeing + same, contrary + (not same)
    return agreeing, contrary
