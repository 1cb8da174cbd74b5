"""Past trials of smaller levels: the columns that they need, and rows that are refused."""

from __future__ import annotations

import math
from typing import Any

import ConfigSpace as cs
import pandas as pd
import pytest

from surrogates.core.base import HistoryError, OptionError
from surrogates.history.past import PastTrial, past_trials
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.levels import Levels

LEVELS = {"small": 0.05, "large": 1.0}


def space() -> cs.ConfigurationSpace:
    """With a conditional rate, a conditional constant, and a pair of values that is forbidden."""
    found = cs.ConfigurationSpace(seed=0)
    rate, adapter = cs.Float("rate", (1e-5, 1e-1), log=True), cs.Categorical("adapter", ["a", "b"])
    rank, alpha = cs.Integer("rank", (1, 64)), cs.Constant("alpha", 16)
    steps = cs.Integer("steps", (1, 3))
    found.add(rate, adapter, rank, alpha, steps)
    found.add(cs.EqualsCondition(rank, adapter, "b"), cs.EqualsCondition(alpha, adapter, "b"))
    found.add(
        cs.ForbiddenAndConjunction(
            cs.ForbiddenEqualsClause(adapter, "a"), cs.ForbiddenEqualsClause(steps, 3)
        )
    )
    return found


def table(**changes: Any) -> pd.DataFrame:
    """Two trials with the columns that docs/library.md names."""
    rows = {
        "level": ["small", "small"],
        "score": [0.5, 0.6],
        "score_se": [0.01, math.nan],
        "config.rate": [1e-3, 1e-2],
        "config.adapter": ["a", "b"],
        "config.rank": [math.nan, 8],
        "config.steps": [1, 3],
    }
    return pd.DataFrame(rows | changes)


def read(past: Any) -> list[PastTrial]:
    return past_trials(past, SpaceEncoder(space()), True, Levels.of(LEVELS))


def test_the_documented_columns_are_enough() -> None:
    first, second = read(table())
    assert first == PastTrial("small", {"rate": 1e-3, "adapter": "a", "steps": 1}, 0.5, 0.01)
    assert (second.config["rank"], second.score_se) == (8, 0.0)
    assert read(table().drop(columns="score_se"))[0].score_se == 0.0
    [state] = Search(space(), levels=LEVELS, past=table(), n_candidates=16).proxies()
    assert state.past == 2


@pytest.mark.parametrize(
    ("past", "words"),
    [
        ([{"level": "small"}], "past must be a pandas DataFrame, got list"),
        (table().drop(columns="score"), r"past lacks the required columns \['score'\]"),
        (table().drop(columns="level"), "past lacks a column level, or model_id"),
        (table()[["level", "score"]], "past has no column for any hyperparameter"),
        (table(score=[0.5, 1e200]), "past: row 1 has the score"),
    ],
)
def test_errors_speak_of_past(past: Any, words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        read(past)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config.rate": [1e-3, 5.0]}, r"row 1 has the value 5\.0 .*rate.*0\.1"),
        ({"config.adapter": ["c", "b"]}, "row 0 has the value 'c' .*adapter"),
        ({"config.rank": [math.nan, math.nan]}, "row 1 has no usable value for 'rank'"),
        ({"config.rate": [None, 1e-3]}, "row 0 has no usable value for 'rate'"),
        ({"config.steps": [3, 3]}, "row 0 has a configuration that is not in the space"),
    ],
)
def test_configurations_that_are_not_in_the_space_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=f"past: {words}"):
        read(table(**changes))


def test_without_a_score_a_row_is_left_out_whatever_it_holds() -> None:
    [kept] = read(table(**{"score": [0.5, math.nan], "config.rate": [1e-3, 5.0]}))
    assert kept.score == 0.5
