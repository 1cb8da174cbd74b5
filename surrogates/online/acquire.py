"""The next run by expected improvement: a new start, on any level of size, or a continuation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from surrogates.core.base import Config, Observation
from surrogates.gp.acquisition import cost_weight, log_noisy_ei
from surrogates.gp.failure import log_survival
from surrogates.gp.residual_gp import ResidualGP
from surrogates.online.context import AskContext, Choice, distinct_rungs
from surrogates.online.task_model import TaskModel
from surrogates.space.candidates import refine
from surrogates.space.stages import MIN_OWN_SHARE


@dataclass
class Acquisition:
    """Values of runs, in log expected improvement of the target per cost.

    A new start improves on everything in hand, stopped trials included, and its improvement counts
    by the share of variance that the early predictor explains at the rung. Finishing a trial
    improves on the full-length results. A start is divided by its rung, a continuation by the
    fraction still to run; where all trials cost the same, both by nothing.

    A start on a proxy is one more rung. A trial of the proxy l at x tells of its image u on the
    target, so

        log a(x, l, r) = log NEI(u) + log D_l(x) + log e(r) - log(r c_l)

    with D the share of the uncertainty at u that it resolves (`ResidualGP.informativeness`), e what
    the predictor explains at the rung r, and c_l the relative cost of the proxy.
    """

    ctx: AskContext
    gp: ResidualGP
    rung: float
    spent: float
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        ctx, model = self.ctx, self.model
        self.seed = int(ctx.rng.integers(2**31))
        self._weight = cost_weight(self.spent, ctx.budget) if weighs_cost(model) else 0.0
        pending = [
            p.config if p.level == ctx.log.target else model.images([p.config], p.level)[0]
            for p in ctx.log.pending
        ]
        self._waiting = model.inputs(pending) if pending else None
        self._observed = model.baseline(full_only=False)

    @property
    def model(self) -> TaskModel:
        """The task model."""
        return self.ctx.model

    def best_start(self, level: str | None) -> tuple[Choice, float]:
        """The best candidate to start on a level, refined where that is allowed, and its value."""
        ctx = self.ctx
        value_of = self.start if level is None else partial(self.start_on, level)
        configs = [ctx.pool[i] for i in ctx.free(level)]
        values = value_of(configs)
        order = np.argsort(-values, kind="stable")
        best, value = configs[order[0]], float(values[order[0]])
        taken = set(ctx.taken(level))
        if not ctx.only_pool and ctx.encoder.key(best) not in taken:
            top = [configs[i] for i in order[:5]]
            found = refine(top, value_of, ctx.encoder, taken, ctx.rng)
            if found is not None and found[1] > value:
                best, value = found
        return Choice(best, self.rung, level=level), value

    def start(self, configs: list[Config]) -> np.ndarray:
        """Values of starting configurations on the target, shape (n,)."""
        gain = self._gain(self.model.inputs(configs), self._observed)
        at = distinct_rungs(self.ctx, configs, self.rung)
        # The whole of it, shared beginning or not: what it costs to change a last stage alone is so
        # little that the search would do nothing else, however little there is to gain.
        return gain + self._explained(at) - self._share(at) + self._survival_per_cost(configs)

    def start_on(self, level: str, configs: list[Config]) -> np.ndarray:
        """Values of starting configurations on a proxy, shape (n,)."""
        model = self.model
        images = model.inputs(model.images(configs, level))
        index = model.levels.index(level)
        told = self.gp.informativeness(model.inputs(configs, level), images, index)
        at = distinct_rungs(self.ctx, configs, self.rung, level)
        value = self._gain(images, self._observed) + np.log(np.maximum(told, 1e-9))
        value += self._explained(at) - self._share(at) - math.log(model.level_cost(level))
        return value + self._survival_per_cost(configs, level)

    def finish(self, stopped: list[Observation]) -> np.ndarray:
        """Values of running stopped trials to their end, shape (n,)."""
        begun = [self.ctx.log.config_of(o) for o in stopped]
        gain = self._gain(self.model.inputs(begun), self.model.baseline(full_only=True))
        left = np.array([1.0 - o.fraction for o in stopped])
        return gain - self._share(left) + self._survival_per_cost(begun)

    def _gain(self, inputs: np.ndarray, baseline: np.ndarray) -> np.ndarray:
        return log_noisy_ei(self.gp, inputs, baseline, self._waiting, self.seed)

    def _explained(self, at: np.ndarray) -> np.ndarray:
        early = self.model.offline.early
        if early is None:
            return np.zeros(len(at))
        shares = [1.0 if r >= 1.0 else max(early.explained_at(r), 1e-3) for r in at]
        return np.array([math.log(share) for share in shares])

    def _share(self, left: np.ndarray) -> np.ndarray:
        return np.zeros(len(left)) if self.model.flat else np.log(np.maximum(left, MIN_OWN_SHARE))

    def _survival_per_cost(self, configs: list[Config], level: str | None = None) -> np.ndarray:
        survival = log_survival(self.model.failure_probability(configs, level))
        return survival - self._weight * self.model.log_cost(configs) if self._weight else survival


def weighs_cost(model: TaskModel) -> bool:
    """True if what a trial costs has a say in whether it is run."""
    return not model.flat and "cost" not in model.prior.ablate


def acquire_on(ctx: AskContext, rung: float, spent: float, proxies: list[str]) -> Choice:
    """The best start on one of these proxies."""
    assert ctx.model.gp is not None
    values = Acquisition(ctx, ctx.model.gp, rung, spent)
    return max(map(values.best_start, proxies), key=lambda found: found[1])[0]


def acquire(
    ctx: AskContext, rung: float, stopped: list[Observation], spent: float, proxies: list[str]
) -> Choice | Observation:
    """The best start on the target or a proxy, or the stopped trial that is best finished."""
    assert ctx.model.gp is not None
    values = Acquisition(ctx, ctx.model.gp, rung, spent)
    best, value = max(map(values.best_start, [None, *proxies]), key=lambda found: found[1])
    if stopped and (finish := values.finish(stopped)).max() > value:
        return stopped[int(np.argmax(finish))]
    return best
