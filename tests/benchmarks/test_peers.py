"""Peers play on a table: nearest free candidates, no repeats, the same again with the same seed."""

from __future__ import annotations

import importlib.util
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.replay.past import past_of
from benchmarks.replay.peers import PEERS, RUNGS, Snapper
from benchmarks.replay.play import Trace, play
from benchmarks.replay.strategies import STRATEGIES, make_player
from tests.benchmarks.worlds import small_task

world = cache(small_task)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_snapping_takes_each_candidate_once_and_the_candidate_itself_first(seed: int):
    task, encoder, _ = world()
    snapper = Snapper(encoder, task.configs)
    assert snapper.take(task.configs[7]) == 7
    taken = [snapper.take(config) for config in encoder.sample(11, seed)]
    assert sorted([7, *taken]) == list(range(12))
    assert not snapper.free.size


def test_wanted_candidates_are_taken_before_all_others():
    task, encoder, _ = world()
    snapper = Snapper(encoder, task.configs)
    snapper.wanted = np.isin(np.arange(12), [2, 5])
    taken = [snapper.take(task.configs[7]) for _ in range(3)]
    assert sorted(taken[:2]) == [2, 5]
    assert taken[2] == 7


def test_what_a_condition_switches_off_does_not_decide_what_is_nearest():
    task, encoder, _ = world()
    full = next(i for i, config in enumerate(task.configs) if config["adapter"] == "full")
    for rank in (4, 16):
        assert Snapper(encoder, task.configs).take(task.configs[full] | {"rank": rank}) == full


def installed(name: str) -> bool:
    return importlib.util.find_spec(STRATEGIES[name].package) is not None


@pytest.mark.slow  # importing a peer alone takes seconds
@pytest.mark.parametrize("name", list(PEERS))
def test_a_peer_plays_without_a_repeat_until_the_budget_or_the_table_ends(name: str):
    if not installed(name):
        pytest.skip("the extra `peers` is not installed")
    task, encoder, rows = world()
    past = past_of(rows, "d0")

    def played(trials: float) -> Trace:
        budget = trials * task.costs[:, -1].max()
        player = make_player(STRATEGIES[name], task, encoder, budget, 3, past, None)
        return play(task, player, budget, 3)

    trace, again = played(6.5), played(6.5)
    assert trace.moves == again.moves
    starts = [index for index, _, begun in trace.moves if begun == 0]
    assert len(starts) >= 6
    assert len(set(starts)) == len(starts)
    fractions = {fraction for _, fraction, _ in trace.moves}
    if name in ("smac-hyperband", "syne-asha-cqr"):
        assert fractions == set(RUNGS)
        reached = dict.fromkeys(starts, 0.0)
        for index, fraction, begun in trace.moves:  # what goes on does so from where it was
            assert begun == reached[index]
            reached[index] = fraction
    else:
        assert fractions == {1.0}
        assert trace.regrets == sorted(trace.regrets, reverse=True)
    if name != "smac-hyperband":  # which ends where too few are left to fill a bracket
        everything = {index for index, _, _ in played(100.0).moves}
        assert everything == set(range(12))
