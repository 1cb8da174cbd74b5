"""Judging: what is left out stays out, perfect is perfect, chance is chance."""

from __future__ import annotations

from dataclasses import replace

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import HistoryError
from surrogates.evaluation.baselines import (
    BASELINES,
    greedy_portfolio,
    mean_rank,
    nearest_dataset,
    random_order,
)
from surrogates.evaluation.leave_one_out import (
    RANKING_METRICS,
    evaluate_early,
    evaluate_features,
    evaluate_ranker,
    gains,
    leave_one_dataset_out,
    ranking_methods,
    summarise,
)
from surrogates.history.outcomes import CandidateTrials, Method, ObservedTrials, Trials
from surrogates.history.table import read_history
from surrogates.offline.boosting import Boosted
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import make_history

METHODS: dict[str, Method] = {
    "ranker": Boosted("QueryRMSE", 20),
    "yeti": Boosted("YetiRank", 20),
    "pairs": Boosted("PairLogit", 20),
    "softmax": Boosted("QuerySoftMax", 20),
    "pointwise": Boosted("RMSE", 20),
    "ensemble": Boosted("QueryRMSE", 20, members=5),
    **BASELINES,
}


@pytest.fixture(scope="module")
def finals(history: pd.DataFrame) -> pd.DataFrame:
    """Five datasets, the first of them on two model sizes."""
    table = history[history["fraction"] == 1.0].copy()
    table["model_id"] = np.where(table["dataset_id"] == "task1", "large", "small")
    return table.replace({"dataset_id": {"task1": "task0"}}).reset_index(drop=True)


@pytest.fixture(scope="module")
def trials(finals: pd.DataFrame, encoder: SpaceEncoder) -> Trials:
    rows = read_history(finals, encoder)
    return Trials.of(rows, encoder)


def oracle(trials: Trials, sign: float = 1.0) -> Method:
    """Knows the outcome by the configuration."""
    known = {tuple(c): sign * s for c, s in zip(trials.cube, trials.score, strict=True)}
    return lambda past, new, seed: np.array([known[tuple(c)] for c in new.cube])


def test_a_perfect_ranker_is_perfect_and_its_opposite_is_worst(trials: Trials) -> None:
    best = leave_one_dataset_out(trials, oracle(trials))
    assert len(best) == 6
    assert best["kendall_tau"].to_numpy() == pytest.approx(1.0)
    assert best["ndcg5"].to_numpy() == pytest.approx(1.0)
    assert (best[["regret1", "regret3", "regret5"]] == 0.0).all(axis=None)
    worst = leave_one_dataset_out(trials, oracle(trials, -1.0))
    assert worst["kendall_tau"].to_numpy() == pytest.approx(-1.0)
    assert (worst["regret1"] == 1.0).all()


def test_chance_has_no_skill(trials: Trials) -> None:
    table = leave_one_dataset_out(trials, random_order)
    assert table["kendall_tau"].abs().max() < 0.12
    assert table["pearson"].abs().max() < 0.15
    assert (table["regret1"] > table["regret3"]).all()


def test_a_dataset_is_left_out_on_every_model_size(trials: Trials) -> None:
    seen = []

    def spy(past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
        seen.append((set(past.group), set(new.group)))
        assert not {"score", "normal", "standardised"} & set(vars(new))
        return np.zeros(len(new.cube))

    leave_one_dataset_out(trials, spy)
    assert len(seen) == 5
    assert ({"task0 | small", "task0 | large"}) in [new for _, new in seen]
    for past, new in seen:
        assert not {g.split(" | ")[0] for g in past} & {g.split(" | ")[0] for g in new}
        assert past | new == set(trials.group)


@pytest.mark.parametrize("name", METHODS)
def test_scores_of_a_dataset_left_out_change_nothing(name: str, trials: Trials) -> None:
    """A canary: its scores are turned round, on one size; its forecasts must not notice."""
    method = METHODS[name]
    turned = trials.group == "task0 | large"
    flip = np.where(turned, -1.0, 1.0)
    other = replace(
        trials,
        score=flip * trials.score,
        normal=flip * trials.normal,
        standardised=flip * trials.standardised,
    )
    own = trials.dataset == "task0"
    before = method(trials.observed(~own), trials.candidates(own), 0)
    assert np.array_equal(before, method(other.observed(~own), other.candidates(own), 0))
    evaluated = [leave_one_dataset_out(t, method).set_index("group") for t in (trials, other)]
    tau = [t.loc["task0 | large", "kendall_tau"] for t in evaluated]
    assert tau[0] == pytest.approx(-tau[1], abs=1e-9)
    if name != "random":  # on the other datasets they are seen, so the canary can sing
        rest = trials.dataset == "task2"
        changed = method(other.observed(~rest), other.candidates(rest), 0)
        heard = not np.array_equal(
            method(trials.observed(~rest), trials.candidates(rest), 0), changed
        )
        assert heard or name == "nearest dataset"  # which may not be the nearest


@pytest.mark.parametrize("name", METHODS)
def test_unit_and_level_of_a_dataset_do_not_matter(
    name: str, finals: pd.DataFrame, space: cs.ConfigurationSpace
) -> None:
    moved = finals.copy()
    number = moved["dataset_id"].str.removeprefix("task").astype(int)
    moved["score"] = moved["score"] * 4.0 ** (number - 2) + 16.0 * number
    methods = {name: METHODS[name]}
    before, after = (evaluate_ranker(t, space, methods=methods) for t in (finals, moved))
    for metric in RANKING_METRICS:
        np.testing.assert_allclose(before[metric], after[metric], atol=1e-9)


def test_order_metrics_see_the_order_alone(
    finals: pd.DataFrame, space: cs.ConfigurationSpace
) -> None:
    bent = finals.assign(score=np.exp(finals["score"]))
    methods = {"ranker": METHODS["ranker"], "portfolio": mean_rank}
    before, after = (evaluate_ranker(t, space, methods=methods) for t in (finals, bent))
    np.testing.assert_allclose(before["kendall_tau"], after["kendall_tau"], atol=1e-9)
    assert not np.allclose(before["ndcg5"], after["ndcg5"])


@pytest.mark.slow
def test_less_is_better_where_it_is_said(
    finals: pd.DataFrame, space: cs.ConfigurationSpace
) -> None:
    turned = finals.assign(score=-finals["score"])
    before = evaluate_ranker(finals, space, methods=METHODS)
    after = evaluate_ranker(turned, space, methods=METHODS, maximize=False)
    pd.testing.assert_frame_equal(before, after)


def test_portfolio_covers_datasets_that_disagree() -> None:
    """Two datasets love the left end, one the right end, and all can live with the middle."""
    x = np.linspace(0.0, 1.0, 11)[:, None]
    left, right = 1.0 - x[:, 0], x[:, 0]
    past = ObservedTrials(
        features=pd.DataFrame({"config.x": np.tile(x[:, 0], 3)}),
        cube=np.tile(x, (3, 1)),
        group=np.repeat(["a", "b", "c"], 11),
        dataset=np.repeat(["a", "b", "c"], 11),
        normal=np.concatenate([left, left, right]),
        standardised=np.concatenate([left, left, right]),
    )
    new = CandidateTrials(pd.DataFrame({"config.x": x[:, 0]}), x, np.array(["d"] * 11))
    order = np.argsort(-greedy_portfolio(past, new, 0))
    assert sorted(order.tolist()) == list(range(11))
    assert x[order[0], 0] < 0.3
    assert x[order[1], 0] > 0.7  # the second serves whom the first does not
    assert mean_rank(past, new, 0).argmax() < 3


def test_nearest_dataset_reads_the_nearest() -> None:
    x = np.linspace(0.0, 1.0, 9)
    past = ObservedTrials(
        features=pd.DataFrame(
            {"config.x": np.tile(x, 2), "meta.size": [1.0] * 9 + [100.0] * 9, "meta.same": 5.0}
        ),
        cube=np.tile(x, 2)[:, None],
        group=np.repeat(["small", "large"], 9),
        dataset=np.repeat(["small", "large"], 9),
        normal=np.concatenate([x, -x]),
        standardised=np.concatenate([x, -x]),
    )
    for size, sign in ((3.0, 1.0), (80.0, -1.0)):
        features = pd.DataFrame({"config.x": x, "meta.size": size, "meta.same": 5.0})
        order = nearest_dataset(
            past, CandidateTrials(features, x[:, None], np.array(["new"] * 9)), 0
        )
        assert np.corrcoef(order, sign * x)[0, 1] > 0.9


def test_groups_of_one_dataset_count_as_one_piece_of_evidence() -> None:
    table = pd.DataFrame(
        {
            "method": "m",
            "dataset": ["a", "a", "b"],
            "group": ["a1", "a2", "b1"],
            "kendall_tau": [0.0, 0.2, 0.5],
        }
    )
    [row] = summarise(table).to_dict("records")
    assert row["datasets"] == 2
    assert row["kendall_tau"] == pytest.approx(0.3)
    assert row["kendall_tau_se"] == pytest.approx(0.2)


def test_a_feature_that_tells_datasets_apart_is_worth_something(
    space: cs.ConfigurationSpace, encoder: SpaceEncoder
) -> None:
    """Half of the datasets want the opposite, and one meta-feature says which."""
    table = make_history(space, tasks=8, trials=20, deviation=0.05)
    odd = table["dataset_id"].str.removeprefix("task").astype(int) % 2 == 1
    table["score"] = np.where(odd, -table["score"], table["score"])
    table["meta.kind"] = odd.astype(float)
    table["meta.noise"] = table["dataset_id"].map(hash) % 97
    groups = {"kind": ["ki*"], "noise": ["noise"]}
    evaluated = summarise(evaluate_features(table, space, groups, trees=60)).set_index("method")
    assert list(evaluated.index) == ["config", "+ kind", "+ noise", "+ all"]
    tau = evaluated["kendall_tau"]
    assert tau["+ kind"] > tau["config"] + 0.2
    assert tau["+ kind"] > tau["+ noise"] + 0.2


def test_one_dataset_cannot_be_evaluated(
    finals: pd.DataFrame, space: cs.ConfigurationSpace
) -> None:
    with pytest.raises(HistoryError, match="at least two"):
        evaluate_ranker(finals[finals["dataset_id"] == "task0"], space)


def test_every_method_is_in_the_table_and_reported(
    finals: pd.DataFrame, space: cs.ConfigurationSpace
) -> None:
    said: list[str] = []
    methods = ranking_methods(("QueryRMSE", "RMSE"), trees=20)
    table = evaluate_ranker(finals, space, methods=methods, report=said.append)
    assert said == list(methods) == list(pd.unique(table["method"]))
    assert (table.groupby("method").size() == 6).all()
    assert table.groupby("method")["kendall_tau"].mean().max() > 0.35


class TestEarly:
    def test_datasets_with_their_own_units_are_evaluated_alike(
        self, history: pd.DataFrame, space: cs.ConfigurationSpace
    ) -> None:
        turned = history.assign(score=-history["score"])
        before = evaluate_early(history, space)
        after = evaluate_early(turned, space, maximize=False)
        pd.testing.assert_frame_equal(before, after)
        assert before["datasets"].tolist() == [6] * 3
        assert (before["mae"] < before["mae_last"]).all()
        assert before["coverage90"].between(0.8, 1.0).all()
        assert before["saved"].to_numpy() == pytest.approx(1.0 - before["fraction"].to_numpy())

    def test_a_run_that_says_nothing_is_forecast_as_the_last_score(
        self, history: pd.DataFrame, space: cs.ConfigurationSpace
    ) -> None:
        """Changes that nothing explains are shrunk away: never much worse than the last score."""
        table = history.copy()
        ends = table["fraction"] == 1.0
        clean = table[ends].set_index(["dataset_id", "trial_id"])["score"]
        keys = pd.MultiIndex.from_frame(table[["dataset_id", "trial_id"]])
        noise = 0.5 * np.random.default_rng(0).normal(size=len(table))
        table["score"] = clean.reindex(keys).to_numpy() + np.where(ends, noise, 0.0)
        table["signal.slope"] = np.random.default_rng(1).normal(size=len(table))
        evaluated = evaluate_early(table, space)
        assert (evaluated["mae"] < 1.05 * evaluated["mae_last"]).all()
        assert evaluated["coverage90"].between(0.8, 0.97).all()


def test_gains_are_paired_within_datasets_and_groups_of_one_count_once():
    level = {"a": 0.1, "b": 0.9, "c": 0.5}
    rows = [
        {"method": method, "dataset": d, "group": f"{d}{g}", "kendall_tau": level[d] + more}
        for method, more in (("config", 0.0), ("+ text", 0.02))
        for d in level
        for g in range(3 if d == "a" else 1)
    ]
    found = gains(pd.DataFrame(rows), "config")
    assert found["config"] == (0.0, 0.0)
    assert found["+ text"] == pytest.approx((0.02, 0.0), abs=1e-12)
