"""Learning rates relative to the size of the model."""

from __future__ import annotations

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.history.features import described
from surrogates.history.rates import SLOPE, rate_columns
from surrogates.history.table import read_history
from surrogates.space.encoding import SpaceEncoder


def encoder() -> SpaceEncoder:
    space = cs.ConfigurationSpace(seed=0)
    space.add(
        cs.Float("sft_learning_rate", (1e-5, 1e-2), log=True),
        cs.Float("learning_rate_decay", (0.0, 1.0)),
        cs.Float("beta", (1e-4, 1.0), log=True),
    )
    return SpaceEncoder(space)


CONFIG = {"sft_learning_rate": 1e-3, "learning_rate_decay": 0.5, "beta": 0.01}


def test_only_the_rates_on_a_log_axis_are_meant():
    assert rate_columns(encoder()) == ["config.sft_learning_rate"]


@pytest.mark.parametrize("size", [5.0, 6.0, 8.13])
def test_the_usual_rate_of_every_size_is_one_number(size: float):
    rate = 1e-3 * 10.0 ** (-SLOPE * (size - 6.0))
    usual = CONFIG | {"sft_learning_rate": rate}
    frame = described(encoder(), [usual], {"model_log_parameters": size})
    assert frame["config.sft_learning_rate"].tolist() == pytest.approx([-3.0])
    assert frame["config.beta"].tolist() == pytest.approx([-2.0])
    assert frame["meta.model_log_parameters"].tolist() == [size]


def test_of_an_unknown_size_they_stay_as_they_are():
    for meta in (None, {"rows": 3.0}, {"model_log_parameters": float("nan")}):
        frame = described(encoder(), [CONFIG], meta)
        assert frame["config.sft_learning_rate"].tolist() == pytest.approx([-3.0])


def test_a_history_is_read_as_a_new_dataset_is():
    sizes = [5.0, 6.6, float("nan")]
    table = pd.DataFrame(
        [
            {"dataset_id": "d", "score": 0.1 * i, "meta.model_log_parameters": size}
            | {f"config.{name}": value for name, value in CONFIG.items()}
            for i, size in enumerate(sizes)
        ]
    )
    history = read_history(table, encoder())
    assert history is not None
    past = history.features(np.array([2, 0, 1]), encoder(), ["meta.model_log_parameters"])
    for row, size in zip(past.to_dict("records"), [sizes[2], sizes[0], sizes[1]], strict=True):
        [new] = described(encoder(), [CONFIG], {"model_log_parameters": size}).to_dict("records")
        assert row == pytest.approx(new, nan_ok=True)
