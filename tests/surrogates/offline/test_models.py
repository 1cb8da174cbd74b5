"""Ranker, early predictor, cost model, failure model and their bundle."""

from __future__ import annotations

from pathlib import Path

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import OptionError
from surrogates.core.metrics import kendall_tau, spearman
from surrogates.evaluation.leave_one_out import evaluate_ranker
from surrogates.gp.failure import FailureModel, past_weight
from surrogates.history.table import read_history
from surrogates.offline.boosting import Boosted
from surrogates.offline.cost import expected_log_cost
from surrogates.offline.early import EarlyPredictor
from surrogates.offline.models import OfflineModels
from surrogates.offline.ranker import Ranker
from surrogates.online.rungs import choose_rung, rung_value
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import FRACTIONS, Task, make_history


def finals(history: pd.DataFrame) -> pd.DataFrame:
    return history[history["fraction"] == 1.0]


class TestRanker:
    def test_orders_a_dataset_it_never_saw(
        self, offline: OfflineModels, encoder: SpaceEncoder, space: cs.ConfigurationSpace
    ) -> None:
        configs, taus = encoder.sample(200, seed=5), []
        for seed in range(60, 68):
            task = Task(space, seed, deviation=0.15)
            mean = offline.ranker.predict(configs, task.meta, encoder)
            assert mean.shape == (200,)
            taus.append(kendall_tau(mean, [task.score(c) for c in configs]))
        assert np.mean(taus) > 0.3

    def test_held_out_skill_is_close_to_the_real_one(self, offline: OfflineModels) -> None:
        assert offline.ranker.skill.datasets == 6
        assert 0.3 < offline.ranker.skill.kendall_tau < 0.8
        assert offline.mean_prior is not None

    def test_scale_sign_and_shift_of_a_dataset_do_not_matter(
        self, history: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        table = finals(history).copy()
        factor = table["dataset_id"].map({f"task{t}": 10.0 ** (t - 3) for t in range(6)})
        table["score"] = -(table["score"] * factor + 100.0 * factor)
        predicted = []
        for each, maximize in ((table, False), (finals(history), True)):
            rows = read_history(each, encoder, maximize)
            ranker = Ranker.fit(rows, encoder)
            predicted.append(ranker.predict(encoder.sample(20, seed=0), None, encoder))
        np.testing.assert_allclose(*predicted)

    def test_a_pointwise_loss_is_kept_as_it_was(
        self, history: pd.DataFrame, encoder: SpaceEncoder, tmp_path: Path
    ) -> None:
        rows = read_history(history, encoder)
        ranker = Ranker.fit(rows, encoder, members=2, variants=(Boosted("RMSE", meta=()),))
        assert ranker.skill.kendall_tau > 0.3
        ranker.save(tmp_path)
        configs = encoder.sample(20, seed=0)
        before, after = (r.predict(configs, None, encoder) for r in (ranker, Ranker.load(tmp_path)))
        assert np.array_equal(before, after)


class TestEarlyPredictor:
    def test_new_task_is_predicted_and_calibrated(
        self, offline: OfflineModels, encoder: SpaceEncoder, space: cs.ConfigurationSpace
    ) -> None:
        early = offline.early
        covered, errors, orders = [], [], []
        for seed in range(60, 90):
            task = Task(space, seed, deviation=0.15)
            configs = encoder.sample(25, seed=seed)
            truth = np.array([task.score(c) for c in configs])
            for fraction in FRACTIONS:
                scores, signals = zip(*(task.partial(c, fraction) for c in configs), strict=True)
                n = len(configs)
                rows = early.rows(configs, [fraction] * n, scores, signals, task.meta, encoder)
                mean, variance = early.predict(rows, scale=float(truth.std()))
                covered.append(np.abs(mean - truth) <= 1.645 * np.sqrt(variance))
                errors.append(np.abs(mean - truth).mean() / np.abs(truth - np.array(scores)).mean())
                orders.append(spearman(mean, truth))
        assert 0.8 <= np.mean(covered) <= 0.99
        assert np.mean(orders) > 0.85
        assert np.mean(errors) < 0.7  # much closer than the last score seen

    def test_units_follow_the_scale(self, offline: OfflineModels, encoder: SpaceEncoder) -> None:
        early = offline.early
        config = encoder.default()
        signals = [{"slope": 0.2}]
        small = early.predict(early.rows([config], [0.25], [-1.0], signals, None, encoder), 1.0)
        large = early.predict(early.rows([config], [0.25], [-10.0], signals, None, encoder), 10.0)
        assert large[0][0] == pytest.approx(10.0 * small[0][0])
        assert large[1][0] == pytest.approx(100.0 * small[1][0])

    def test_skill_is_kept_by_rung(self, offline: OfflineModels) -> None:
        assert [r.fraction for r in offline.early.rungs] == list(FRACTIONS)
        for rung in offline.early.rungs:
            assert 0.0 <= rung.explained <= 1.0
            assert rung.mae < rung.mae_last
        assert offline.early.explained_at(1.0) == 1.0

    def test_no_prefixes_no_predictor(self, history: pd.DataFrame, encoder: SpaceEncoder) -> None:
        rows = read_history(finals(history), encoder)
        assert EarlyPredictor.fit(rows, encoder) is None

    def test_prefixes_join_by_configuration_without_trial_ids(
        self, history: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        rows = read_history(history.drop(columns="trial_id"), encoder)
        assert EarlyPredictor.fit(rows, encoder) is not None


class TestRungs:
    def test_an_uninformative_rung_is_worse_than_full_length(self) -> None:
        assert rung_value(0.25, 0.0) < rung_value(1.0, 1.0) < rung_value(0.25, 0.95)

    def test_choice(self, offline: OfflineModels) -> None:
        assert choose_rung(None, None) == 1.0
        assert choose_rung(offline.early, (1.0,)) == 1.0
        assert choose_rung(offline.early, (0.4,)) == 0.4
        assert choose_rung(offline.early, None) in FRACTIONS
        assert choose_rung(offline.early, (0.25, 0.5)) in (0.25, 0.5)


class TestCost:
    def test_dear_settings_are_known(
        self, offline: OfflineModels, encoder: SpaceEncoder, space: cs.ConfigurationSpace
    ) -> None:
        configs = encoder.sample(100, seed=2)
        task = Task(space, 0)
        predicted = offline.cost.relative_log_cost(configs, None, encoder)
        assert spearman(predicted, [task.cost(c) for c in configs]) > 0.8

    def test_told_costs_set_the_unit(self) -> None:
        rng = np.random.default_rng(0)
        prior_mean, cube = rng.normal(size=50), rng.random((50, 3))
        truth = np.log(3600.0) + prior_mean
        predicted = expected_log_cost(
            prior_mean, cube, prior_mean[:10], cube[:10], truth[:10], base=np.log(5.0)
        )
        np.testing.assert_allclose(predicted, truth, atol=0.05)

    def test_equal_told_costs_overrule_the_opinion(self) -> None:
        rng = np.random.default_rng(0)
        prior_mean, cube = rng.normal(size=40), rng.random((40, 3))
        predicted = expected_log_cost(prior_mean, cube, prior_mean[:30], cube[:30], np.zeros(30))
        assert np.std(predicted) < 0.15 * np.std(prior_mean)

    def test_without_anything_every_trial_costs_one(self) -> None:
        none = np.zeros(0)
        predicted = expected_log_cost(np.zeros(4), np.ones((4, 2)), none, np.zeros((0, 2)), none)
        assert predicted.tolist() == [0.0] * 4


class TestFailure:
    def test_near_failures_are_likely_to_fail_too(self) -> None:
        cube = np.array([[0.9, 0.9], [0.95, 0.85], [0.1, 0.1], [0.2, 0.1]])
        model = FailureModel(cube, np.array([True, True, False, False]), np.ones(4))
        bad, good, far = model.probability(np.array([[0.92, 0.9], [0.12, 0.1], [0.5, 0.5]]))
        assert good < 0.05 < far < bad
        assert bad > 0.4

    def test_no_failure_no_influence(self) -> None:
        model = FailureModel(np.zeros((3, 2)), np.zeros(3, dtype=bool), np.ones(3))
        assert model.probability(np.random.default_rng(0).random((5, 2))).tolist() == [0.0] * 5

    def test_past_failures_count_less(self) -> None:
        cube, failed = np.zeros((1, 2)), np.array([True])
        own = FailureModel(cube, failed, np.ones(1)).probability(cube)
        past = FailureModel(cube, failed, np.full(1, past_weight(100))).probability(cube)
        assert past < own


class TestBundle:
    def test_saved_models_predict_bit_equal(
        self, offline: OfflineModels, encoder: SpaceEncoder, tmp_path: Path
    ) -> None:
        offline.save(tmp_path)
        loaded = OfflineModels.load(tmp_path)
        configs = encoder.sample(30, seed=1)
        before, after = (m.ranker.predict(configs, None, encoder) for m in (offline, loaded))
        assert np.array_equal(before, after)
        assert loaded.mean_prior == offline.mean_prior
        rows = offline.early.rows(configs, [0.3] * 30, [0.0] * 30, [{}] * 30, None, encoder)
        assert np.array_equal(offline.early.predict(rows, 1.0), loaded.early.predict(rows, 1.0))
        assert loaded.early.rungs == offline.early.rungs
        assert not list(tmp_path.glob("*.pkl"))

    def test_the_same_history_gives_the_same_bytes(
        self,
        offline: OfflineModels,
        history: pd.DataFrame,
        space: cs.ConfigurationSpace,
        tmp_path: Path,
    ) -> None:
        """Also seconds later: CatBoost would write the time of training into its files."""
        written = []
        for models in (offline, OfflineModels.fit(history, space)):
            folder = tmp_path / str(len(written))
            models.save(folder)
            written.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
        assert written[0] == written[1]
        assert {"early.cbm", "cost.cbm", "ranker-0.cbm"} <= set(written[0])

    def test_models_of_another_problem_are_refused(
        self, offline: OfflineModels, encoder: SpaceEncoder
    ) -> None:
        with pytest.raises(OptionError, match="maximize"):
            offline.check(encoder, maximize=False)
        other = cs.ConfigurationSpace({"x": (0.0, 1.0)})
        with pytest.raises(OptionError, match="Fit them again"):
            offline.check(SpaceEncoder(other), maximize=True)

    def test_useless_history_gives_no_models_and_no_error(
        self, history: pd.DataFrame, space: cs.ConfigurationSpace
    ) -> None:
        for table in (history.assign(score=1.0), history.head(1), history.assign(score=np.nan)):
            assert OfflineModels.fit(table, space).ranker is None


@pytest.mark.slow
def test_random_scores_have_no_skill(space: cs.ConfigurationSpace) -> None:
    table = make_history(space, tasks=5, trials=20)
    taus = []
    for seed in range(4):
        table["score"] = np.random.default_rng(seed).normal(size=len(table))
        taus.append(evaluate_ranker(table, space)["kendall_tau"].mean())
    assert abs(np.mean(taus)) < 0.12
