"""A small history with known rules, in the form that `tasks.offline.train.past_trials` gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import ConfigSpace as cs
import numpy as np
import pandas as pd

from benchmarks.replay.tables import FRACTIONS, ReplayTask, replay_task
from surrogates.space.encoding import SpaceEncoder

MODEL = "small"


def space() -> cs.ConfigurationSpace:
    """Five hyperparameters of every kind; `rank` is active for one adapter alone."""
    made = cs.ConfigurationSpace(seed=0)
    adapter = cs.Categorical("adapter", ["full", "lora"], default="full")
    rank = cs.Categorical("rank", [4, 8, 16], default=8, ordered=True)
    made.add(
        cs.Float("rate", (1e-4, 1e-1), log=True),
        cs.Float("share", (0.0, 1.0)),
        cs.Integer("batch", (1, 32), log=True),
        adapter,
        rank,
    )
    made.add(cs.EqualsCondition(rank, adapter, "lora"))
    return made


def trial(
    dataset: str, number: int, config: dict[str, Any], final: float, seconds: float, seed: int = 0
) -> list[dict[str, Any]]:
    """A finished trial and its prefixes: the score grows in proportion to the root of the time."""
    common = {
        "trial_id": f"{dataset}/{number}/{seed}",
        "dataset_id": dataset,
        "dataset_fingerprint": f"hash of {dataset}",
        "model_id": MODEL,
        "state": "completed",
        "seed": seed,
        "meta.size": float(len(dataset)),
        **{f"config.{name}": value for name, value in config.items()},
    }
    return [
        common
        | {
            "fraction": fraction,
            "score": final * fraction**0.5,
            "score_se": 0.01 if fraction == 1.0 else np.nan,
            "cost_seconds": seconds * fraction,
            "signal.score": final * fraction**0.5,
        }
        for fraction in FRACTIONS
    ]


def history(datasets: int = 4, trials: int = 12) -> pd.DataFrame:
    """Datasets on which the learning rate decides, with a best one that differs a little."""
    rows = []
    for number in range(datasets):
        rng = np.random.default_rng(number)
        configs = SpaceEncoder(space()).sample(trials, seed=number)
        for at, config in enumerate(configs):
            distance = abs(np.log10(config["rate"]) + 2.5 + 0.1 * number)
            final = float(np.exp(-distance) + 0.02 * rng.standard_normal())
            rows += trial(f"d{number}", at, config, final, float(rng.uniform(5, 20)))
    return pd.DataFrame(rows)


def failed(dataset: str, number: int, config: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A failed trial's only row."""
    [*_, row] = trial(dataset, number, config, 0.0, seconds)
    return row | {"state": "failed", "score": np.nan, "score_se": np.nan, "signal.score": np.nan}


@cache
def small_task() -> tuple[ReplayTask, SpaceEncoder, pd.DataFrame]:
    """The table of the first dataset, the encoder of the space, and the whole history."""
    rows, encoder = history(), SpaceEncoder(space())
    return replay_task(rows, "d0", MODEL, encoder), encoder, rows
