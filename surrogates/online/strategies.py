"""The choice of the next trial. Pure functions of the task model; `search.py` keeps the state."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.stats import norm, qmc

from surrogates.core.base import Config, Observation
from surrogates.gp.failure import log_survival
from surrogates.online.acquire import acquire, acquire_on, weighs_cost
from surrogates.online.context import AskContext, Choice
from surrogates.online.proxies import open_proxies, spread_trials
from surrogates.online.rungs import choose_rung
from surrogates.online.task_model import TaskModel
from surrogates.space.candidates import best_unlike, nearest

BAYESIAN = ("autopipe", "gp")

FINALIST_CHANCE = 0.1  # a stopped trial less likely than this to beat the best is let go
PROMOTION = 3  # without a Gaussian process, one stopped trial in so many is finished
INITIAL_WITH_HISTORY = 3
HEDGE_PERIOD = 4  # one in so many of the first trials is not the offline prior's choice,
HEDGE_PLACE = 2  # beginning with the third, the space's default: if that beats the prior's, beware
INITIAL_COST = 0.5  # standard deviations of the prior mean that a trial e times as dear must gain


def random_choice(ctx: AskContext) -> Choice:
    """Any candidate that is free."""
    return Choice(ctx.pool[int(ctx.rng.choice(ctx.free()))])


def space_filling(
    ctx: AskContext, avoid_failures: bool = True, default_at: int = 0, level: str | None = None
) -> Choice:
    """The default once, and a scrambled Sobol sequence, snapped to the candidates if given.

    Points that will likely fail are passed over, if asked; the trial of index `default_at` is the
    default, if that was not proposed before. On the target, unless a level is named.
    """
    encoder, k, taken = ctx.encoder, ctx.started, ctx.taken(level)

    def risk(configs: list[Config]) -> np.ndarray:
        if not avoid_failures:
            return np.zeros(len(configs))
        return ctx.model.failure_probability(configs, level)

    sobol = qmc.Sobol(len(encoder.axes), scramble=True, rng=np.random.default_rng(ctx.seed))
    points = sobol.random_base2(math.ceil(math.log2(k + 33)))[k : k + 32]
    default = encoder.default()
    targets = [default] if k == default_at and encoder.key(default) not in taken else []
    targets += encoder.from_unit(points)
    free = ctx.free(level)
    penalty = risk([ctx.pool[i] for i in free])
    if ctx.only_pool:
        goal = encoder.matrix(targets[:1] or [ctx.pool[free[0]]])[0]
        return Choice(ctx.pool[free[nearest(ctx.cube[free], goal, 3.0 * penalty)]], level=level)
    unseen = [c for c in targets if encoder.key(c) not in taken]
    if not unseen:
        return Choice(ctx.pool[free[int(np.argmin(penalty))]], level=level)
    chance = risk(unseen)
    # The first point whose risk is close to the lowest on offer keeps the sequence even.
    return Choice(unseen[int(np.argmax(chance <= chance.min() + 0.1))], level=level)


def by_prior_mean(ctx: AskContext, cost: float = 0.0, level: str | None = None) -> Choice:
    """The candidate with the best offline prior mean that differs from those tried on its level.

    A unit of log cost counts against `cost` standard deviations of the prior mean.
    """
    prior, free = ctx.model.prior, ctx.free(level)
    configs = [ctx.pool[i] for i in free]
    # A trial of a proxy is to tell of the target's favourites: of what it stands for there.
    images = configs if level is None else ctx.model.images(configs, level)
    value = prior.mean(images) + log_survival(ctx.model.failure_probability(configs, level))
    if cost:
        value -= cost * prior.relative_log_cost(configs)
    # Of the same level: what a proxy has tried first is what the target should try first, too.
    others = ctx.encoder.matrix(ctx.proposed_on(level))
    return Choice(configs[best_unlike(value, ctx.cube[free], others)], level=level)


def initial_trials(ctx: AskContext) -> int:
    """Trials before the Gaussian process takes over."""
    if ctx.options.n_initial is not None:
        return ctx.options.n_initial
    if ctx.model.prior.mean_prior is not None:
        return INITIAL_WITH_HISTORY
    return min(8, len(ctx.encoder.axes) + 2)


def _initial(ctx: AskContext, level: str | None = None) -> Choice:
    """The prior's diverse top, hedged by trials that it did not choose; without it, spread out."""
    if ctx.model.prior.mean_prior is None:
        return space_filling(ctx, level=level)
    hedges = sum(p.hedge for p in ctx.log.proposals.values())
    due = (ctx.started_on_target + HEDGE_PERIOD - HEDGE_PLACE) // HEDGE_PERIOD
    # With a single candidate there is no choice, and so nothing to hedge. A trial of a proxy says
    # nothing of what the history is worth on the target.
    if level is None and hedges < due and len(ctx.pool) > 1:
        return replace(space_filling(ctx, default_at=ctx.started), hedge=True)
    return by_prior_mean(ctx, INITIAL_COST if weighs_cost(ctx.model) else 0.0, level)


def bayesian(ctx: AskContext) -> Choice:
    """Initial design, then acquisition over new starts and continuations, then finalists."""
    model, budget = ctx.model, ctx.budget
    spent = ctx.log.spent + model.pending_cost(ctx.log.pending)
    closing = budget is not None and budget - spent <= ctx.options.finalist_share * budget
    stopped = ctx.stopped()
    proxies = _proxies_for(ctx, spent, closing)
    if ctx.only == "proxies" and proxies:
        return _on_a_proxy(ctx, proxies, spent)
    if closing and (finalist := best_finalist(stopped, model)) is not None:
        return finalist
    if (hedge := _hedge_to_finish(stopped, model)) is not None:
        return _continue(hedge, model)
    if all_scores_equal(model):
        return space_filling(ctx)
    rung = 1.0 if closing else planned_rung(model, ctx.options.rungs)
    needed = initial_trials(ctx)
    if proxies and (level := _to_spread(ctx, proxies, needed)) is not None:
        return replace(_initial(ctx, level), fraction=rung)
    if model.gp is None or _begun(ctx) < needed:
        due = model.gp is None and ctx.started >= PROMOTION * (1 + model.continued)
        finalist = best_finalist(stopped, model) if due else None
        return finalist or replace(_initial(ctx), fraction=rung)
    if model.full.any():
        return _acquired(ctx, rung, stopped, spent, proxies)
    # Nothing ran in full yet: once the first trials were seen in part, the best one is finished.
    finalist = best_finalist(stopped, model) if len(stopped) >= max(2, needed) else None
    return finalist or _acquired(ctx, rung, [], spent, proxies)


def _proxies_for(ctx: AskContext, spent: float, closing: bool) -> list[str]:
    """The smaller levels that the next trial may be on."""
    if ctx.only == "target" or not ctx.started or (closing and ctx.only is None):
        return []
    found = open_proxies(ctx.model, spent, ctx.budget)
    return [name for name in found if not ctx.exhausted(name)]


def _on_a_proxy(ctx: AskContext, proxies: list[str], spent: float) -> Choice:
    """The next trial, where no other than one on a proxy will do."""
    rung = planned_rung(ctx.model, ctx.options.rungs)
    level = _to_spread(ctx, proxies, initial_trials(ctx))
    if level is None and ctx.model.gp is not None:
        return acquire_on(ctx, rung, spent, proxies)
    return replace(_initial(ctx, level or _most_telling(ctx.model, proxies)), fraction=rung)


def _begun(ctx: AskContext) -> int:
    """First trials so far: those of proxies count where no history has to be put to the test."""
    return ctx.started if ctx.model.prior.mean_prior is None else ctx.started_on_target


def _to_spread(ctx: AskContext, proxies: list[str], needed: int) -> str | None:
    """The proxy that is still to be tried all over the space, or in place of the first trials."""
    level = _most_telling(ctx.model, proxies)
    tried = sum(ctx.taken(level).values())
    wanted = ctx.started < needed or tried < spread_trials(ctx.model, level, ctx.budget)
    return level if wanted else None


def _most_telling(model: TaskModel, proxies: list[str]) -> str:
    """The proxy that is expected to explain most of the target's variance per cost."""
    prior = dict(zip(model.levels.proxies, model.expected_correlations, strict=True))
    return max(proxies, key=lambda name: prior[name] ** 2 / model.level_cost(name))


def _hedge_to_finish(stopped: list[Observation], model: TaskModel) -> Observation | None:
    """A hedge, where what the prior chose is at full length no better than it was at its rung.

    A history that is wrong misleads the early predictor too: run to its end, the hedge says how
    wrong.
    """
    if model.prior.mean_prior is None or model.full.sum() < 2:
        return None
    best = max(model.sign * o.score for o in model.observed if o.full_length)
    hedges = (o for o in stopped if model.trial_log.proposals[o.id].hedge)
    return next((o for o in hedges if model.sign * o.score >= best), None)


def all_scores_equal(model: TaskModel) -> bool:
    """True if all trials, two of them at full length, have one score: there is nothing to model."""
    scores = {o.score for o in model.observed}
    return int(model.full.sum()) >= 2 and len(scores) == 1


def planned_rung(model: TaskModel, rungs: tuple[float, ...] | None) -> float:
    """Fraction at which new trials are stopped; 1 when stopping early cannot work."""
    if "early_stopping" in model.prior.ablate or not model.partial_runs_work:
        return 1.0
    return choose_rung(model.offline.early, rungs, model.flat)


def _continue(o: Observation, model: TaskModel) -> Choice:
    return Choice(model.trial_log.config_of(o), 1.0, o)


def _acquired(
    ctx: AskContext, rung: float, stopped: list[Observation], spent: float, proxies: list[str]
) -> Choice:
    found = acquire(ctx, rung, stopped, spent, proxies)
    return found if isinstance(found, Choice) else _continue(found, ctx.model)


def best_finalist(stopped: list[Observation], model: TaskModel) -> Choice | None:
    """The stopped trial with the best posterior mean; None without one that has a chance."""
    if not stopped:
        return None
    mean, sd, _ = model.predict([model.trial_log.config_of(o) for o in stopped])
    mean = model.sign * mean
    best = int(np.argmax(mean))
    unsure = max(float(sd[best]), 1e-12 * abs(float(mean[best])), 1e-300)
    if model.full.any():
        done = [c for c, f in zip(model.configs, model.full, strict=True) if f]
        incumbent = float(np.max(model.sign * model.predict(done)[0]))
        if norm.sf((incumbent - mean[best]) / unsure) < FINALIST_CHANCE:
            return None
    return _continue(stopped[best], model)


def choose(ctx: AskContext) -> Choice:
    """The next proposal of the search's strategy."""
    match ctx.options.strategy:
        case "random":
            return random_choice(ctx)
        case "sobol":
            return space_filling(ctx, avoid_failures=False)
        case "ranker" if ctx.model.offline.ranker is None:
            return space_filling(ctx, avoid_failures=False)
        case "ranker":
            return by_prior_mean(ctx)
        case "tpe" | "bohb" as strategy:
            from surrogates.online import optuna_strategies  # takes a second to import

            return getattr(optuna_strategies, strategy)(ctx)
    return bayesian(ctx)
