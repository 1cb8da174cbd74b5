"""Runs that begin alike: no trial is made only to measure what is known, and none says too much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import Config, OptionError, Proposal
from surrogates.offline.models import OfflineModels
from surrogates.online.rungs import rung_value
from surrogates.online.search import Search
from surrogates.online.strategies import INITIAL_WITH_HISTORY
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.stages import SharedStages, Stage, distinct_rung
from tests.surrogates.problems import Task

FIRST = ("optimizer", "batch", "momentum")
BORDER = 0.4


def two_stages(config: Config) -> Sequence[Stage]:
    """Optimizer, batch and momentum are of the first stage, the others of the second."""
    key = tuple((name, config.get(name)) for name in FIRST)
    names = frozenset(FIRST)
    return [
        Stage(BORDER, key, names),
        Stage(1.0, tuple(sorted(config.items())), names | frozenset(config)),
    ]


def outcome(task: Task, p: Proposal) -> dict:
    """What a trial of two stages tells: the early score is of the first stage's settings alone."""
    if p.fraction > BORDER:
        score, signals = task.partial(p.config, p.fraction)
        return {"score": score, "signals": signals, "fraction": p.fraction}
    begun = task.encoder.default() | {n: p.config[n] for n in FIRST if n in p.config}
    score, signals = task.partial(task.encoder.activate(begun), p.fraction)
    return {"score": score, "signals": signals, "fraction": p.fraction}


def test_what_runs_have_in_common(encoder: SpaceEncoder) -> None:
    shared_stages = SharedStages(encoder, two_stages)
    one = encoder.default()
    late, early = one | {"lr": 0.05}, one | {"batch": 64}
    configs = [one, late, early]
    assert shared_stages.shared_fraction(configs, [(one, 0.2)]).tolist() == [0.2, 0.2, 0.0]
    assert shared_stages.shared_fraction(configs, [(one, 1.0)]).tolist() == [1.0, BORDER, 0.0]
    both = [(late, 0.7), (one, 0.1)]
    assert shared_stages.shared_fraction(configs, both).tolist() == [BORDER, 0.7, 0.0]
    assert shared_stages.shared_fraction(configs, []).tolist() == [0.0] * 3


def test_a_score_is_given_to_what_has_begun(encoder: SpaceEncoder) -> None:
    shared_stages, default = SharedStages(encoder, two_stages), encoder.default()
    config = encoder.activate(default | {"lr": 0.05, "batch": 64, "decay": 0.2})
    assert shared_stages.canonical(config, 0.3) == encoder.activate(default | {"batch": 64})
    assert shared_stages.canonical(config, 0.5) == config
    assert SharedStages(encoder, None).canonical(config, 0.1) == config


@pytest.mark.parametrize("ends", [[], [0.5], [0.5, 0.4, 1.0], [0.0, 1.0], [0.5, 1.5]])
def test_stages_that_make_no_run_are_refused(encoder: SpaceEncoder, ends: list[float]) -> None:
    told = [Stage(end, "k", frozenset()) for end in ends]
    with pytest.raises(OptionError, match="expected rising shares, the last one 1"):
        SharedStages(encoder, lambda config: told).stages(encoder.default())


@pytest.mark.parametrize(
    ("planned", "known", "expected"),
    [
        (0.1, 0.0, 0.1),  # nothing is known of it
        (0.1, 0.1, 0.25),
        (0.25, 0.1, 0.25),
        (0.25, 0.2, 0.5),  # hardly anything of it would be its own at 0.25
        (0.25, 0.4, 0.5),
        (0.25, 0.45, 1.0),
        (1.0, 0.9, 1.0),
    ],
)
def test_a_trial_is_stopped_where_its_score_is_its_own(
    planned: float, known: float, expected: float
) -> None:
    assert distinct_rung(planned, [0.1, 0.25, 0.5], known) == expected


@pytest.mark.parametrize("strategy", ["autopipe", "bohb", "gp", "random", "ranker", "sobol", "tpe"])
def test_no_trial_is_proposed_where_its_score_is_known(
    space: cs.ConfigurationSpace, offline: OfflineModels, strategy: str
) -> None:
    """Also beside trials that run; and it is told apart from what was asked before, not after."""
    task = Task(space, 71)
    search = Search(
        space, dataset=task.meta, offline=offline, strategy=strategy, stages=two_stages,
        n_candidates=64, seed=3,
    )  # fmt: skip
    asked: list[Proposal] = []
    shared_stages = SharedStages(task.encoder, two_stages)
    for _ in range(5):
        proposals = search.ask(2)
        for p in proposals:
            if p.kind == "new":
                runs = [(other.config, other.fraction) for other in asked]
                assert shared_stages.shared_fraction([p.config], runs)[0] < p.fraction
            asked.append(p)
        for p in proposals:
            search.tell(
                p.id, **outcome(task, p), state="stopped" if p.fraction < 1 else "completed"
            )


def planned(search: Search, candidates: list[Config]) -> Proposal:
    [proposal] = search.ask(1, candidates=pd.DataFrame(candidates))
    return proposal


def test_what_differs_later_only_runs_to_where_it_does(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """Without knowing of stages the trial would end where the first one did, with its score."""
    task, default = Task(space, 72), Task(space, 72).encoder.default()
    for stages, expected in ((None, 0.25), (two_stages, 0.5)):
        search = Search(
            space, dataset=task.meta, offline=offline, stages=stages, rungs=(0.25, 0.5, 0.9),
            n_candidates=64,
        )  # fmt: skip
        first = planned(search, [default])
        assert first.fraction < 0.5
        search.tell(first.id, **outcome(task, first), state="stopped")
        later = planned(search, [default | {"lr": 0.03}])
        assert later.fraction == (first.fraction if stages is None else expected)


def test_candidates_that_only_repeat_a_run_come_last(space: cs.ConfigurationSpace) -> None:
    """Where a run never uses some setting, its values are one configuration."""

    def alone(config: Config) -> Sequence[Stage]:
        used = {name: value for name, value in config.items() if name != "decay"}
        return [Stage(1.0, tuple(sorted(used.items())), frozenset(used))]

    search = Search(space, strategy="random", stages=alone)
    default = Task(space, 1).encoder.default()
    same = [default | {"decay": d} for d in (0.1, 0.2)]
    other = default | {"lr": 0.05}
    first = planned(search, same[:1])
    search.tell(first.id, 0.5)
    assert planned(search, [same[1], other]).config == other


def test_one_measurement_of_a_shared_beginning_counts_once(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """An early score moves the belief on settings of a later stage for all of them alike."""
    task = Task(space, 73)
    default = task.encoder.default()
    searches = []
    for copies in (1, 4):
        search = Search(space, dataset=task.meta, offline=offline, stages=two_stages)
        for config in (default, default | {"batch": 16}, default | {"batch": 32}):
            [p] = search.ask(1, candidates=pd.DataFrame([config]), fraction=1.0)
            search.tell(p.id, task.score(p.config), score_se=0.02)
        for number in range(copies):
            config = default | {"batch": 64, "lr": (0.001, 0.01, 0.05, 0.1)[number]}
            [p] = search.ask(1, candidates=pd.DataFrame([config]), fraction=0.25)
            search.tell(p.id, **outcome(task, p), score_se=0.02, state="stopped")
        searches.append(search)
    probes = [default | {"batch": 64, "lr": lr} for lr in (0.0005, 0.02)]
    one, four = (s._model().predict(probes) for s in searches)
    np.testing.assert_allclose(one[0], four[0], rtol=1e-6)
    np.testing.assert_allclose(one[1], four[1], rtol=1e-6)


def test_a_saved_search_goes_on_the_same_with_its_stages(
    tmp_path: Path, space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    task = Task(space, 74)
    search = Search(
        space, dataset=task.meta, offline=offline, stages=two_stages, n_candidates=64, seed=1
    )
    for _ in range(INITIAL_WITH_HISTORY + 2):
        [p] = search.ask()
        state = "stopped" if p.fraction < 1 else "completed"
        search.tell(p.id, **outcome(task, p), state=state, start=0.0)
    search.save(tmp_path)
    again = Search.load(tmp_path, stages=two_stages)
    assert again.ask(2) == search.ask(2)
    with pytest.raises(OptionError, match="stages="):
        Search.load(tmp_path)


def test_what_others_ran_is_no_part_of_the_cost(space: cs.ConfigurationSpace) -> None:
    search = Search(space, strategy="gp", stages=two_stages, rungs=(1.0,))
    default = SpaceEncoder(space).default()
    first = planned(search, [default])
    search.tell(first.id, 0.5, cost=10.0)
    later = planned(search, [default | {"lr": 0.03}])
    assert later.expected_cost == pytest.approx(10.0 * (1.0 - BORDER), rel=0.2)
    search.tell(later.id, 0.6, cost=6.0, start=BORDER)
    assert search.trial_log.full_length_costs[-1][1] == pytest.approx(10.0)


def test_where_every_trial_costs_the_same_none_is_stopped_early(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """A budget that counts trials buys most when each of them runs to its end."""
    task = Task(space, 75)
    by_price = {}
    for price in ("share", "flat"):
        search = Search(space, dataset=task.meta, offline=offline, price=price, n_candidates=64)
        by_price[price] = search.ask(3)
    assert min(p.fraction for p in by_price["share"]) < 1.0
    assert [p.fraction for p in by_price["flat"]] == [1.0] * 3
    for fraction in (0.1, 0.5, 0.9):
        assert rung_value(fraction, 1.0, flat=True) < rung_value(1.0, 1.0, flat=True)
    with pytest.raises(OptionError, match="price='free': Input should be 'share' or 'flat'"):
        Search(space, price="free")
