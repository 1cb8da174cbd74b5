"""Finished trials as landscapes: for each dataset and model, scores over configurations.

Notation: n rows, one a distinct configuration of a group (dataset x model); p hyperparameters that
the rows vary; more score is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.core.base import Config, HistoryError
from surrogates.core.metrics import normal_scores, standard_scores
from surrogates.history.table import META, read_history
from surrogates.space.axes import Axis
from surrogates.space.encoding import SpaceEncoder

MIN_TRIALS = 5  # a group with fewer configurations says nothing of a landscape
STAGES = ("sft", "dpo", "rl")
SHARED = "shared"  # the stage of a hyperparameter that all stages have
SIZE = META + "model_log_parameters"


@dataclass(frozen=True)
class Landscape:
    """Rows sorted by group, repeats with other seeds averaged."""

    encoder: SpaceEncoder
    runs: pd.DataFrame
    """One row per finished trial, before averaging: dataset, model, group, configuration (its
    number), seed, score, score_se, size (log10 of the model's parameters; NaN where unknown)."""
    configs: list[Config]
    dataset: np.ndarray
    group: np.ndarray
    score: np.ndarray  # mean over seeds, shape (n,)
    axes: tuple[Axis, ...]  # the p hyperparameters with at least two values
    unit: np.ndarray  # n x p coordinates in [0, 1]; NaN where inactive
    ranks: bool = False  # True if `z` is made of ranks

    def __len__(self) -> int:
        return len(self.configs)

    @classmethod
    def of(cls, history: pd.DataFrame, space: ConfigurationSpace, ranks: bool = False) -> Landscape:
        """The landscapes of a history.

        Args:
            history: see `surrogates.history.table.read_history`; `seed`, `score_se` and
                `meta.model_log_parameters` are used when there. Failed trials, partial ones and
                groups of fewer than five configurations or of one score are left out.
            space: whose hyperparameters are read.
            ranks: standardise normal scores of the ranks, which a few outstanding scores do not
                dominate, instead of the scores.

        Raises:
            HistoryError: no group is left.
        """
        encoder = SpaceEncoder(space)
        runs, configs = _runs(history, encoder)
        means = runs.groupby(["group", "configuration"], as_index=False).agg(
            dataset=("dataset", "first"), score=("score", "mean")
        )
        shown = means.groupby("group")["score"].agg(["size", np.ptp])
        kept = shown.index[(shown["size"] >= MIN_TRIALS) & (shown["ptp"] > 0)]
        means, runs = means[means["group"].isin(kept)], runs[runs["group"].isin(kept)]
        if means.empty:
            raise HistoryError(
                f"no dataset has {MIN_TRIALS} full-length configurations with scores that differ: "
                "there is nothing to learn of hyperparameters. Add runs: autopipe collect"
            )
        chosen = [configs[i] for i in means["configuration"]]
        unit = encoder.to_unit(chosen)
        varied = [len(np.unique(u[~np.isnan(u)])) > 1 for u in unit.T]
        return cls(
            encoder=encoder,
            runs=runs.reset_index(drop=True),
            configs=chosen,
            dataset=means["dataset"].to_numpy(object),
            group=means["group"].to_numpy(object),
            score=means["score"].to_numpy(np.float64),
            axes=tuple(a for a, v in zip(encoder.axes, varied, strict=True) if v),
            unit=unit[:, varied],
            ranks=ranks,
        )

    @property
    def names(self) -> list[str]:
        """Of the p hyperparameters."""
        return [axis.name for axis in self.axes]

    @cached_property
    def z(self) -> np.ndarray:
        """Scores standardised within their group, shape (n,): mean 0, variance 1."""
        out = np.empty(len(self))
        for rows in self.groups.values():
            scores = self.score[rows]
            out[rows] = standard_scores(normal_scores(scores) if self.ranks else scores)
        return out

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Row numbers of each group."""
        return {str(g): np.flatnonzero(self.group == g) for g in np.unique(self.group)}

    @cached_property
    def values(self) -> pd.DataFrame:
        """n x p values of the hyperparameters; None or NaN where inactive."""
        return pd.DataFrame({name: [c.get(name) for c in self.configs] for name in self.names})


def stage_of(name: str) -> str:
    """The stage of a hyperparameter, from its prefix."""
    prefix = name.partition("_")[0]
    return prefix if prefix in STAGES else SHARED


def _runs(history: pd.DataFrame, encoder: SpaceEncoder) -> tuple[pd.DataFrame, list[Config]]:
    """Full-length trials, and the distinct configurations that they number.

    A configuration with two trials of one seed in a group was recorded twice: the last one counts.
    """
    rows = read_history(history, encoder, maximize=True)
    if rows is None:
        raise HistoryError("history has no rows.")
    keys = [encoder.key(config) for config in rows.configs]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    configs = {numbers[key]: config for key, config in zip(keys, rows.configs, strict=True)}
    table = history.reset_index(drop=True)
    measured = {"seed": "seed", "score_se": "score_se", "size": SIZE}
    runs = pd.DataFrame(
        {
            "dataset": rows.dataset.astype(str),
            "model": table["model_id"].astype(str) if "model_id" in table else "",
            "group": rows.group.astype(str),
            "configuration": [numbers[key] for key in keys],
            "score": rows.score,
            **{
                name: pd.to_numeric(table[column], errors="coerce") if column in table else np.nan
                for name, column in measured.items()
            },
        }
    )[rows.final]
    # Trials whose seed is not known are taken for trials with different ones.
    known = ["group", "configuration", "seed"]
    runs = runs[~(runs.duplicated(known, keep="last") & runs["seed"].notna())]
    return runs, [configs[i] for i in range(len(configs))]
