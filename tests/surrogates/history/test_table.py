from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import HistoryError
from surrogates.history.table import META, SIGNAL, read_history
from surrogates.space.encoding import SpaceEncoder


def frame(**columns: list) -> pd.DataFrame:
    base = {
        "dataset_id": ["a", "a", "b"],
        "config.lr": [1e-3, 1e-2, 1e-4],
        "score": [1.0, 2.0, 3.0],
    }
    return pd.DataFrame(base | columns)


def test_the_least_table_is_enough(encoder: SpaceEncoder) -> None:
    rows = read_history(frame(), encoder)
    assert rows.final.all()
    assert rows.score.tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(rows.cost).all()
    assert rows.columns(META) == rows.columns(SIGNAL) == []


def test_signs_turn_when_minimising(encoder: SpaceEncoder) -> None:
    rows = read_history(frame(), encoder, maximize=False)
    assert rows.score.tolist() == [-1.0, -2.0, -3.0]


def test_failures_and_prefixes_are_told_apart(encoder: SpaceEncoder) -> None:
    rows = read_history(
        frame(state=["failed", "stopped", "completed"], fraction=[1.0, np.nan, 0.5]), encoder
    )
    assert rows.failed.tolist() == [True, False, False]
    assert rows.final.tolist() == [False, False, False]
    nan = read_history(frame(score=[np.nan, 2.0, np.inf]), encoder)
    assert nan.failed.tolist() == [True, False, True]


def test_groups_are_dataset_by_model_and_trials_have_an_identity(encoder: SpaceEncoder) -> None:
    rows = read_history(frame(model_id=["m", "n", "m"], trial_id=[1, 1, 1]), encoder)
    assert len(set(rows.group)) == 3
    assert len(set(rows.trial)) == 3
    again = read_history(pd.concat([frame(), frame()]), encoder)
    assert len(set(again.trial)) == 3


def test_cost_in_either_column(encoder: SpaceEncoder) -> None:
    seconds = read_history(frame(cost_seconds=[1.0, 0.0, np.nan]), encoder)
    units = read_history(frame(cost_seconds=[1.0] * 3, cost=[2.0, 3.0, 4.0]), encoder)
    assert np.isnan(seconds.cost).tolist() == [False, True, True]
    assert units.cost.tolist() == [2.0, 3.0, 4.0]


def test_unreadable_tables_are_refused_by_name(encoder: SpaceEncoder) -> None:
    with pytest.raises(HistoryError, match="score"):
        read_history(frame().drop(columns="score"), encoder)
    with pytest.raises(HistoryError, match=r"config\.lr"):
        read_history(pd.DataFrame({"dataset_id": [1], "score": [1.0]}), encoder)
    with pytest.raises(HistoryError, match="DataFrame"):
        read_history([1, 2], encoder)  # type: ignore[arg-type]
    assert read_history(None, encoder) is None
    assert read_history(frame().head(0), encoder) is None


@pytest.mark.parametrize(
    ("ids", "fingerprints", "expected"),
    [
        ("abab", "xyxy", "abab"),
        ("abcb", "xxyy", "aaaa"),  # b has both contents, so it ties c to a
        ("aabb", "xyzz", "aabb"),  # two contents under one id
        ("abcd", ["name:a", "name:a", None, np.nan], "abcd"),  # no hashes
        ("abcc", ["", "x", "x", None], "abbb"),
    ],
)
def test_the_same_content_is_one_dataset_whatever_its_name(
    ids: str, fingerprints: list, expected: str, encoder: SpaceEncoder
) -> None:
    table = pd.DataFrame(
        {
            "dataset_id": list(ids),
            "dataset_fingerprint": list(fingerprints),
            "model_id": "m",
            "config.lr": 1e-3,
            "score": 1.0,
        }
    )
    rows = read_history(table, encoder)
    assert "".join(rows.dataset) == expected
    assert rows.group.tolist() == [f"{name} | m" for name in expected]
    plain = read_history(table.drop(columns="dataset_fingerprint"), encoder)
    assert "".join(plain.dataset) == ids
