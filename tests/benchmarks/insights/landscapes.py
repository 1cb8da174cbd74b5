"""Synthetic histories whose answers are known: effects, a pair, noise, several model sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ConfigSpace as cs
import numpy as np
import pandas as pd

from surrogates.space.encoding import SpaceEncoder

Score = Callable[[dict], float]


def small_space() -> cs.ConfigurationSpace:
    """Two ranges, levels, choices, and a hyperparameter that one of the choices needs."""
    space = cs.ConfigurationSpace(seed=0)
    adapter = cs.Categorical("adapter", ["full", "lora"])
    rank = cs.OrdinalHyperparameter("lora_rank", [4, 8, 16])
    space.add(
        cs.Float("sft_learning_rate", (1e-4, 1e-2), log=True),
        cs.Float("rl_learning_rate", (1e-6, 1e-3), log=True),
        cs.Float("rl_temperature", (0.6, 1.2)),
        cs.OrdinalHyperparameter("rl_num_generations", [4, 8]),
        adapter,
        rank,
    )
    space.add(cs.EqualsCondition(rank, adapter, "lora"))
    return space


def unit(config: dict, name: str) -> float:
    """Position of a learning rate in its range, -1 to 1."""
    low, high = {"sft_learning_rate": (-4.0, -2.0), "rl_learning_rate": (-6.0, -3.0)}[name]
    return 2.0 * (np.log10(config[name]) - low) / (high - low) - 1.0


def history_of(
    score: Score,
    *,
    datasets: int = 6,
    configurations: int = 40,
    noise: float = 0.0,
    models: Sequence[str] = ("small",),
    seeds: int = 1,
    own: dict[str, float] | None = None,
) -> pd.DataFrame:
    """A table of full-length trials.

    Args:
        score: of a configuration, without noise.
        datasets, configurations: how many; every dataset has other configurations.
        noise: standard deviation between trials, also told as the standard error of evaluation.
        models: all run the same configurations; each is ten times as large as the one before.
        seeds: trials of a configuration.
        own: standard deviation of what is a model's own about a configuration, by model.
    """
    encoder, rows = SpaceEncoder(small_space()), []
    rng = np.random.default_rng(7)
    for d in range(datasets):
        configs = encoder.sample(configurations, seed=50 + d)
        for size, model in enumerate(models):
            shift = (own or {}).get(model, 0.0) * rng.standard_normal(len(configs))
            for config, extra in zip(configs, shift, strict=True):
                for seed in range(seeds):
                    rows.append(
                        {
                            "dataset_id": f"d{d}",
                            "model_id": model,
                            "seed": seed,
                            "score": 3.0 * d + score(config) + extra + noise * rng.normal(),
                            "score_se": noise,
                            "meta.model_log_parameters": 5.0 + size,
                            **{f"config.{k}": v for k, v in config.items()},
                        }
                    )
    return pd.DataFrame(rows)
