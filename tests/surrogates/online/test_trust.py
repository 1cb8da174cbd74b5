"""Trust in the history is earned: good, useless, wrong, foreign and thin histories, and none."""

from __future__ import annotations

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from tests.surrogates.problems import Task, make_history, mixed_space

STEPS = 12
TASKS = range(700, 706)


@pytest.fixture(scope="module")
def mixed() -> cs.ConfigurationSpace:
    return mixed_space()


def past(space: cs.ConfigurationSpace, kind: str) -> pd.DataFrame | None:
    """A history for tasks that deviate by 0.1 from a shared optimum."""
    rng = np.random.default_rng(0)
    good = make_history(space, tasks=8, trials=25, deviation=0.1)
    match kind:
        case "none":
            return None
        case "good":
            return good
        case "shuffled":
            return good.assign(
                score=good.groupby("dataset_id")["score"].transform(rng.permutation).to_numpy()
            )
        case "inverted":
            return make_history(space, tasks=8, trials=25, deviation=0.1, invert=True)
        case "foreign":  # another space's: a column of ours is missing, two are unknown to it
            return good.drop(columns="config.decay").assign(
                **{"config.dropout": rng.random(len(good)), "config.rank": 8}
            )
        case "one dataset":
            return good[good["dataset_id"] == "task0"]
    raise AssertionError(kind)


def regrets(space: cs.ConfigurationSpace, kind: str, strategy: str = "autopipe") -> np.ndarray:
    """Gap of the recommendation after each trial, `tasks x STEPS`, in sd over the space."""
    table = past(space, kind)
    offline = None if table is None else OfflineModels.fit(table, space)
    out = []
    for seed in TASKS:
        task = Task(space, seed, deviation=0.1)
        over = np.array([task.score(c) for c in task.encoder.sample(2000, seed=7)])
        search = Search(
            space, dataset=task.meta, offline=offline, strategy=strategy, seed=seed,
            rungs=(1.0,), n_candidates=200,
        )  # fmt: skip
        row = []
        for _ in range(STEPS):
            [p] = search.ask()
            search.tell(p.id, task.score(p.config))
            row.append((over.max() - task.score(search.best().config)) / over.std())
        out.append(row)
    return np.array(out)


@pytest.fixture(scope="module")
def alone(mixed: cs.ConfigurationSpace) -> np.ndarray:
    return regrets(mixed, "none", "gp")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "share"), [("good", 0.6), ("foreign", 0.85)])
def test_a_good_history_helps_from_the_first_trial_on(
    mixed: cs.ConfigurationSpace, alone: np.ndarray, kind: str, share: float
) -> None:
    found = regrets(mixed, kind)
    assert found[:, :4].mean() < share * alone[:, :4].mean()
    assert found[:, -1].mean() < alone[:, -1].mean() + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shuffled", "inverted", "one dataset"])
def test_a_misleading_history_is_overcome(
    mixed: cs.ConfigurationSpace, alone: np.ndarray, kind: str
) -> None:
    """From a third of the trials on within a tenth of a standard deviation of no history."""
    found = regrets(mixed, kind)
    assert found[:, STEPS // 3 :].mean() < alone[:, STEPS // 3 :].mean() + 0.1


def test_without_a_history_it_is_the_search_that_needs_none(mixed: cs.ConfigurationSpace) -> None:
    task = Task(mixed, 700)
    ours, gp = (Search(mixed, strategy=s, seed=3, n_candidates=64) for s in ("autopipe", "gp"))
    for _ in range(10):
        [a], [b] = ours.ask(), gp.ask()
        assert a.config == b.config
        ours.tell(a.id, task.score(a.config))
        gp.tell(b.id, task.score(b.config))


def test_what_the_history_showed_decides_how_much_it_counts(mixed: cs.ConfigurationSpace) -> None:
    priors = {}
    for kind in ("good", "shuffled", "one dataset"):
        table = past(mixed, kind)
        prior = OfflineModels.fit(table, mixed).mean_prior
        priors[kind] = prior.rho if prior else 0.0
    assert priors["good"] > 0.5
    assert priors["shuffled"] < 0.2
    assert priors["one dataset"] < priors["good"]
