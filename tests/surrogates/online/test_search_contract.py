"""The contract of `Search`, run over every strategy."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Configuration

from surrogates.core.base import (
    AlreadyToldError,
    NothingToRecommendError,
    OptionError,
    Proposal,
    SurrogateError,
    UnknownProposalError,
)
from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.options import STRATEGIES
from tests.surrogates.problems import Task, float_space

SMALL = {"n_candidates": 128}
LEVELS = {"small": 0.05, "large": 1.0}


@pytest.fixture(params=STRATEGIES)
def options(request: pytest.FixtureRequest, offline: OfflineModels) -> dict[str, Any]:
    return {"strategy": request.param, "offline": offline, "rungs": (1.0,), **SMALL}


@pytest.fixture(scope="module")
def mirrored(history: pd.DataFrame, space: cs.ConfigurationSpace) -> OfflineModels:
    return OfflineModels.fit(history.assign(score=-history["score"]), space, maximize=False)


def drive(search: Search, task: Task, steps: int, batch: int = 1) -> list[Proposal]:
    """Ask and tell; returns all proposals."""
    made = []
    for _ in range(steps):
        proposals = search.ask(batch)
        for p in proposals:
            search.tell(p.id, task.score(p.config), cost=p.fraction)
        made += proposals
    return made


class TestContract:
    def test_same_seed_same_proposals(
        self, space: cs.ConfigurationSpace, options: dict[str, Any]
    ) -> None:
        task = Task(space, 50)
        runs = [drive(Search(space, seed=s, **options), task, 4, 2) for s in (1, 1, 2)]
        assert runs[0] == runs[1] or _equal(runs[0], runs[1])
        assert [p.config for p in runs[0]] != [p.config for p in runs[2]]
        assert [p.id for p in runs[0]] == [f"{i:04d}" for i in range(1, 9)]

    def test_saved_and_loaded_search_goes_on_the_same(
        self, space: cs.ConfigurationSpace, options: dict[str, Any], tmp_path: Path
    ) -> None:
        task = Task(space, 51)
        search = Search(space, dataset=task.meta, budget=20.0, seed=3, **options)
        drive(search, task, 4)
        search.ask(2)  # pending ones are part of the state
        search.save(tmp_path)
        loaded = Search.load(tmp_path)
        assert _equal(drive(search, task, 3), drive(loaded, task, 3))
        assert search.best() == loaded.best()
        pd.testing.assert_frame_equal(search.observations(), loaded.observations())

    def test_configs_are_legal_plain_and_distinct_and_one_is_recommended(
        self, space: cs.ConfigurationSpace, options: dict[str, Any], encoder: SpaceEncoder
    ) -> None:
        search = Search(space, seed=0, **options)
        made = drive(search, Task(space, 52), 4, batch=3)
        best = search.best()
        assert best.config in [p.config for p in made]
        assert best.score_se >= 0
        for p in made:
            Configuration(space, values=p.config).check_valid_configuration()
            assert all(type(v) in (int, float, str, bool) for v in p.config.values())
            assert p.fraction == 1.0
            assert p.expected_cost > 0
        assert len({encoder.key(p.config) for p in made}) == len(made)

    def test_asking_again_before_telling(
        self, space: cs.ConfigurationSpace, options: dict[str, Any], encoder: SpaceEncoder
    ) -> None:
        search = Search(space, seed=0, **options)
        drive(search, Task(space, 53), 3)
        waiting = search.ask() + search.ask() + search.ask(2)
        assert len({encoder.key(p.config) for p in waiting}) == 4
        for p in reversed(waiting):
            search.tell(p.id, 0.0)

    def test_failures_are_tolerated_and_never_recommended(
        self, space: cs.ConfigurationSpace, options: dict[str, Any]
    ) -> None:
        task, failed = Task(space, 54), set()
        search = Search(space, seed=0, **options)
        for i in range(9):
            [p] = search.ask()
            if i % 3 == 0:
                failed.add(p.id)
                search.tell(p.id, math.nan, state="completed" if i else "failed")
            else:
                search.tell(p.id, task.score(p.config))
        best = search.best()
        assert best.id is not None
        assert best.id not in failed
        assert math.isfinite(best.score)
        table = search.observations().set_index("id")
        assert set(table.index[table["state"] == "failed"]) == failed

    def test_minimising_mirrors_maximising(
        self, space: cs.ConfigurationSpace, options: dict[str, Any], mirrored: OfflineModels
    ) -> None:
        task = Task(space, 55)
        up = Search(space, seed=0, **options)
        down = Search(space, seed=0, maximize=False, **(options | {"offline": mirrored}))
        for _ in range(4):
            [p], [q] = up.ask(), down.ask()
            assert p.config == q.config
            up.tell(p.id, task.score(p.config))
            down.tell(q.id, -task.score(q.config))
        assert up.best().config == down.best().config
        assert up.best().score == pytest.approx(-down.best().score)

    def test_only_the_candidates_are_proposed(
        self, space: cs.ConfigurationSpace, options: dict[str, Any], encoder: SpaceEncoder
    ) -> None:
        configs = encoder.sample(10, seed=9)
        table = pd.DataFrame(configs).add_prefix("config.")
        search, task, made = Search(space, seed=0, **options), Task(space, 56), []
        for _ in range(6):
            for p in search.ask(2, candidates=table):
                search.tell(p.id, task.score(p.config))
                made.append(encoder.key(p.config))
        allowed = {encoder.key(c) for c in configs}
        assert set(made[:10]) == allowed  # every one before any repeat
        assert set(made) == allowed

    def test_a_finite_space_is_exhausted_before_repeating(self, options: dict[str, Any]) -> None:
        tiny = cs.ConfigurationSpace(seed=0)
        tiny.add(cs.Categorical("a", ["x", "y"]), cs.Integer("b", (1, 3)))
        options = options | {"offline": None}
        search = Search(tiny, seed=0, **options)
        made = []
        for _ in range(8):
            [p] = search.ask()
            search.tell(p.id, float(p.config["b"]))
            made.append((p.config["a"], p.config["b"]))
        assert len(set(made[:6])) == 6
        assert search.best().config["b"] == 3


def _equal(a: list[Proposal], b: list[Proposal]) -> bool:
    """Equality that lets NaN equal NaN."""
    return repr(a) == repr(b)


def test_unknown_and_impossible_options_are_refused(space: cs.ConfigurationSpace) -> None:
    with pytest.raises(OptionError, match="Did you mean 'strategy'"):
        Search(space, stratgy="gp")
    with pytest.raises(OptionError, match="'autopipe', 'random'"):
        Search(space, strategy="magic")
    with pytest.raises(OptionError, match="budget"):
        Search(space, budget=0.0)
    with pytest.raises(OptionError, match="rungs"):
        Search(space, rungs=(0.0, 1.0))
    search = Search(space, strategy="random")
    with pytest.raises(OptionError, match="at least 1"):
        search.ask(0)
    with pytest.raises(OptionError, match="lacks columns"):
        search.ask(candidates=pd.DataFrame({"lr": [1e-3]}))
    with pytest.raises(SurrogateError, match="no search in"):
        Search.load("/nonexistent")


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"autopipe", "gp"}))
def test_levels_are_refused_where_nothing_would_use_them(
    space: cs.ConfigurationSpace, strategy: str
) -> None:
    with pytest.raises(OptionError, match=f"'{strategy}' has no use for levels; .*'autopipe' or"):
        Search(space, levels=LEVELS, strategy=strategy)
    assert not Search(space, strategy=strategy).levels.proxies


def test_a_budget_in_trials_is_refused_with_levels(space: cs.ConfigurationSpace) -> None:
    with pytest.raises(OptionError, match=r"costs a fraction of one.*price='share'"):
        Search(space, levels=LEVELS, price="flat", budget=12)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("level", "levels"), ("levels_meta", "level_meta"), ("pasts", "past")]
)
def test_options_of_levels_are_known_to_the_hint(
    space: cs.ConfigurationSpace, wrong: str, meant: str
) -> None:
    with pytest.raises(OptionError, match=f"Did you mean '{meant}'.* levels, level_meta, past"):
        Search(space, **{wrong: LEVELS})


def test_tell_checks_what_it_is_told(space: cs.ConfigurationSpace) -> None:
    search = Search(space, strategy="random")
    with pytest.raises(UnknownProposalError, match="0001"):
        search.tell("0001", 1.0)
    [p] = search.ask()
    for wrong in ({"fraction": 0.0}, {"cost": -1.0}, {"score_se": -1.0}, {"state": "done"}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            search.tell(p.id, 1.0, **wrong)
    search.tell(p.id, 1.0)
    with pytest.raises(AlreadyToldError, match="told before"):
        search.tell(p.id, 2.0)


def test_best_without_knowledge_says_so(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    search = Search(space)
    with pytest.raises(NothingToRecommendError, match="ask"):
        search.best()
    [p] = search.ask()
    search.tell(p.id, None, state="failed")
    with pytest.raises(NothingToRecommendError):
        search.best()
    informed = Search(space, offline=offline).best()
    assert informed.id is None
    assert math.isfinite(informed.score)


def test_best_says_when_only_smaller_levels_have_scores(space: cs.ConfigurationSpace) -> None:
    search = Search(space, levels=LEVELS, n_candidates=16)
    [first] = search.ask()
    search.tell(first.id, None, state="failed")
    with pytest.raises(NothingToRecommendError, match="no trial has a score yet"):
        search.best()
    [small] = search.ask()
    assert small.level == "small"
    search.tell(small.id, 0.5, cost=0.05)
    with pytest.raises(NothingToRecommendError, match="'large', and only smaller levels have"):
        search.best()


def test_the_lucky_number_is_not_recommended() -> None:
    """Ten noisy looks at a good region beat one lucky look elsewhere."""
    search = Search(float_space(1), strategy="random", seed=0)
    table = pd.DataFrame({"x00": [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.2, 0.21, 0.22, 0.23]})
    scores = {0.2: 1.1, 0.21: -0.9, 0.22: -1.1, 0.23: -1.0}
    for p in search.ask(10, candidates=table):
        search.tell(p.id, scores.get(p.config["x00"], 1.0), score_se=1.0)
    assert search.best().config["x00"] >= 0.7


def test_the_third_trial_with_a_history_is_the_default(
    space: cs.ConfigurationSpace, encoder: SpaceEncoder, offline: OfflineModels
) -> None:
    first = Search(space, offline=offline, rungs=(1.0,)).ask(3)
    assert [p.config == encoder.default() for p in first] == [False, False, True]


def test_the_first_trials_weigh_cost(
    space: cs.ConfigurationSpace, encoder: SpaceEncoder, offline: OfflineModels
) -> None:
    def cost(**options: tuple[str, ...]) -> float:
        """Real mean cost of the first two trials on six draws of candidates."""
        task, found = Task(space, 0), []
        for seed in range(6):
            search = Search(space, offline=offline, rungs=(1.0,), **options)
            candidates = pd.DataFrame(encoder.sample(30, seed=seed))
            found += [task.cost(p.config) for p in search.ask(2, candidates=candidates)]
        return float(np.mean(found))

    assert cost() < 0.95 * cost(ablate=("cost",))


def test_the_first_proposals_without_history_hold_the_default(
    space: cs.ConfigurationSpace, encoder: SpaceEncoder
) -> None:
    first = Search(space, seed=5).ask(6)
    assert first[0].config == encoder.default()
    assert math.isnan(first[0].expected_score)


def test_torch_is_left_as_it_was(space: cs.ConfigurationSpace) -> None:
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state()
    search = Search(space, strategy="gp", n_threads=2, n_initial=2, **SMALL)
    drive(search, Task(space, 0), 4)
    assert torch.get_num_threads() == before[0]
    assert torch.get_default_dtype() == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_the_global_generator_does_not_matter(space: cs.ConfigurationSpace) -> None:
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        search = Search(space, strategy="gp", seed=4, n_initial=2, **SMALL)
        runs.append(drive(search, Task(space, 0), 5))
    assert _equal(*runs)


def test_a_fresh_process_goes_on_the_same(
    space: cs.ConfigurationSpace, offline: OfflineModels, tmp_path: Path
) -> None:
    task = Task(space, 58)
    search = Search(space, dataset=task.meta, seed=1, offline=offline, rungs=(1.0,), **SMALL)
    drive(search, task, 4)
    search.save(tmp_path)
    code = (
        f"from surrogates.online.search import Search; print(Search.load({str(tmp_path)!r}).ask(2))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == repr(search.ask(2))


def test_a_state_with_the_earlier_name_of_an_option_is_read(
    space: cs.ConfigurationSpace, tmp_path: Path
) -> None:
    Search(space, strategy="gp", ablate=("cost",)).save(tmp_path)
    file = tmp_path / "search.json"
    file.write_text(file.read_text().replace('"ablate"', '"without"'))
    assert Search.load(tmp_path).options.ablate == ("cost",)
