"""Costs and regret of a run, whatever the optimizer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.options import selected
from benchmarks.replay.loop import BestSeen, Problem, Trace, replay
from benchmarks.replay.optimizers.search import SearchOptimizer
from benchmarks.replay.strategies import STRATEGIES, Strategy
from benchmarks.replay.tables import FRACTIONS, Outcome, Query, ReplayTask
from surrogates.core.base import OptionError
from tests.benchmarks.replay.small_history import small_task
from trials.io.errors import SettingsError


class RandomQueries:
    """Starts anything anywhere, and goes on with what it stopped, as a generator says."""

    def __init__(self, task: ReplayTask, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.left = list(self.rng.permutation(len(task)))
        self.stopped: dict[int, float] = {}
        self.scores: dict[int, float] = {}

    def ask(self) -> Query | None:
        if self.stopped and self.rng.random() < 0.5:
            index, fraction = self.stopped.popitem()
            return Query(index, 1.0, fraction)
        fraction = float(self.rng.choice([*FRACTIONS, 0.15, 0.7]))
        return Query(int(self.left.pop()), fraction) if self.left else None

    def tell(self, query: Query, outcome: Outcome) -> None:
        assert outcome.cost >= 0
        if outcome.score is not None:
            self.scores[query.index] = outcome.score
            if query.fraction < 1:
                self.stopped[query.index] = query.fraction

    def incumbent(self) -> int | None:
        return max(self.scores, key=self.scores.__getitem__) if self.scores else None


@st.composite
def tables(draw: st.DrawFn) -> ReplayTask:
    n, f = draw(st.integers(2, 8)), len(FRACTIONS)
    number = st.floats(-1e6, 1e6, allow_nan=False)
    scores = np.array(
        draw(st.lists(st.lists(number, min_size=f, max_size=f), min_size=n, max_size=n))
    )
    seconds = st.floats(0.01, 1e4)
    steps = np.array(
        draw(st.lists(st.lists(seconds, min_size=f, max_size=f), min_size=n, max_size=n))
    )
    costs = np.cumsum(steps, axis=1)
    for index in range(1, n):  # at least one trial finished
        if draw(st.booleans()):
            scores[index] = np.nan
            costs[index, :-1] = np.nan
    configs = tuple({"x": float(i)} for i in range(n))
    return ReplayTask("d", "m", configs, scores, costs, (({},) * f,) * n, {})


@settings(max_examples=100, deadline=None)
@given(task=tables(), budget=st.floats(0.5, 30), seed=st.integers(0, 1000))
def test_whatever_is_played_regret_is_normalised_and_the_budget_is_kept(
    task: ReplayTask, budget: float, seed: int
):
    budget *= task.mean_cost
    trace = replay(task, RandomQueries(task, seed), budget, seed)
    regrets, costs = np.array([trace.start, *trace.regrets]), np.array([0.0, *trace.costs])
    assert ((regrets >= 0) & (regrets <= 1)).all()
    assert (np.diff(costs) >= 0).all()
    assert costs[-1] <= budget
    assert len(trace.moves) == len(trace.costs) == len(trace.regrets)
    paid = [task.outcome(Query(*move)).cost for move in trace.moves]
    assert costs[-1] == pytest.approx(sum(paid))
    at = trace.at(np.array([0.0, 0.5, 1.0]))
    assert at[-1] == regrets[-1]


def test_regret_is_that_of_the_incumbent_when_the_share_of_the_budget_was_spent():
    trace = Trace(0, 10.0, 0.6, costs=[2.0, 5.0, 9.0], regrets=[0.4, 0.3, 0.0])
    shares = np.array([0.1, 0.2, 0.49, 0.5, 0.9, 1.0])
    assert trace.at(shares).tolist() == [0.6, 0.4, 0.4, 0.3, 0.0, 0.0]


def test_the_best_seen_is_of_the_longest_fraction_reached():
    seen = BestSeen()
    assert seen.incumbent() is None
    seen.tell(Query(0, 0.1), 0.9)
    seen.tell(Query(1, 0.1), 0.8)
    assert seen.incumbent() == 0
    seen.tell(Query(1, 0.3, 0.1), 0.5)
    assert (seen.incumbent(), seen.worst) == (1, 0.5)
    seen.tell(Query(2), None)
    assert (seen.incumbent(), seen.worst) == (1, 0.5)
    seen.tell(Query(2), 0.2)
    seen.tell(Query(3), 0.4)
    assert (seen.incumbent(), seen.worst) == (3, 0.2)


def run_of(name: str, trials: float, seed: int = 0) -> Trace:
    task, encoder, _ = small_task()
    budget = trials * task.mean_cost
    return replay(task, STRATEGIES[name].make(Problem(task, encoder, budget, seed)), budget, seed)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_peer_within_the_search_recommends_the_best_score_it_has_seen(name: str):
    trace = run_of(name, 8)
    regrets = small_task()[0].regrets()[[index for index, _, _ in trace.moves]]
    assert trace.regrets == np.minimum.accumulate(regrets).tolist()


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_same_seed_same_trace(name: str):
    first, again, other = run_of(name, 6, 1), run_of(name, 6, 1), run_of(name, 6, 2)
    assert (first.moves, first.costs, first.regrets) == (again.moves, again.costs, again.regrets)
    assert first.moves != other.moves
    assert set(first.seconds) == {"ask", "tell", "incumbent"}


def test_a_budget_for_everything_ends_with_no_regret():
    trace = run_of("random", 1e6)
    assert sorted(index for index, _, _ in trace.moves) == list(range(len(small_task()[0])))
    assert trace.regrets[-1] == 0.0


def test_a_search_that_continues_pays_the_rest_and_recommends_a_trial_that_was_run():
    task, encoder, _ = small_task()
    optimizer = SearchOptimizer(Problem(task, encoder, 1e6, 0), {"strategy": "gp"})
    [stopped] = optimizer.search.ask(1, candidates=task.candidates(), fraction=0.3)
    optimizer._pending = stopped
    query = task.settle(Query(optimizer._index[encoder.key(stopped.config)], 0.3))
    optimizer.tell(query, task.outcome(query))
    assert optimizer.incumbent() == query.index
    finalist = optimizer.search.finalist()
    assert finalist is not None
    assert finalist.continues == stopped.id
    assert optimizer._queries[finalist.continues].fraction == 0.3


def test_a_strategy_with_an_option_that_the_search_does_not_know_fails_when_it_is_made():
    task, encoder, _ = small_task()
    unknown = Strategy("ablation", {"strategy": "autopipe", "wihtout": ("ranker",)})
    with pytest.raises(OptionError, match="unknown search option 'wihtout'"):
        unknown.make(Problem(task, encoder, 1.0, 0))


def test_unknown_names_are_errors_that_suggest_the_nearest():
    assert selected("", ["a", "b"], "strategy") == ["a", "b"]
    assert selected("b, a,", ["a", "b"], "strategy") == ["b", "a"]
    with pytest.raises(SettingsError, match=r"unknown strategy 'autopip'; did you mean 'autopipe'"):
        selected("autopip", STRATEGIES, "strategy")
