"""Repeats are one configuration, copies one dataset, models of a dataset one piece of evidence."""

from __future__ import annotations

from dataclasses import replace

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import HistoryError
from surrogates.evaluation.baselines import mean_rank
from surrogates.evaluation.leave_one_out import (
    ENSEMBLE,
    evaluate_ranker,
    leave_one_dataset_out,
    ranking_methods,
)
from surrogates.history.outcomes import Trials, dataset_means
from surrogates.history.table import read_history
from surrogates.offline.boosting import Boosted, bootstrap
from surrogates.offline.ranker import VARIANTS, Ranker
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import make_history

FAST = (Boosted("RMSE", trees=20, meta=()),)


@pytest.fixture(scope="module")
def finals(space: cs.ConfigurationSpace) -> pd.DataFrame:
    return make_history(space, tasks=6, trials=15, deviation=0.15)


def trials_of(table: pd.DataFrame, encoder: SpaceEncoder) -> Trials:
    rows = read_history(table, encoder)
    return Trials.of(rows, encoder)


def ranker_of(table: pd.DataFrame, encoder: SpaceEncoder, members: int = 1) -> Ranker:
    rows = read_history(table, encoder)
    return Ranker.fit(rows, encoder, members=members, variants=FAST)


def repeated(table: pd.DataFrame, noise: float) -> pd.DataFrame:
    """Each row three times, as with other seeds: at its score, above and below, in any order."""
    parts = [table.assign(score=table["score"] + shift) for shift in (0.0, noise, -noise)]
    return pd.concat(parts, ignore_index=True)


class TestRepeats:
    def test_are_one_row_with_their_mean(self, finals: pd.DataFrame, encoder: SpaceEncoder) -> None:
        once, thrice = trials_of(finals, encoder), trials_of(repeated(finals, 0.2), encoder)
        assert thrice.group.tolist() == once.group.tolist()
        assert np.array_equal(thrice.cube, once.cube)
        for name in ("score", "normal", "standardised"):
            np.testing.assert_allclose(getattr(thrice, name), getattr(once, name), atol=1e-8)

    def test_do_not_use_up_the_first_choices(
        self, finals: pd.DataFrame, space: cs.ConfigurationSpace
    ) -> None:
        methods = {"portfolio": mean_rank}
        tables = [finals, repeated(finals, 1e-6)]
        before, after = (evaluate_ranker(t, space, methods=methods) for t in tables)
        assert after["trials"].tolist() == before["trials"].tolist() == [15] * 6
        for metric in ("regret3", "regret5", "ndcg5"):
            np.testing.assert_allclose(after[metric], before[metric], atol=1e-4)

    def test_teach_the_ranker_no_more_than_their_mean(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        configs = encoder.sample(20, seed=3)
        once, thrice = (ranker_of(t, encoder) for t in (finals, repeated(finals, 0.2)))
        assert thrice.held_out["trials"].tolist() == [15] * 6
        before, after = (r.predict(configs, None, encoder) for r in (once, thrice))
        np.testing.assert_allclose(before, after, atol=1e-6)

    def test_mean_of_equal_scores_is_the_score(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        """Three times 0.1 sum to a little more than 0.3: the group has no order all the same."""
        table = finals[finals["dataset_id"] == "task0"].assign(score=0.1)
        with pytest.raises(HistoryError, match="differ"):
            trials_of(pd.concat([table, table.head(5), table.head(5)]), encoder)


class TestDatasets:
    def test_three_models_are_no_three_datasets(
        self, space: cs.ConfigurationSpace, encoder: SpaceEncoder
    ) -> None:
        table = make_history(space, tasks=13, trials=10, deviation=0.3)
        noise = np.random.default_rng(0).normal(scale=1e-6, size=(3, len(table)))
        copies = [table.assign(model_id=f"m{i}", score=table["score"] + noise[i]) for i in range(3)]
        once = ranker_of(copies[0], encoder).skill
        thrice = ranker_of(pd.concat(copies, ignore_index=True), encoder).skill
        assert once.datasets == thrice.datasets == 13
        assert thrice.pearson_se > 0.85 * once.pearson_se  # not 0.58
        assert once.pearson_se == pytest.approx(once.pearson_sd / np.sqrt(13))

    def test_a_dataset_of_many_groups_chooses_no_variant(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        copies = [finals.assign(model_id="m0")]
        first = finals[finals["dataset_id"] == "task0"]
        copies += [first.assign(model_id=f"m{i}") for i in range(1, 6)]
        ranker = ranker_of(pd.concat(copies, ignore_index=True), encoder)
        assert len(ranker.held_out) == 11
        each = dataset_means(ranker.held_out)
        assert ranker.skill.kendall_tau == pytest.approx(each["kendall_tau"].mean())
        assert ranker.skill.kendall_tau != pytest.approx(ranker.held_out["kendall_tau"].mean())

    def test_bootstrap_draws_datasets_whole(self) -> None:
        dataset = np.repeat(["a", "b", "c", "d"], 6)
        group = np.array([f"{d}{i // 3 % 2}" for i, d in enumerate(dataset)])
        seen = set()
        for seed in range(20):
            rows = bootstrap(dataset, np.random.default_rng(seed))
            assert (np.diff(rows) >= 0).all()  # so that groups stay together
            counts = pd.Series(np.bincount(rows, minlength=24))
            assert (counts.groupby(dataset).nunique() == 1).all()
            assert counts.sum() == 24
            assert (counts.groupby(group).nunique() == 1).all()
            seen |= set(counts)
        assert {0, 1, 2} <= seen

    def test_members_are_trained_on_datasets_not_groups(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        copies = [finals.assign(model_id=name) for name in ("small", "large")]
        trials = trials_of(pd.concat(copies, ignore_index=True), encoder)
        ensemble = Boosted("QueryRMSE", 10, (), members=2)
        told = ensemble(replace(trials, dataset=trials.group), trials, 0)
        assert not np.array_equal(ensemble(trials, trials, 0), told)

    def test_a_copy_by_another_name_is_held_out_with_it(
        self, finals: pd.DataFrame, space: cs.ConfigurationSpace, encoder: SpaceEncoder
    ) -> None:
        known = finals.assign(dataset_fingerprint=finals["dataset_id"].map("hash-{}".format))
        copy = known.copy()
        copy.loc[::2, "dataset_id"] += "-copy"
        tables = [evaluate_ranker(t, space, methods={"m": mean_rank}) for t in (known, copy)]
        assert [t["dataset"].nunique() for t in tables] == [6, 6]
        pd.testing.assert_frame_equal(
            tables[0].drop(columns=["dataset", "group"]),
            tables[1].drop(columns=["dataset", "group"]),
        )
        assert ranker_of(copy, encoder).skill.datasets == 6
        unknown = copy.assign(dataset_fingerprint="name:" + copy["dataset_id"])
        assert evaluate_ranker(unknown, space, methods={"m": mean_rank})["dataset"].nunique() == 12


class TestWhatIsEvaluatedIsWhatIsUsed:
    def test_every_variant_of_the_search_is_in_the_table(self) -> None:
        evaluated = set(ranking_methods().values())
        assert set(VARIANTS) <= evaluated
        assert "YetiRank" not in {variant.loss for variant in VARIANTS}

    def test_the_ensemble_in_the_table_predicts_as_the_ranker(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        rows = read_history(finals, encoder)
        ranker = Ranker.fit(rows, encoder, variants=VARIANTS[:1])
        trials = Trials.of(rows, encoder)
        evaluated = ranking_methods()[ENSEMBLE](trials, trials, 0)
        configs = [rows.configs[i] for i in np.argsort(rows.group.astype(str), kind="stable")]
        assert np.array_equal(evaluated, ranker.predict(configs, None, encoder))

    def test_held_out_skill_is_that_of_the_table(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        """With no more datasets than folds both leave one out: the same numbers."""
        table = leave_one_dataset_out(trials_of(finals, encoder), FAST[0])
        own = ranker_of(finals, encoder).held_out
        order = ["dataset", "group"]
        pd.testing.assert_frame_equal(
            own.sort_values(order, ignore_index=True), table.sort_values(order, ignore_index=True)
        )

    def test_nothing_that_varies_gives_no_order(
        self, finals: pd.DataFrame, encoder: SpaceEncoder
    ) -> None:
        trials = trials_of(finals, encoder)
        one = trials.observed(np.array([0]))
        for members in (0, 2):
            assert (Boosted("RMSE", 5, (), members=members)(one, trials, 0) == 0.0).all()


@pytest.mark.parametrize("trials", [2, 3, 4, 6])
@pytest.mark.parametrize("tasks", [1, 2])
def test_the_thinnest_histories_have_a_ranker(
    tasks: int, trials: int, space: cs.ConfigurationSpace, encoder: SpaceEncoder
) -> None:
    table = make_history(space, tasks=tasks, trials=trials)
    table.loc[1:, "score"] = np.round(table["score"][1:])  # with ties
    rows = read_history(table, encoder)
    variants = tuple(replace(v, trees=3) for v in VARIANTS)
    ranker = Ranker.fit(rows, encoder, variants=variants)
    assert np.isfinite(ranker.predict(encoder.sample(4, seed=0), None, encoder)).all()
