"""Optuna's samplers behind the search: what they propose, promote and learn from."""

from __future__ import annotations

import math
from typing import Any

import ConfigSpace as cs
import numpy as np
import pytest

from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import Task, float_space


def played(search: Search, task: Task, steps: int) -> list[Any]:
    """Proposals in order; partial scores lie below final ones by the part not run."""
    made = []
    for _ in range(steps):
        [p] = search.ask()
        score = task.score(p.config) - 0.1 * (1.0 - p.fraction)
        state = "completed" if p.fraction == 1.0 else "stopped"
        search.tell(p.id, score, cost=p.fraction, fraction=p.fraction, state=state)
        made.append(p)
    return made


def test_tpe_learns_where_scores_are_high() -> None:
    space = float_space(2)
    early, late = [], []
    for seed in range(3):
        search, task = Search(space, strategy="tpe", seed=seed), Task(space, 3)
        scores = [task.score(p.config) for p in played(search, task, 40)]
        early.append(np.mean(scores[:10]))
        late.append(np.mean(scores[-10:]))
    assert np.mean(late) > np.mean(early) + 0.05


def test_bohb_starts_low_and_promotes_the_best_third(space: cs.ConfigurationSpace) -> None:
    search, task = Search(space, strategy="bohb", rungs=(0.1, 0.3, 1.0), seed=0), Task(space, 4)
    made = played(search, task, 40)
    fractions = [p.fraction for p in made]
    assert set(fractions) == {0.1, 0.3, 1.0}
    told = search.trial_log.observations
    for number, p in enumerate(made):
        if p.continues is None:
            assert p.fraction == 0.1
            continue
        parent = told[p.continues]
        assert (parent.fraction, p.fraction) in {(0.1, 0.3), (0.3, 1.0)}
        before = [told[q.id].score for q in made[:number] if q.fraction == parent.fraction]
        better = sum(score > parent.score for score in before)
        assert better < len(before) / 3
        assert p.config == search.trial_log.proposals[p.continues].config
    continued = [p.continues for p in made if p.continues]
    assert len(set(continued)) == len(continued)


def test_bohb_without_rungs_has_its_own(space: cs.ConfigurationSpace) -> None:
    [p] = Search(space, strategy="bohb").ask()
    assert p.fraction == 0.1


def test_pending_promotions_are_not_made_twice(space: cs.ConfigurationSpace) -> None:
    search, task = Search(space, strategy="bohb", seed=0), Task(space, 4)
    played(search, task, 12)
    waiting = search.ask(4) + search.ask(4)
    continued = [p.continues for p in waiting if p.continues]
    assert len(set(continued)) == len(continued)


@pytest.mark.parametrize("strategy", ["tpe", "bohb"])
def test_conditions_and_forbidden_pairs_are_kept(
    space: cs.ConfigurationSpace, encoder: SpaceEncoder, strategy: str
) -> None:
    search, task = Search(space, strategy=strategy, seed=1), Task(space, 5)
    made = played(search, task, 25)
    assert all(encoder.is_legal(p.config) for p in made)
    assert any("momentum" in p.config for p in made)
    assert any("momentum" not in p.config for p in made)


@pytest.mark.parametrize("strategy", ["tpe", "bohb"])
def test_failures_alone_do_not_stop_the_search(strategy: str) -> None:
    search = Search(float_space(2), strategy=strategy, seed=0)
    for _ in range(12):
        [p] = search.ask()
        search.tell(p.id, math.nan, state="failed")
    assert len({tuple(p.config.items()) for p in search.trial_log.proposals.values()}) == 12
