"""What a run is charged and credited with, whoever plays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.replay.play import BestSeen, Trace, play
from benchmarks.replay.players import SearchPlayer
from benchmarks.replay.strategies import STRATEGIES, Strategy, chosen, make_player
from benchmarks.replay.tables import FRACTIONS, Move, ReplayTask
from surrogates.core.base import OptionError
from tests.benchmarks.worlds import small_task
from trials.io.errors import SettingsError

world = cache(small_task)


class Anyhow:
    """Starts anything anywhere, and goes on with what it stopped, as a generator says."""

    def __init__(self, task: ReplayTask, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.left = list(self.rng.permutation(len(task)))
        self.stopped: dict[int, float] = {}
        self.scores: dict[int, float] = {}

    def ask(self) -> Move | None:
        if self.stopped and self.rng.random() < 0.5:
            index, fraction = self.stopped.popitem()
            return Move(index, 1.0, fraction)
        fraction = float(self.rng.choice([*FRACTIONS, 0.15, 0.7]))
        return Move(int(self.left.pop()), fraction) if self.left else None

    def tell(
        self,
        move: Move,
        score: float | None,
        score_se: float,
        cost: float,
        signals: Mapping[str, float],
    ) -> None:
        assert cost >= 0
        if score is not None:
            self.scores[move.index] = score
            if move.fraction < 1:
                self.stopped[move.index] = move.fraction

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
    trace = play(task, Anyhow(task, seed), budget, seed)
    regrets, costs = np.array([trace.start, *trace.regrets]), np.array([0.0, *trace.costs])
    assert ((regrets >= 0) & (regrets <= 1)).all()
    assert (np.diff(costs) >= 0).all()
    assert costs[-1] <= budget
    assert len(trace.moves) == len(trace.costs) == len(trace.regrets)
    paid = [task.outcome(Move(*move)).cost for move in trace.moves]
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
    seen.tell(Move(0, 0.1), 0.9)
    seen.tell(Move(1, 0.1), 0.8)
    assert seen.incumbent() == 0
    seen.tell(Move(1, 0.3, 0.1), 0.5)
    assert (seen.incumbent(), seen.worst) == (1, 0.5)
    seen.tell(Move(2), None)
    assert (seen.incumbent(), seen.worst) == (1, 0.5)
    seen.tell(Move(2), 0.2)
    seen.tell(Move(3), 0.4)
    assert (seen.incumbent(), seen.worst) == (3, 0.2)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_peer_within_the_search_ends_with_the_best_score_it_has_seen(name: str):
    task, encoder, _ = world()
    budget = 8 * task.mean_cost
    player = make_player(STRATEGIES[name], task, encoder, budget, 0, None, None)
    trace = play(task, player, budget)
    regrets = task.regrets()[[index for index, _, _ in trace.moves]]
    assert trace.regrets == np.minimum.accumulate(regrets).tolist()


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_same_seed_same_trace(name: str):
    task, encoder, _ = world()
    budget = 6 * task.mean_cost

    def played(seed: int) -> Trace:
        player = make_player(STRATEGIES[name], task, encoder, budget, seed, None, None)
        return play(task, player, budget, seed)

    first, again, other = played(1), played(1), played(2)
    assert (first.moves, first.costs, first.regrets) == (again.moves, again.costs, again.regrets)
    assert first.moves != other.moves
    assert set(first.seconds) == {"ask", "tell", "incumbent"}


def test_a_budget_for_everything_ends_with_no_regret():
    task, encoder, _ = world()
    budget = 1e6
    player = make_player(STRATEGIES["random"], task, encoder, budget, 0, None, None)
    trace = play(task, player, budget)
    assert sorted(index for index, _, _ in trace.moves) == list(range(len(task)))
    assert trace.regrets[-1] == 0.0


def test_a_search_that_continues_pays_the_rest_and_ends_with_a_trial_that_was_run():
    task, encoder, _ = world()
    player = SearchPlayer(task, encoder, 1e6, 0, None, {"strategy": "gp"})
    [stopped] = player.search.ask(1, candidates=task.candidates(), fraction=0.3)
    player._asked = stopped
    move = task.settled(Move(player._index[encoder.key(stopped.config)], 0.3))
    outcome = task.outcome(move)
    player.tell(move, outcome.score, outcome.score_se, outcome.cost, outcome.signals)
    assert player.incumbent() == move.index
    finalist = player.search.finalist()
    assert finalist is not None
    assert finalist.continues == stopped.id
    assert player._told[finalist.continues].fraction == 0.3


def test_a_strategy_whose_option_the_search_does_not_know_fails_when_it_is_made():
    task, encoder, _ = world()
    unknown = Strategy("ablation", {"strategy": "autopipe", "wihtout": ("ranker",)})
    with pytest.raises(OptionError, match="unknown search option 'wihtout'"):
        make_player(unknown, task, encoder, 1.0, 0, None, None)


def test_unknown_names_are_errors_that_name_the_nearest():
    assert chosen([], ["a", "b"], "strategy") == ["a", "b"]
    with pytest.raises(SettingsError, match=r"unknown strategy 'autopip'. Did you mean 'autopipe'"):
        chosen(["autopip"], STRATEGIES, "strategy")
