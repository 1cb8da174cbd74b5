"""Runs keep to their budget, pay what trials cost, and end with a trial of the target."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.levels.arms import ARMS, Arm
from benchmarks.levels.family import MODELS
from benchmarks.levels.play import play
from tests.benchmarks.levels.small_family import encoder, family


@pytest.mark.parametrize("arm", ["alone", "both", "random"])
def test_a_run_pays_for_its_trials_and_keeps_to_its_budget(arm: str):
    made = family()
    run = play(made, encoder(), ARMS[arm], 3.0, seed=0)
    costs = [made.tables[model].costs[at, -1] for model, at, _ in run.trials]
    assert np.allclose(np.cumsum(costs), run.costs)
    assert run.costs[-1] <= 3.0
    # Nothing that was left would have fitted.
    tried = {at for model, at, _ in run.trials if model == MODELS[-1]}
    rest = [made.target.costs[at, -1] for at in range(len(made.configs)) if at not in tried]
    assert run.costs[-1] + min(rest) > 3.0
    assert {model for model, *_ in run.trials} == {*ARMS[arm].proxies[:1], MODELS[-1]}


def test_the_regret_is_that_of_the_best_trial_of_the_target_and_counts_from_the_start():
    made = family()
    run = play(made, encoder(), ARMS["both"], 3.0, seed=0)
    target = [at for model, at, _ in run.trials if model == MODELS[-1]]
    assert run.regrets[-1] == pytest.approx(made.regrets()[target].min())
    assert run.at([0.0, 1.0]).tolist() == [run.start, run.regrets[-1]]
    assert run.start == pytest.approx(made.regrets().mean())
    shares = [run.spent_on(model) for model in MODELS]
    assert sum(shares) == pytest.approx(1.0)


def test_same_seed_same_run():
    first, again = (play(family(), encoder(), ARMS["both"], 3.0, seed=4) for _ in range(2))
    assert first == again


def test_without_checkpoints_a_continued_trial_pays_for_all_of_it():
    options = {"strategy": "gp", "rungs": (0.5,)}
    runs = [
        play(family(), encoder(), Arm("ablation", options=options, checkpoints=kept), 3.0, seed=0)
        for kept in (True, False)
    ]
    assert runs[0].trials[0] == runs[1].trials[0]
    assert len(runs[0].trials) >= len(runs[1].trials)
