"""The early predictor learns at whatever fractions a history has, however they are spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.history.table import read_history
from surrogates.offline.early import EarlyPredictor
from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import float_space

TRIALS = 8
SPACE = float_space(2)


def history(fractions: dict[str, Sequence[float]], seed: int = 0) -> pd.DataFrame:
    """Trials of datasets, each scored at fractions of its own and at the end.

    Of a dataset whose name begins with "flat" all trials go on by the same amount, so a model
    cannot be trained where nothing else is left, and the rows that are held out get no forecast.
    """
    rng, rows = np.random.default_rng(seed), []
    for name, own in fractions.items():
        for trial in range(TRIALS):
            x = rng.random(2)
            common = {"dataset_id": name, "trial_id": f"{name}/{trial}", "state": "completed"}
            common |= {"config.x00": x[0], "config.x01": x[1]}
            final = float(x.sum())
            for fraction in own:
                to_come = 0.5 if name.startswith("flat") else (1 - fraction) * rng.random()
                rows.append(common | {"score": final - to_come, "fraction": fraction})
            rows.append(common | {"score": final, "fraction": 1.0})
    return pd.DataFrame(rows)


def test_few_fractions_can_be_forecast_of_very_many() -> None:
    """Nine fractions in all are a continuum, the two of the rows with a forecast are not."""
    spread = [round(0.1 * k, 1) for k in range(1, 10)]
    table = history({"flat": [0.15, 0.45], "wide": spread})
    models = OfflineModels.fit(table, SPACE)
    assert {rung.fraction for rung in models.early.rungs} <= {0.1, 0.2, 0.3, 0.5, 0.7}


FRACTION = st.integers(1, 99).map(lambda percent: percent / 100)


@settings(max_examples=8, deadline=None)
@given(
    flat=st.lists(FRACTION, min_size=1, max_size=4, unique=True),
    wide=st.lists(FRACTION, min_size=1, max_size=14, unique=True),
    other=st.lists(FRACTION, max_size=3, unique=True),
    seed=st.integers(0, 9),
)
def test_any_fractions_can_be_learned_from(flat, wide, other, seed) -> None:
    """Whatever fractions each dataset was scored at: a predictor that answers, or none."""
    encoder = SpaceEncoder(SPACE)
    table = history({"flat": flat, "wide": wide, "other": other}, seed)
    early = EarlyPredictor.fit(read_history(table, encoder), encoder)  # type: ignore[arg-type]
    if early is None:
        return
    rows = early.rows([{"x00": 0.5, "x01": 0.5}] * 3, [0.02, 0.4, 0.97], [0.5] * 3, [{}] * 3,
                      None, encoder)  # fmt: skip
    mean, variance = early.predict(rows, early.typical_scale)
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
    for fraction in (0.0, 0.33, 1.0):
        assert 0.0 <= early.explained_at(fraction) <= 1.0
        assert 0.0 <= early.shared_at(fraction) <= 1.0
