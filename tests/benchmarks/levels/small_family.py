"""A small history of three models, whose best rate falls with their size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from benchmarks.levels.family import MODELS, Family, Variant, family_of
from surrogates.space.encoding import SpaceEncoder
from tests.benchmarks.replay.small_history import space, trial

COSTS = {"tiny-100k": 0.02, "tiny-1m": 0.25, "tiny-4m": 1.0}
CANDIDATES = 12


@cache
def rows() -> pd.DataFrame:
    """Twelve configurations on every model of one dataset, and one more on the smallest."""
    made = []
    configs = SpaceEncoder(space()).sample(CANDIDATES + 1, seed=0)
    for size, model in enumerate(MODELS):
        rng = np.random.default_rng(size)
        for number, config in enumerate(configs[: CANDIDATES + (size == 0)]):
            distance = abs(np.log10(config["rate"]) + 2.0 + 0.3 * size)
            cost = COSTS[model] * float(rng.uniform(0.5, 1.5))
            lines = trial("d0", number, config, float(np.exp(-distance)), cost)
            for line in lines:
                line |= {
                    "model_id": model,
                    "trial_id": f"{model}/{line['trial_id']}",
                    "cost_flops": 1e12 * line["cost_seconds"],
                    "meta.model_hidden_size": 64.0 * 2**size,
                }
            made += lines
    return pd.DataFrame(made)


@cache
def encoder() -> SpaceEncoder:
    """Of the space of the configurations."""
    return SpaceEncoder(space())


@cache
def family(variant: Variant = "true") -> Family:
    """The family of the dataset."""
    return family_of(rows(), "d0", encoder(), variant)
