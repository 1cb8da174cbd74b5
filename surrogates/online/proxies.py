"""Which smaller levels a search may still use: trust is earned, and lost.

A proxy costs a share of the budget and may be worth nothing, or rank the configurations in reverse.
The cheapest ones are tried all over the space, before anything is known of the target but its
default; those that cost more wait until the target has spoken. A level is left

    at the floor    when its full-length scores vary less than their noise: var(y) < 2 mean(se^2),
                    or all its trials failed
    in reverse      when its correlation with the target, as learned, is negative
    without worth   when that correlation is below 0.4 with a probability of 95 %

A history in which both models were tried on other datasets says beforehand what a proxy is worth:
one that it vouches for need not wait, and one that it has found out is not used at all. What a
proxy has told stays in the model, a ranking in reverse included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surrogates.online.task_model import TaskModel

SHARE = 0.25  # of the budget, that all proxies together may spend
UNPROVEN = 0.5  # part of that before the target has said whether proxies agree with it
CHEAP = 0.12  # of the target's cost: dearer proxies wait for evidence that proxies agree with it
EVIDENCE = 3  # full-length trials of the target that are evidence
LAST = 0.25  # share of the budget at its end in which nothing but the target runs
SPREAD = 32  # trials of a cheap proxy all over the space, if that pays for them
FLOOR_TRIALS = 12  # at full length: a forecast varies less than what it says of its errors
FAILED_TRIALS = 6  # and no other one
JUDGED_FROM = 2  # full-length trials of the target: one alone contradicts nothing
PAST = 2  # datasets of the history, below which it condemns nothing and vouches for nothing
VOUCHED = 0.6  # mean correlation on past datasets from which a history vouches for a proxy
USEFUL = 0.4  # correlation: a proxy below it explains less than a sixth of the variance


@dataclass(frozen=True)
class ProxyState:
    """What a proxy has done so far, and whether it may go on."""

    level: str
    trials: int
    past: int
    """Trials of this dataset that were known before, and cost nothing."""
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
    return [_state(model, name) for name in model.levels.proxies]


def _state(model: TaskModel, name: str) -> ProxyState:
    log = model.trial_log
    own = [o for o in log.observations.values() if log.level_of(o) == name]
    correlation, interval = correlation_of(model, name)
    past = sum(trial.level == name for trial in log.past)
    cost, left = math.fsum(o.cost for o in own), _reason_to_leave(model, name)
    return ProxyState(name, len(own), past, cost, correlation, interval, left)


def open_proxies(model: TaskModel, spent: float, budget: float | None) -> list[str]:
    """Names of the proxies that may have the next trial.

    `spent` includes what pending trials will cost. Without a budget the proxies may spend a third
    of what the target has. Below two full-length trials of the target it is half as much.
    """
    log, names = model.trial_log, model.levels.proxies
    if not names or "proxy" in model.prior.ablate:
        return []
    pending = [p for p in log.pending if p.level in names]
    told = (o.cost for o in log.observations.values() if log.level_of(o) in names)
    used = math.fsum(told) + model.pending_cost(pending)
    share = SHARE * (UNPROVEN if model.full.sum() < JUDGED_FROM else 1.0)
    if budget is None:
        allowed = share / (1.0 - share) * max(spent - used, 0.0)
    elif spent > (1.0 - LAST) * budget:
        return []
    else:
        allowed = share * budget
    tried = int(model.full.sum()) >= EVIDENCE
    full = _full_cost(model)
    affordable = [
        name
        for name in names
        if (tried or model.level_cost(name) <= CHEAP or _vouched_for(model, name))
        and used + full * model.level_cost(name) <= allowed
    ]
    return [name for name in affordable if _reason_to_leave(model, name) is None]


def _vouched_for(model: TaskModel, level: str) -> bool:
    past = model.agreement(level)
    return len(past) >= PAST and sum(past) / len(past) >= VOUCHED


def _reason_to_leave(model: TaskModel, level: str) -> str | None:
    """Computed once for each model, as it takes a fit."""
    if level not in model.left:
        model.left[level] = _evidence_against(model, level)
    return model.left[level]


def _evidence_against(model: TaskModel, level: str) -> str | None:
    past = model.agreement(level)
    mean = sum(past) / max(len(past), 1)
    if len(past) >= PAST and mean + 1.645 * np.std(past, ddof=1) / len(past) ** 0.5 < USEFUL:
        return f"its correlation with the target was {mean:.2f} on {len(past)} past datasets"
    if (failed := _failed(model, level)) >= FAILED_TRIALS:
        return f"all its {failed} trials failed"
    scores = model.scores[level]
    y, noise = scores.y[scores.full], scores.y_var[scores.full]
    if len(y) >= FLOOR_TRIALS and y.var(ddof=1) <= 2.0 * _typical_noise(noise):
        return "its scores do not differ by more than their noise"
    correlation, (_, high) = correlation_of(model, level)
    if int(model.full.sum()) < JUDGED_FROM or math.isnan(correlation):
        return None
    if correlation < 0.0:
        return "it ranks the configurations in reverse"
    return f"its correlation with the target is below {high:.2f}" if high < USEFUL else None


def _typical_noise(variances: np.ndarray) -> float:
    """Mean variance of the noise of scores; 0 where all are exact.

    A trial whose completions are all wrong has an error of 0 as well, and is left out.
    """
    known = variances[variances > 0]
    return float(known.mean()) if len(known) else 0.0


def _failed(model: TaskModel, level: str) -> int:
    """Number of a level's trials in this search, if all failed; else 0."""
    log = model.trial_log
    own = [o for o in log.observations.values() if log.level_of(o) == level]
    return len(own) if all(o.failed for o in own) else 0


def correlation_of(model: TaskModel, level: str) -> tuple[float, tuple[float, float]]:
    """A proxy's correlation with the target, as learned, and its 90 % interval; NaN if unknown."""
    gp, index = model.gp, model.levels.index(level)
    if gp is None or gp.hyperparameters.levels is None:
        return math.nan, (math.nan, math.nan)
    found = float(gp.hyperparameters.levels.correlations[index])
    return found, gp.correlation_interval(index)


def spread_trials(model: TaskModel, level: str, budget: float | None) -> int:
    """Trials of a proxy that are spread over the space before the acquisition chooses any.

    It would choose them where the target's default says that the target is good, and then the
    proxy's own landscape stays unknown. None where a history says where to look.
    """
    if model.prior.mean_prior is not None:
        return 0
    if budget is None:
        return SPREAD
    return min(
        SPREAD, int(UNPROVEN * SHARE * budget / (_full_cost(model) * model.level_cost(level)))
    )


def _full_cost(model: TaskModel) -> float:
    """Expected cost of the target's default.

    Before a first cost only the history's unit is known, not the caller's; a budget of a search
    over levels is then taken as one in full trials.
    """
    if not model.costs_known:
        return 1.0
    return float(np.exp(model.log_cost([model.encoder.default()])[0]))
