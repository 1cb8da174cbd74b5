"""Nothing of the model or the dataset that is ordered is learned from."""

from __future__ import annotations

from functools import cache

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from benchmarks.rate_transfer import DIRECTIONS, RATES, held_out, relative, sizes, skill
from surrogates.history.outcomes import Trials
from surrogates.history.rates import SLOPE
from surrogates.history.table import read_history
from surrogates.offline.boosting import Boosted
from surrogates.space.encoding import SpaceEncoder

SIZES = {"small": 5.0, "middle": 6.0, "large": 7.0}


@cache
def trials() -> Trials:
    """Three models on three datasets; the best rate falls like N^-0.5, four decades wide."""
    space = cs.ConfigurationSpace(seed=0)
    for name in ("sft_learning_rate", "rl_learning_rate"):
        space.add(cs.Float(name, (1e-6, 1e-2), log=True))
    encoder = SpaceEncoder(space)
    rows = [
        {
            "dataset_id": dataset,
            "model_id": model,
            "meta.model_log_parameters": size,
            "score": -abs(np.log10(config["sft_learning_rate"]) + 4.0 + 0.5 * (size - 6.0)),
            **{f"config.{name}": value for name, value in config.items()},
        }
        for d, dataset in enumerate("abc")
        for s, (model, size) in enumerate(SIZES.items())
        for config in encoder.sample(25, seed=10 * d + s)
    ]
    history = read_history(pd.DataFrame(rows), encoder)
    assert history is not None
    return Trials.of(history, encoder)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_past_has_neither_the_model_nor_the_dataset(direction: str):
    made, size = trials(), sizes(trials())
    pairs = list(held_out(made, direction))
    assert len(pairs) == (6 if direction in ("from smaller", "from larger") else 9)
    for past, new in pairs:
        assert not set(made.dataset[past]) & set(made.dataset[new])
        if direction != "from every size":
            assert not set(size[past]) & set(size[new])
        if direction == "from smaller":
            assert size[past].max() < size[new].min()


def test_the_exponent_that_is_built_in_changes_nothing_and_the_true_one_helps():
    made = trials()
    same = relative(made, (SLOPE, SLOPE)).features[list(RATES)]
    assert np.allclose(same, made.features[list(RATES)])
    method = Boosted("QueryRMSE", 60, ())
    taus = {
        e: skill(relative(made, (e, e)), method, "from smaller")["kendall_tau"].mean()
        for e in (0.0, 0.5)
    }
    assert taus[0.5] > taus[0.0] + 0.2
