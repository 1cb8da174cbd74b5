"""How the next trial is chosen. Pure functions of the task model; `search.py` keeps the state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm, qmc

from surrogates.core.base import Config, Observation, Proposal
from surrogates.gp.acquisition import cost_weight, log_noisy_ei
from surrogates.gp.failure import log_survival
from surrogates.online.rungs import allowed_rungs, choose_rung
from surrogates.online.task_model import TaskModel
from surrogates.space.candidates import diverse_top, nearest, refine
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.options import SearchOptions
from surrogates.space.stages import LEAST_PART, Beginnings, Run, distinct_rung

Rungs = tuple[float, ...] | None
BAYESIAN = ("autopipe", "gp")

FINALIST_CHANCE = 0.1  # a stopped trial less likely than this to beat the best is let go
PROMOTION = 3  # without a Gaussian process, one stopped trial in so many is finished
INITIAL_WITH_HISTORY = 3
HEDGE = 2  # the third trial is the space's default: if it beats the opinion's best, beware
ROUND = 4  # one in so many of the first trials is not the opinion's choice
INITIAL_COST = 0.5  # of the opinion's standard deviations, what e times the cost must be better


@dataclass(frozen=True)
class Choice:
    """What to run next: a new configuration up to `fraction`, or a stopped trial to its end."""

    config: Config
    fraction: float = 1.0
    continues: Observation | None = None
    hedge: bool = False
    """Whether it was begun because the opinion did not choose it."""


@dataclass
class Round:
    """One `ask`: its candidates, what is already taken, its random numbers."""

    encoder: SpaceEncoder
    pool: list[Config]
    only_pool: bool
    """Whether the pool is the caller's candidates: nothing outside it may be proposed."""
    taken: dict[tuple, int]
    """How often each configuration was proposed before."""
    pending: list[Proposal]
    rng: np.random.Generator
    seed: int
    started: int
    """New configurations proposed so far."""
    beginnings: Beginnings
    runs: list[Run]
    """What was run and what is being run."""
    cube: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.cube = self.encoder.matrix(self.pool)

    def free(self) -> np.ndarray:
        """Indices of the candidates not proposed before; the rarest ones if there are none.

        One that differs from another only in what its run never uses was proposed with that one.
        """
        counts = np.array([self.taken.get(self.encoder.key(c), 0) for c in self.pool])
        counts += (counts == 0) & (self.known(self.pool) >= 1.0)
        return np.flatnonzero(counts == counts.min())

    def known(self, configs: list[Config]) -> np.ndarray:
        """Share of each configuration's run that another one shows, or will, shape (n,)."""
        return self.beginnings.in_common(configs, self.runs)

    def add(self, proposal: Proposal) -> None:
        """Account for a proposal just made."""
        key = self.encoder.key(proposal.config)
        self.taken[key] = self.taken.get(key, 0) + 1
        self.pending.append(proposal)
        self.runs.append((proposal.config, proposal.fraction))
        self.started += proposal.kind == "new"


def random_choice(turn: Round) -> Choice:
    """Any candidate that is free."""
    return Choice(turn.pool[int(turn.rng.choice(turn.free()))])


def space_filling(turn: Round, model: TaskModel | None = None, default_at: int = 0) -> Choice:
    """The default once, and a scrambled Sobol sequence, snapped to the candidates if given.

    Args:
        turn: This `ask`.
        model: With one, points that will likely fail are passed over.
        default_at: Which of the trials is to be the default, if it was not proposed before.
    """
    encoder, k = turn.encoder, turn.started
    sobol = qmc.Sobol(len(encoder.axes), scramble=True, rng=np.random.default_rng(turn.seed))
    points = sobol.random_base2(math.ceil(math.log2(k + 33)))[k : k + 32]
    default = encoder.default()
    wanted = k == default_at and encoder.key(default) not in turn.taken
    targets = [default] if wanted else []
    targets += encoder.from_unit(points)
    free = turn.free()
    penalty = model.failure_probability([turn.pool[i] for i in free]) if model else 0.0 * free
    if turn.only_pool:
        goal = encoder.matrix(targets[:1] or [turn.pool[free[0]]])[0]
        return Choice(turn.pool[free[nearest(turn.cube[free], goal, 3.0 * penalty)]])
    unseen = [c for c in targets if turn.taken.get(encoder.key(c), 0) == 0]
    if not unseen:
        return Choice(turn.pool[free[int(np.argmin(penalty))]])
    chance = model.failure_probability(unseen) if model else np.zeros(len(unseen))
    # The first point whose risk is close to the lowest on offer keeps the sequence even.
    return Choice(unseen[int(np.argmax(chance <= chance.min() + 0.1))])


def by_opinion(turn: Round, model: TaskModel, cost: float = 0.0) -> Choice:
    """The offline opinion's best candidate that differs from what is taken.

    Args:
        turn: This `ask`.
        model: Of the task.
        cost: How many standard deviations of the opinion one unit of log cost counts against.
    """
    free = turn.free()
    configs = [turn.pool[i] for i in free]
    value = model.opinion.score(configs) + log_survival(model.failure_probability(configs))
    if cost:
        value -= cost * model.opinion.relative_log_cost(configs)
    told = [model.book.proposals[i].config for i in model.book.told]
    others = turn.encoder.matrix(told + [p.config for p in turn.pending])
    return Choice(configs[diverse_top(value, turn.cube[free], others, 1)[0]])


def initial_trials(model: TaskModel, encoder: SpaceEncoder, asked: int | None) -> int:
    """Trials before the Gaussian process takes over."""
    if asked is not None:
        return asked
    if model.opinion.prior is not None:
        return INITIAL_WITH_HISTORY
    return min(8, len(encoder.axes) + 2)


def _initial(turn: Round, model: TaskModel) -> Choice:
    """The opinion's diverse top, hedged by one trial it did not choose; without it, spread out."""
    if model.opinion.prior is None:
        return space_filling(turn, model)
    hedges = sum(p.hedge for p in model.book.proposals.values())
    # One that the caller chose, having named no other, hedges nothing.
    if hedges < (turn.started + ROUND - HEDGE) // ROUND and len(turn.pool) > 1:
        return replace(space_filling(turn, model, turn.started), hedge=True)
    return by_opinion(turn, model, INITIAL_COST if _weighs_cost(model) else 0.0)


def _weighs_cost(model: TaskModel) -> bool:
    return not model.flat and "cost" not in model.opinion.without


def bayesian(
    turn: Round,
    model: TaskModel,
    *,
    budget: float | None,
    finalist_share: float,
    rungs: Rungs,
    n_initial: int | None,
) -> Choice:
    """Initial design, then acquisition over new starts and continuations, then finalists."""
    spent = model.book.spent + model.cost_to_come(turn.pending)
    closing = budget is not None and budget - spent <= finalist_share * budget
    allowed = {turn.encoder.key(c) for c in turn.pool} if turn.only_pool else None
    stopped = [o for o in model.book.stopped if _may_continue(o, turn, model, allowed)]
    if closing and stopped:
        finalist = _finalist(stopped, model)
        if finalist is not None:
            return finalist
    if (hedge := _in_doubt(stopped, model)) is not None:
        return _continue(hedge, model)
    if _nothing_told_apart(model):
        return Choice(space_filling(turn, model).config)
    rung = 1.0 if closing else planned_rung(model, rungs)
    needed = initial_trials(model, turn.encoder, n_initial)
    if model.gp is None and stopped and turn.started >= PROMOTION * (1 + model.continued):
        return _finalist(stopped, model) or replace(_initial(turn, model), fraction=rung)
    if model.gp is None or turn.started < needed:
        return replace(_initial(turn, model), fraction=rung)
    if not model.full.any() and len(stopped) >= max(2, needed):
        return _finalist(stopped, model) or _acquire(turn, model, rung, rungs, [], budget, spent)
    stopped = stopped if model.full.any() else []
    return _acquire(turn, model, rung, rungs, stopped, budget, spent)


def _in_doubt(stopped: list[Observation], model: TaskModel) -> Observation | None:
    """A hedge, where what the opinion chose is at full length no better than it was at its rung.

    An opinion that is wrong misleads the early predictor's history too: run to its end, the hedge
    says how wrong.
    """
    if model.opinion.prior is None or model.full.sum() < 2:
        return None
    best = max(model.sign * o.score for o in model.observed if o.full_length)
    hedges = (o for o in stopped if model.book.proposals[o.id].hedge)
    return next((o for o in hedges if model.sign * o.score >= best), None)


def _nothing_told_apart(model: TaskModel) -> bool:
    """All trials, some of them at full length, have one score: no model can say where to go."""
    scores = {o.score for o in model.book.usable}
    return int(model.full.sum()) >= 2 and len(scores) == 1


def planned_rung(model: TaskModel, rungs: Rungs) -> float:
    """Fraction at which new trials are stopped; 1 when stopping early cannot work."""
    if "early_stopping" in model.opinion.without or not model.partial_runs_work:
        return 1.0
    return choose_rung(model.opinion.offline.early, rungs, model.flat)


def distinct_rungs(
    turn: Round, model: TaskModel, configs: list[Config], planned: float, rungs: Rungs
) -> np.ndarray:
    """Where each configuration would be stopped: where its score is not known already, (n,).

    Two configurations cannot differ before a stage has begun in which they do.
    """
    allowed = allowed_rungs(model.opinion.offline.early, rungs)
    return np.array([distinct_rung(planned, allowed, known) for known in turn.known(configs)])


def next_finalist(turn: Round, model: TaskModel) -> Choice | None:
    """The stopped trial to finish next, or None when none is worth it."""
    stopped = [o for o in model.book.stopped if _may_continue(o, turn, model, None)]
    return _finalist(stopped, model) if stopped else None


def _may_continue(
    o: Observation, turn: Round, model: TaskModel, allowed: set[tuple] | None
) -> bool:
    """Not being continued in this very round, and among the caller's candidates."""
    if any(p.continues == o.id for p in turn.pending):
        return False
    return allowed is None or turn.encoder.key(model.book.proposals[o.id].config) in allowed


def _continue(o: Observation, model: TaskModel) -> Choice:
    return Choice(model.book.proposals[o.id].config, 1.0, o)


def _finalist(stopped: list[Observation], model: TaskModel) -> Choice | None:
    """The stopped trial with the best posterior mean, unless it is hopeless."""
    configs = [model.book.proposals[o.id].config for o in stopped]
    mean, sd, _ = model.predict(configs)
    mean = model.sign * mean
    best = int(np.argmax(mean))
    unsure = max(float(sd[best]), 1e-12 * abs(float(mean[best])), 1e-300)
    if model.full.any():
        done = [c for c, f in zip(model.configs, model.full, strict=True) if f]
        incumbent = float(np.max(model.sign * model.predict(done)[0]))
        if norm.sf((incumbent - mean[best]) / unsure) < FINALIST_CHANCE:
            return None
    return _continue(stopped[best], model)


def _acquire(
    turn: Round,
    model: TaskModel,
    rung: float,
    rungs: Rungs,
    stopped: list[Observation],
    budget: float | None,
    spent: float,
) -> Choice:
    """The best of: starting any candidate at its rung, finishing any stopped trial.

    A new start improves on everything in hand, stopped trials included, and its improvement is
    worth only the share of variance that the predictor explains at the rung. Finishing a trial
    improves on the full-length results. A start is divided by its rung, a continuation by the
    fraction still to run; where all trials cost the same, both by nothing.
    """
    assert model.gp is not None
    gp = model.gp
    weight = cost_weight(spent, budget) if _weighs_cost(model) else 0.0
    seed = int(turn.rng.integers(2**31))
    waiting = model.inputs([p.config for p in turn.pending]) if turn.pending else None
    observed = model.baseline(full_only=False)
    early = model.opinion.offline.early

    def worth(at: float) -> float:
        return 0.0 if at >= 1.0 or early is None else math.log(max(early.explained_at(at), 1e-3))

    def parts(left: np.ndarray) -> np.ndarray:
        return np.zeros(len(left)) if model.flat else np.log(np.maximum(left, LEAST_PART))

    def terms(configs: list[Config]) -> np.ndarray:
        survival = log_survival(model.failure_probability(configs))
        return survival - weight * model.log_cost(configs) if weight else survival

    def start(configs: list[Config]) -> np.ndarray:
        gain = log_noisy_ei(gp, model.inputs(configs), observed, waiting, seed)
        at = distinct_rungs(turn, model, configs, rung, rungs)
        explained = np.array([worth(each) for each in at])
        # The whole of it, shared beginning or not: what it costs to change a last stage alone is so
        # little that the search would do nothing else, however little there is to gain.
        return gain + explained - parts(at) + terms(configs)

    configs = [turn.pool[i] for i in turn.free()]
    values = start(configs)
    order = np.argsort(-values, kind="stable")
    best, value = Choice(configs[order[0]], rung), float(values[order[0]])
    if not turn.only_pool and turn.taken.get(turn.encoder.key(best.config), 0) == 0:
        seen = set(turn.taken)
        found = refine([configs[i] for i in order[:5]], start, turn.encoder, seen, turn.rng)
        if found is not None and found[1] > value:
            best, value = Choice(found[0], rung), found[1]
    if stopped:
        begun = [model.book.proposals[o.id].config for o in stopped]
        gain = log_noisy_ei(gp, model.inputs(begun), model.baseline(True), waiting, seed)
        left = np.array([1.0 - o.fraction for o in stopped])
        finish = gain - parts(left) + terms(begun)
        if finish.max() > value:
            return _continue(stopped[int(np.argmax(finish))], model)
    return best


def choose(turn: Round, model: TaskModel, options: SearchOptions, budget: float | None) -> Choice:
    """What the strategy of a search proposes next."""
    strategy = options.strategy
    if strategy == "random":
        return random_choice(turn)
    if strategy == "sobol" or (strategy == "ranker" and not model.opinion.known):
        return space_filling(turn)
    if strategy == "ranker":
        return by_opinion(turn, model)
    if strategy in ("tpe", "bohb"):
        from surrogates.online.optuna_strategies import bohb, tpe  # takes a second to import

        if strategy == "tpe":
            return tpe(turn, model.book, model.sign > 0)
        return bohb(turn, model.book, model.sign > 0, options.rungs)
    return bayesian(
        turn,
        model,
        budget=budget,
        finalist_share=options.finalist_share,
        rungs=options.rungs,
        n_initial=options.n_initial,
    )
