"""Peers on a table: nearest free candidates, no repeats, the same queries with the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.replay.histories import history_without
from benchmarks.replay.loop import Problem, Trace, replay
from benchmarks.replay.optimizers.base import RUNGS, CandidatePool
from benchmarks.replay.strategies import STRATEGIES
from tests.benchmarks.replay.small_history import small_task


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_snapping_takes_each_candidate_once_and_the_candidate_itself_first(seed: int):
    task, encoder, _ = small_task()
    pool = CandidatePool(encoder, task.configs)
    assert pool.take_nearest(task.configs[7]) == 7
    taken = [pool.take_nearest(config) for config in encoder.sample(11, seed)]
    assert sorted([7, *taken]) == list(range(12))
    assert not pool.free.size


def test_preferred_candidates_are_taken_before_all_others():
    task, encoder, _ = small_task()
    pool = CandidatePool(encoder, task.configs)
    pool.preferred = np.isin(np.arange(12), [2, 5])
    taken = [pool.take_nearest(task.configs[7]) for _ in range(3)]
    assert sorted(taken[:2]) == [2, 5]
    assert taken[2] == 7


def test_what_a_condition_switches_off_does_not_decide_what_is_nearest():
    task, encoder, _ = small_task()
    full = next(i for i, config in enumerate(task.configs) if config["adapter"] == "full")
    for rank in (4, 16):
        assert (
            CandidatePool(encoder, task.configs).take_nearest(task.configs[full] | {"rank": rank})
            == full
        )


PEERS = [name for name, strategy in STRATEGIES.items() if strategy.implementation]


@pytest.mark.slow  # importing a peer alone takes seconds
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_plays_without_a_repeat_until_the_budget_or_the_table_ends(name: str):
    if STRATEGIES[name].missing:
        pytest.skip("the extra `peers` is not installed")
    task, encoder, rows = small_task()
    history = history_without(rows, "d0")

    def played(trials: float) -> Trace:
        budget = trials * task.costs[:, -1].max()
        optimizer = STRATEGIES[name].make(Problem(task, encoder, budget, 3, history))
        return replay(task, optimizer, budget, 3)

    trace, again = played(6.5), played(6.5)
    assert trace.moves == again.moves
    starts = [index for index, _, begun in trace.moves if begun == 0]
    assert len(starts) >= 6
    assert len(set(starts)) == len(starts)
    fractions = {fraction for _, fraction, _ in trace.moves}
    if name == "smac-hyperband":
        assert fractions == set(RUNGS)
        reached = dict.fromkeys(starts, 0.0)
        for index, fraction, begun in trace.moves:  # a promoted trial resumes where it stopped
            assert begun == reached[index]
            reached[index] = fraction
    else:
        assert fractions == {1.0}
        assert trace.regrets == sorted(trace.regrets, reverse=True)
    if name != "smac-hyperband":  # which ends where too few are left to fill a bracket
        everything = {index for index, _, _ in played(100.0).moves}
        assert everything == set(range(12))
