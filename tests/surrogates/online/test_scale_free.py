"""Scores of any range, sign, skew and number of ties: only their order and relative gaps count."""

from __future__ import annotations

from collections.abc import Callable

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from tests.surrogates.problems import Task, make_history, mixed_space

SPACE = mixed_space()
TASK = Task(SPACE, 800, deviation=0.15)
POOL = pd.DataFrame(TASK.encoder.sample(40, seed=11))


def chosen(
    offline: OfflineModels, score: Callable[[float], float] = float, steps: int = 8
) -> list[dict]:
    """The proposals among the pool, where `score` changes the scores that are told."""
    search = Search(SPACE, dataset=TASK.meta, offline=offline, rungs=(1.0,))
    made = []
    for _ in range(steps):
        [p] = search.ask(candidates=POOL)
        search.tell(p.id, score(TASK.score(p.config)))
        made.append(p.config)
    return made


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return make_history(SPACE, tasks=5, trials=20, deviation=0.15)


@pytest.fixture(scope="module")
def offline(history: pd.DataFrame) -> OfflineModels:
    return OfflineModels.fit(history, SPACE)


@pytest.fixture(scope="module")
def plain(offline: OfflineModels) -> list[dict]:
    return chosen(offline)


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e9, -3.0)])
def test_units_of_the_task_do_not_matter(
    offline: OfflineModels, plain: list[dict], scale: float, shift: float
) -> None:
    assert chosen(offline, lambda y: scale * (y + shift)) == plain


def test_units_of_past_tasks_do_not_matter(history: pd.DataFrame, plain: list[dict]) -> None:
    """Each past task in units of its own: accuracies beside losses beside sums of money."""
    number = history["dataset_id"].str.removeprefix("task").astype(int)
    moved = history.assign(score=history["score"] * 10.0 ** (3 * number - 6) - 7.0 * number)
    assert chosen(OfflineModels.fit(moved, SPACE)) == plain


@pytest.mark.parametrize(
    "skew",
    [
        lambda y: float(np.exp(3 * y)),
        lambda y: -float(np.exp(-4 * y)),
        lambda y: round(y, 0),  # mostly ties
        lambda y: 0.25,  # nothing but ties
        lambda y: y if y > -0.5 else -1e12,  # a disaster among sane ones
    ],
)
@pytest.mark.parametrize("strategy", ["autopipe", "gp"])
def test_any_shape_of_scores_is_searched(
    offline: OfflineModels, skew: Callable[[float], float], strategy: str
) -> None:
    search = Search(
        SPACE, dataset=TASK.meta, offline=offline, strategy=strategy, n_candidates=64, n_initial=3
    )
    seen = set()
    for _ in range(7):
        [p] = search.ask()
        assert np.isfinite(p.expected_score) or not seen
        seen.add(search.encoder.key(p.config))
        search.tell(p.id, skew(TASK.score(p.config)))
    assert len(seen) == 7
    assert np.isfinite(search.best().score)


def test_a_first_batch_that_fails_is_left_behind(offline: OfflineModels) -> None:
    """NaN scores are failures: the search goes on elsewhere, and recommends what worked."""
    search = Search(SPACE, dataset=TASK.meta, offline=offline, n_candidates=64)
    first = search.ask(5)
    for p in first:
        search.tell(p.id, float("nan"))
    for _ in range(4):
        [p] = search.ask()
        search.tell(p.id, TASK.score(p.config))
    failed = {search.encoder.key(p.config) for p in first}
    assert search.encoder.key(search.best().config) not in failed


def test_the_same_configuration_told_twice_counts_as_one() -> None:
    space = cs.ConfigurationSpace({"a": ["x", "y"], "b": ["u", "v"]}, seed=0)
    search = Search(space, strategy="gp", seed=0)
    rng = np.random.default_rng(0)
    for _ in range(12):  # four configurations, three times each
        [p] = search.ask()
        score = {"x": 1.0, "y": 0.0}[p.config["a"]] + 0.3 * rng.normal()
        search.tell(p.id, score, score_se=0.3)
    assert search.best().config["a"] == "x"
