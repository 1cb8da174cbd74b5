"""A search over a family of models: proxies are used, believed as far as they agree, and left."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import OptionError, Proposal
from surrogates.offline.models import OfflineModels
from surrogates.online.proxies import FAILED_TRIALS, FLOOR_TRIALS, SHARE, proxy_states
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.levels import Levels

LEVELS = {"small": 0.05, "large": 1.0}
META = {"small": {"width": 64}, "large": {"width": 128}}
SHIFT = math.log10(64 / 128)  # of the best rate, from the small model to the large one


def space() -> cs.ConfigurationSpace:
    found = cs.ConfigurationSpace(seed=0)
    found.add(
        cs.Float("sft_learning_rate", (1e-5, 1e-1), log=True, default=1e-4),
        cs.Float("decay", (0.0, 0.3), default=0.2),
        cs.Categorical("adapter", ["full", "lora"]),
    )
    return found


def score(p: Proposal, agreement: float = 1.0) -> float:
    """Best at a rate of 10^-2 on the large model, at twice that on the small one."""
    best = -2.0 - (SHIFT if p.level == "small" else 0.0)
    value = -((math.log10(p.config["sft_learning_rate"]) - best) ** 2)
    value -= 4.0 * (p.config["decay"] - 0.05) ** 2
    value -= 0.3 * (p.config["adapter"] == "lora")
    return agreement * value if p.level == "small" else value


def made(seed: int = 0, budget: float | None = 6.0, **options: Any) -> Search:
    given: dict[str, Any] = {"levels": LEVELS, "level_meta": META, "strategy": "gp"}
    return Search(space(), budget=budget, seed=seed, n_candidates=64, **given | options)


def play(search: Search, budget: float = 6.0, agreement: float = 1.0) -> list[Proposal]:
    proposals = []
    while search.trial_log.spent < budget:
        [p] = search.ask()
        proposals.append(p)
        cost = LEVELS.get(p.level, 1.0)
        search.tell(p.id, score(p, agreement), score_se=0.01, cost=cost)
    return proposals


def regret(search: Search) -> float:
    best = search.best()
    return -score(Proposal(best.id or "", best.config, 1.0, 0.0, 0.0, level="large"))


@pytest.mark.slow
def test_the_target_is_found_with_the_help_of_a_small_model() -> None:
    alone, helped = [], []
    for seed in range(3):
        helped.append(made(seed))
        play(helped[-1])
        alone.append(Search(space(), strategy="gp", budget=6.0, seed=seed, n_candidates=64))
        play(alone[-1])
    assert np.mean([*map(regret, helped)]) < 0.5 * np.mean([*map(regret, alone)])


def test_only_the_target_is_recommended_and_proxies_keep_to_their_share() -> None:
    search = made()
    proposals = play(search)
    levels = Counter(p.level for p in proposals)
    assert levels["small"] > levels["large"] > 1
    assert proposals[0].level == "large"
    assert 0 < levels["small"] * LEVELS["small"] <= SHARE * 6.0 + LEVELS["small"]
    by_id = {p.id: p for p in proposals}
    assert {by_id[each.id].level for each in search.ranking() if each.id} == {"large"}
    late = [p for p, spent in _with_spent(proposals) if spent > 0.75 * 6.0]
    assert late
    assert {p.level for p in late} == {"large"}
    table = search.observations()
    assert table["level"].tolist() == [p.level for p in proposals]
    assert search.finalist() is None


def _with_spent(proposals: list[Proposal]) -> list[tuple[Proposal, float]]:
    spent, found = 0.0, []
    for p in proposals:
        found.append((p, spent))
        spent += LEVELS[p.level]
    return found


def test_a_cheap_proxy_is_first_tried_all_over_the_space_and_no_configuration_twice() -> None:
    candidates = SpaceEncoder(space()).sample(14, seed=0)
    table = pd.DataFrame([{f"config.{k}": v for k, v in c.items()} for c in candidates])
    search = made(budget=20.0)
    proposals = []
    for _ in range(18):
        [p] = search.ask(candidates=table)
        proposals.append(p)
        search.tell(p.id, score(p), score_se=0.01, cost=LEVELS[p.level])
    assert [p.level for p in proposals] == ["large"] + ["small"] * 14 + ["large"] * 3
    small = [str(p.config) for p in proposals if p.level == "small"]
    assert len(set(small)) == len(candidates)


def test_a_proxy_that_ranks_in_reverse_is_left_and_the_reason_kept() -> None:
    search = made(seed=1)
    play(search, agreement=-1.0)
    [state] = proxy_states(search._model())
    assert state.left is not None
    assert "in reverse" in state.left
    assert state.correlation < 0.0
    assert regret(search) < 1.0


@pytest.mark.slow
def test_a_proxy_at_the_floor_is_left() -> None:
    search = made(budget=30.0)
    for _ in range(16):
        [p] = search.ask()
        value = score(p) if p.level == "large" else 0.01 * (int(p.id) % 3)
        search.tell(p.id, value, score_se=0.02, cost=LEVELS[p.level])
    [state] = proxy_states(search._model())
    assert state.left is not None
    assert "noise" in state.left
    assert state.trials == FLOOR_TRIALS


def test_saved_and_loaded_it_goes_on_the_same(tmp_path: Path) -> None:
    search = made(seed=2)
    play(search, budget=2.5)
    search.save(tmp_path)
    again = Search.load(tmp_path)
    assert again.levels == search.levels
    mine, other = play(search), play(again)
    assert [(p.id, p.level, p.config) for p in mine] == [(p.id, p.level, p.config) for p in other]
    assert json.loads((tmp_path / "search.json").read_text())["levels"]["costs"] == LEVELS


@pytest.mark.slow
def test_same_seed_same_proposals_and_pending_ones_are_not_repeated() -> None:
    first, second = made(seed=3), made(seed=3)
    for search in (first, second):
        [p] = search.ask()
        search.tell(p.id, score(p), cost=1.0)
        batch = search.ask(4)
        assert len({(p.level, str(p.config)) for p in batch}) == 4
        for p in batch:
            search.tell(p.id, score(p), score_se=0.01, cost=LEVELS[p.level])
    made_by = [[(p.level, p.config) for p in play(search, 2.6)] for search in (first, second)]
    assert made_by[0] == made_by[1]


def test_a_failed_trial_of_a_proxy_is_no_failure_of_the_target() -> None:
    search = made()
    for _ in range(12):
        [p] = search.ask()
        failed = p.level == "small" and p.config["sft_learning_rate"] > 1e-3
        search.tell(p.id, None if failed else score(p), score_se=0.01, cost=LEVELS[p.level])
    model = search._model()
    hot = [{"sft_learning_rate": 0.05, "decay": 0.1, "adapter": "full"}]
    assert model.failure_probability(hot)[0] < model.failure_probability(hot, "small")[0]


@pytest.mark.parametrize(
    ("levels", "meta", "words"),
    [
        ({"large": 1.0}, None, "two or more"),
        ({"small": 0.0, "large": 1.0}, None, "positive"),
        ({"small": 2.0, "large": 1.0}, None, "costs most"),
        ({"small": 0.1, "large": 1.0}, {"huge": {}}, "huge"),
        (None, {"small": {}}, "without levels"),
    ],
)
def test_levels_that_make_no_sense_are_refused(levels: Any, meta: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Search(space(), levels=levels, level_meta=meta)


def past(level: str = "small", count: int = 12) -> pd.DataFrame:
    configs = SpaceEncoder(space()).sample(count, seed=5)
    scores = [
        score(Proposal("", config, 1.0, 0.0, 0.0, level="small")) if i else math.nan
        for i, config in enumerate(configs)
    ]
    table = pd.DataFrame([{f"config.{k}": v for k, v in c.items()} for c in configs])
    return table.assign(model_id=level, dataset_id="d", score=scores, score_se=0.01)


def test_earlier_trials_on_a_proxy_are_known_and_not_repeated(tmp_path: Path) -> None:
    known = past()
    search = made(past=known)
    for _ in range(4):
        [p] = search.ask(candidates=known)
        search.tell(p.id, score(p), score_se=0.01, cost=LEVELS[p.level])
    # All but the failed one were tried there, so the target is all that is left, but for it.
    assert Counter(p.level for p in search.trial_log.proposals.values())["small"] <= 1
    [state] = search.proxies()
    assert state.past == len(known) - 1
    assert state.cost == pytest.approx(state.trials * LEVELS["small"])
    assert len(search.observations()) == 4
    search.save(tmp_path)
    assert str(Search.load(tmp_path).ask()) == str(search.ask())


def test_what_a_proxy_showed_before_leads_to_the_target_at_once() -> None:
    search = made(past=past(count=24), budget=3.0)
    for _ in range(2):
        [p] = search.ask()
        search.tell(p.id, score(p), score_se=0.01, cost=LEVELS[p.level])
    [p] = search.ask()
    assert abs(math.log10(p.config["sft_learning_rate"]) + 2.0) < 1.0


def test_earlier_trials_of_no_level_are_refused() -> None:
    for level in ("large", "medium"):
        with pytest.raises(OptionError, match=r"past has trials of .* the smaller levels"):
            made(past=past(level))
    with pytest.raises(OptionError, match="past has trials"):
        made(past=past(), levels=None, level_meta=None)


@pytest.mark.parametrize(("agreement", "used"), [(0.95, True), (-0.5, False)])
def test_a_history_of_the_pair_vouches_for_a_dear_proxy_or_condemns_it(
    agreement: float, used: bool
) -> None:
    offline = OfflineModels(
        SpaceEncoder(space()).columns, True, agreements={("small", "large"): (agreement,) * 4}
    )
    search = made(levels={"small": 0.3, "large": 1.0}, offline=offline, strategy="autopipe")
    [first] = search.ask()
    search.tell(first.id, score(first), score_se=0.01, cost=1.0)
    [second] = search.ask()
    assert (second.level == "small") == used
    [state] = search.proxies()
    assert (state.left is None) == used
    if not used:
        assert "was -0.50 on 4 past datasets" in str(state.left)


def test_one_past_dataset_vouches_for_nothing() -> None:
    offline = OfflineModels(
        SpaceEncoder(space()).columns, True, agreements={("small", "large"): (0.99,)}
    )
    search = made(levels={"small": 0.3, "large": 1.0}, offline=offline, strategy="autopipe")
    [first] = search.ask()
    search.tell(first.id, score(first), score_se=0.01, cost=1.0)
    assert search.ask()[0].level == "large"


def _with_proxy_trials(
    outcome: dict[str, Any], count: int = FLOOR_TRIALS + 2, **options: Any
) -> Search:
    search = made(budget=30.0, **options)
    for _ in range(count):
        [p] = search.ask()
        told = {"score": score(p)} if p.level == "large" else outcome
        search.tell(p.id, **{"score_se": 0.02, "cost": LEVELS[p.level]} | told)
    return search


def test_forecasts_of_stopped_trials_are_no_floor() -> None:
    stopped = {"score": 0.1, "fraction": 0.3, "state": "stopped"}
    search = _with_proxy_trials(stopped, FLOOR_TRIALS + 4)
    [state] = search.proxies()
    assert state.trials >= FLOOR_TRIALS
    assert state.left is None


def test_a_proxy_whose_trials_all_fail_is_left() -> None:
    search = _with_proxy_trials({"score": None, "state": "failed"})
    [state] = search.proxies()
    assert state.left == f"all its {FAILED_TRIALS} trials failed"


def test_a_proxy_that_fails_now_is_left_whatever_it_did_before() -> None:
    search = _with_proxy_trials({"score": None, "state": "failed"}, past=past())
    [state] = search.proxies()
    assert state.past > 0
    assert state.left == f"all its {FAILED_TRIALS} trials failed"


@pytest.mark.parametrize("score_se", [0.0, 0.02])
def test_a_proxy_that_gets_nothing_right_is_at_the_floor(score_se: float) -> None:
    """Without any right completion its error is 0, too."""
    search = _with_proxy_trials({"score": 0.0, "score_se": score_se})
    [state] = search.proxies()
    assert state.trials == FLOOR_TRIALS
    assert state.left == "its scores do not differ by more than their noise"


@pytest.mark.parametrize("real", [0.01, 0.2])
def test_what_a_proxy_costs_is_learned_and_spoils_nothing_of_the_target(real: float) -> None:
    search = made(budget=30.0)
    for _ in range(FLOOR_TRIALS + 3):
        [p] = search.ask(fraction=1.0)
        search.tell(p.id, score(p), score_se=0.01, cost=1.0 if p.level == "large" else real)
    [large] = search.ask(fraction=1.0, only="target")
    [small] = search.ask(fraction=1.0, only="proxies")
    assert large.expected_cost == pytest.approx(1.0, rel=0.2)
    assert small.expected_cost == pytest.approx(real, rel=0.3)


def test_proxies_alone_can_be_asked_for() -> None:
    search = made(budget=30.0)
    assert search.cheapest_proxy() == LEVELS["small"]
    [first] = search.ask()
    search.tell(first.id, score(first), score_se=0.01, cost=1.0)
    for _ in range(FLOOR_TRIALS):
        [p] = search.ask(only="proxies")
        assert p.level == "small"
        search.tell(p.id, score(p), score_se=0.01, cost=LEVELS["small"])


def test_the_target_alone_can_be_asked_for() -> None:
    search = made(budget=None)
    for number in range(5):
        [p] = search.ask(only="target" if number > 0 else None, fraction=1.0)
        assert p.level == "large"
        search.tell(p.id, score(p), score_se=0.01, cost=1.0)
    assert search.ask()[0].level == "small"


def test_names_of_meta_features_may_be_short() -> None:
    levels = Levels.of(LEVELS, {"small": {"width": 64, "log_parameters": 5.1}})
    assert levels.meta[0] == {"width": 64, "model_log_parameters": 5.1}
