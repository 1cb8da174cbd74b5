"""Tables hold what the history's rows say, and the past holds nothing of the dataset at hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.replay.histories import frame_fingerprint, history_without
from benchmarks.replay.tables import Query, datasets_of, replay_task
from surrogates.space.encoding import SpaceEncoder
from tests.benchmarks.replay.small_history import MODEL, failed, history, small_task, space, trial
from trials.io.errors import SettingsError


def test_a_table_has_every_trial_with_its_scores_costs_and_signals():
    task, encoder, rows = small_task()
    assert len(task) == 12
    ends = rows[(rows["dataset_id"] == "d0") & (rows["fraction"] == 1.0)]
    assert task.final == pytest.approx(ends["score"].to_numpy())
    assert task.costs[:, 0] == pytest.approx(0.1 * ends["cost_seconds"].to_numpy())
    assert task.meta == {"size": 2.0}
    assert task.signals[3][1] == {"signal.score": pytest.approx(task.scores[3, 1])}
    assert encoder.from_frame(task.candidates()) == list(task.configs)


def test_of_repeats_the_first_seed_counts():
    rows, encoder = history(), SpaceEncoder(space())
    config = {k.removeprefix("config."): v for k, v in rows.iloc[0].items() if "config." in k}
    again = pd.DataFrame(trial("d0", 0, config, 0.123, 7.0, seed=3))
    for order in ([again, rows], [rows, again]):
        task = replay_task(pd.concat(order), "d0", MODEL, encoder)
        assert len(task) == 12
        assert not np.isclose(task.final, 0.123).any()


def test_a_failed_trial_is_a_candidate_with_a_cost_and_no_score():
    encoder = SpaceEncoder(space())
    config = encoder.sample(1, seed=99)[0]
    rows = pd.concat([history(), pd.DataFrame([failed("d0", 77, config, 4.0)])])
    task = replay_task(rows, "d0", MODEL, encoder)
    [index] = np.flatnonzero(np.isnan(task.final))
    query = task.settle(Query(int(index), 0.1))
    outcome = task.outcome(query)
    assert (outcome.score, outcome.cost, query.fraction) == (None, 4.0, 1.0)
    assert task.regrets()[index] == 1.0


def test_a_continuation_costs_the_whole_minus_the_part():
    task, _, _ = small_task()
    part = task.outcome(Query(5, 0.3))
    rest = task.outcome(Query(5, 1.0, from_fraction=0.3))
    whole = task.outcome(Query(5))
    assert part.cost + rest.cost == pytest.approx(whole.cost)
    assert rest.score == whole.score == task.final[5]
    assert part.score == pytest.approx(task.final[5] * 0.3**0.5)


def test_a_part_never_costs_more_than_the_whole_nor_less_than_a_shorter_one():
    rows = history()
    rows.loc[rows["fraction"] == 0.3, "cost_seconds"] *= 9
    rows.loc[rows["fraction"] == 0.5, "cost_seconds"] /= 9
    task = replay_task(rows, "d0", MODEL, SpaceEncoder(space()))
    assert (np.diff(task.costs, axis=1) >= 0).all()
    ends = rows[(rows["dataset_id"] == "d0") & (rows["fraction"] == 1.0)]
    assert task.costs[:, -1] == pytest.approx(ends["cost_seconds"].to_numpy())


@pytest.mark.parametrize(("asked", "run"), [(0.05, 0.1), (1 / 9, 0.2), (0.3, 0.3), (0.6, 1.0)])
def test_a_move_runs_to_the_next_fraction_that_is_known(asked: float, run: float):
    task, _, _ = small_task()
    assert task.settle(Query(0, asked)).fraction == run


def test_the_past_is_of_other_datasets_whatever_they_are_called():
    rows = history()
    copy = rows[rows["dataset_id"] == "d0"].assign(dataset_id="another name")
    past = history_without(pd.concat([rows, copy]), "d0")
    assert sorted(past["dataset_id"].unique()) == ["d1", "d2", "d3"]


def test_a_shuffled_past_keeps_the_scores_of_each_group_and_breaks_the_pairing():
    rows = history()
    true, shuffled = (history_without(rows, "d0", variant) for variant in ("true", "shuffled"))
    configs = [c for c in true if c.startswith("config.")]
    rest = [c for c in true if not c.startswith("config.")]
    pd.testing.assert_frame_equal(true[rest], shuffled[rest])
    assert not true[configs].equals(shuffled[configs])
    for name, group in true.groupby("dataset_id"):
        other = shuffled[shuffled["dataset_id"] == name]
        assert sorted(group["config.rate"]) == sorted(other["config.rate"])
        assert abs(np.corrcoef(group["config.rate"], other["config.rate"])[0, 1]) < 0.9
    moved_together = shuffled.groupby("trial_id")["config.rate"].nunique()
    assert (moved_together == 1).all()
    assert frame_fingerprint(shuffled) == frame_fingerprint(history_without(rows, "d0", "shuffled"))
    assert frame_fingerprint(shuffled) != frame_fingerprint(
        history_without(rows, "d0", "shuffled", 1)
    )


def test_an_inverted_past_negates_every_score_and_nothing_else():
    rows = history()
    true, inverted = (history_without(rows, "d0", variant) for variant in ("true", "inverted"))
    assert (inverted["score"] == -true["score"]).all()
    pd.testing.assert_frame_equal(true.drop(columns="score"), inverted.drop(columns="score"))


def test_what_is_not_there_is_said():
    rows = history()
    assert datasets_of(rows, MODEL) == ["d0", "d1", "d2", "d3"]
    with pytest.raises(SettingsError, match="no dataset to replay for 'large'; it has small"):
        datasets_of(rows, "large")
    with pytest.raises(SettingsError, match="fewer than two trials"):
        replay_task(rows, "d9", MODEL, SpaceEncoder(space()))
