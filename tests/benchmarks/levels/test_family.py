"""One table for all models: same candidates, costs in trials of the target."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.levels.family import MODELS, families
from benchmarks.replay.tables import Query
from tests.benchmarks.levels.small_family import CANDIDATES, encoder, family, rows


def test_the_candidates_are_those_that_every_model_was_trained_with():
    made = family()
    keys = [[encoder().key(c) for c in made.tables[model].configs] for model in MODELS]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == CANDIDATES
    assert families(rows()) == ["d0"]


def test_costs_are_in_mean_trials_of_the_target():
    costs = family().relative_costs(MODELS)
    assert costs["tiny-4m"] == pytest.approx(1.0)
    assert costs["tiny-100k"] < 0.04 < costs["tiny-1m"] < 0.4


def test_regret_is_in_standard_deviations_of_the_target():
    final, regrets = family().target.final, family().regrets()
    assert regrets.min() == 0.0
    assert final[0] + regrets[0] * final.std() == pytest.approx(final.max())


def test_a_score_of_the_target_is_exact_and_one_of_a_proxy_has_its_error():
    made = family()
    query, outcome = made.outcome("tiny-1m", Query(3))
    assert query.fraction == 1.0
    assert outcome.score == made.tables["tiny-1m"].final[3]
    assert outcome.score_se == 0.01
    assert made.outcome("tiny-4m", Query(3))[1].score_se < 1e-5


def test_shuffled_proxies_have_the_same_scores_in_another_order_and_the_target_its_own():
    true, shuffled = family(), family("shuffled")
    assert np.array_equal(true.target.final, shuffled.target.final)
    assert true.target.configs == shuffled.tables["tiny-1m"].configs
    for model in MODELS[:-1]:
        ours, theirs = true.tables[model].scores, shuffled.tables[model].scores
        assert not np.array_equal(ours, theirs)
        assert np.array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))


def test_reversed_proxies_rank_the_other_way_round():
    true, reversed_ = family(), family("reversed")
    assert np.array_equal(true.target.final, reversed_.target.final)
    for model in MODELS[:-1]:
        ours, theirs = true.tables[model].final, reversed_.tables[model].final
        assert np.allclose(ours + theirs, ours.min() + ours.max())


def test_a_seed_draws_its_candidates_with_the_first_one_always_among_them():
    made = family()
    drawn = [made.drawn(8, seed) for seed in (0, 0, 1)]
    keys = [[encoder().key(c) for c in each.configs] for each in drawn]
    assert keys[0] == keys[1] != keys[2]
    assert {len(each.configs) for each in drawn} == {8}
    assert all(each[0] == encoder().key(made.configs[0]) for each in keys)
    for model in MODELS:
        scores = dict(zip(map(encoder().key, made.configs), made.tables[model].final, strict=True))
        found = drawn[2].tables[model]
        assert [scores[encoder().key(c)] for c in found.configs] == found.final.tolist()
    assert drawn[2].target.mean_cost == pytest.approx(1.0)
