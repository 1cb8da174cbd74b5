"""What past datasets say about a pair of models."""

from __future__ import annotations

import math
from typing import Any

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.history.table import read_history
from surrogates.offline.agreement import CERTAINTY, MEANS, MIN_TRIALS, agreements, pooled
from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder

WIDTHS = {"small": 64.0, "large": 256.0}
SIZES = {"small": 5.0, "large": 6.5}
PAIR = ("small", "large")
RATES = st.lists(st.floats(-1.0, 1.0), max_size=12).map(tuple)
SHAPE = st.floats(0.5, 10.0)


def space() -> cs.ConfigurationSpace:
    found = cs.ConfigurationSpace(seed=0)
    found.add(
        cs.Float("sft_learning_rate", (1e-5, 1e-1), log=True, default=1e-3),
        cs.Float("decay", (0.0, 0.3), default=0.2),
    )
    return found


def rows(sign: float = 1.0, datasets: int = 2, trials: int = 20, **names: str) -> pd.DataFrame:
    """Trials of both models; the best rate of the small one is four times that of the large one."""
    table: list[dict[str, Any]] = []
    for number in range(datasets):
        configs = SpaceEncoder(space()).sample(trials, seed=number)
        for model, width in WIDTHS.items():
            best = -2.5 + 0.3 * number + math.log10(WIDTHS["large"] / width)
            for config in configs:
                value = -((math.log10(config["sft_learning_rate"]) - best) ** 2)
                value -= 20.0 * (config["decay"] - 0.1) ** 2
                table.append(
                    {f"config.{name}": value for name, value in config.items()}
                    | {
                        "dataset_id": f"d{number}",
                        names.get("column", "model_id"): model,
                        "score": value * (sign if model == "small" else 1.0),
                        "score_se": 0.01,
                        "meta.model_hidden_size": width,
                        "meta.model_log_parameters": SIZES[model],
                    }
                )
    return pd.DataFrame(table)


def found(history: pd.DataFrame) -> dict[tuple[str, str], tuple[float, ...]]:
    encoder = SpaceEncoder(space())
    history_rows = read_history(history, encoder)
    assert history_rows is not None
    return agreements(history_rows, encoder, [PAIR])


def test_models_that_agree_but_for_the_scale_of_their_rates_correlate() -> None:
    [(pair, correlations)] = found(rows()).items()
    assert pair == PAIR
    assert len(correlations) == 2
    assert min(correlations) > 0.8


def test_a_column_level_names_the_models_as_well() -> None:
    assert len(found(rows(column="level"))[PAIR]) == 2


def test_models_that_contradict_each_other_do_not() -> None:
    assert max(found(rows(sign=-1.0))[PAIR]) < 0.0


def test_too_few_trials_say_nothing() -> None:
    assert found(rows(trials=MIN_TRIALS - 1)) == {}


def test_it_is_kept_with_the_offline_models(tmp_path: Any) -> None:
    models = OfflineModels.fit(rows(), space(), pairs=[PAIR, ("small", "unknown")])
    models.save(tmp_path)
    assert list(models.agreements) == [PAIR]
    assert OfflineModels.load(tmp_path).agreements == models.agreements
    assert OfflineModels.fit(rows(), space()).agreements == {}


@given(a=SHAPE, b=SHAPE, correlations=RATES)
def test_the_pooled_prior_is_a_beta_distribution(
    a: float, b: float, correlations: tuple[float, ...]
) -> None:
    alpha, beta = pooled((a, b), correlations)
    if not correlations:
        assert (alpha, beta) == (a, b)
        return
    assert CERTAINTY[0] - 1e-9 <= alpha + beta - 2.0 <= CERTAINTY[1] + 1e-9
    mean = float(np.clip(np.mean([a / (a + b), *correlations]), *MEANS))
    assert (alpha - 1.0) / (alpha + beta - 2.0) == pytest.approx(mean)  # the mode


@given(a=SHAPE, b=SHAPE, correlations=RATES, more=st.floats(0.0, 1.0))
def test_a_better_past_is_never_a_worse_prior(
    a: float, b: float, correlations: tuple[float, ...], more: float
) -> None:
    def mode(known: tuple[float, ...]) -> float:
        alpha, beta = pooled((a, b), known)
        return (alpha - 1.0) / (alpha + beta - 2.0)

    if correlations:
        better = tuple(min(r + more, 1.0) for r in correlations)
        assert mode(better) >= mode(correlations) - 1e-9


def test_many_datasets_that_agree_make_it_certain_and_few_do_not() -> None:
    def certainty(*correlations: float) -> float:
        return sum(pooled((2.0, 2.0), correlations))

    assert certainty(0.9, 0.9, 0.9, 0.9, 0.9, 0.9) > certainty(0.9, 0.9)
    assert certainty(0.9, 0.1, 0.9, 0.1) < certainty(0.6, 0.6, 0.6, 0.6)
