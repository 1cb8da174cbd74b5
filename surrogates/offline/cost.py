"""What a full-length trial will cost, in the caller's units.

Offline: CatBoost on log(cost / fraction) of past trials, centred within each dataset, so that it
knows which settings are dear and cheap, whatever the unit. Online: ridge regression of the told
log costs on that opinion (slope shrunk towards 1) and on the encoded configuration (weights
shrunk towards 0). With neither, every trial costs 1. Source: AutoLRS and cost-aware Bayesian
optimisation model the logarithm of cost for the same reason, its errors being multiplicative.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor

from surrogates.core.base import Config
from surrogates.history.features import QUIET, FeatureSchema, fixed_columns, informative, save_model
from surrogates.history.table import META, History
from surrogates.space.encoding import SpaceEncoder

MIN_ROWS = 10
SLOPE_PRECISION, WEIGHT_PRECISION = 1.0, 4.0


@dataclass
class CostModel:
    """Offline part: relative log cost of a configuration. Build it with `fit` or `load`."""

    schema: FeatureSchema
    model: CatBoostRegressor
    base: float
    """Median over past tasks of their median log cost."""

    @classmethod
    def fit(cls, history: History, encoder: SpaceEncoder, seed: int = 0) -> CostModel | None:
        """Train on the longest row of each trial. None where the history holds too few costs."""
        known = np.isfinite(history.cost) & (history.fraction > 0) & ~history.failed
        order = np.flatnonzero(known)
        order = order[np.argsort(-history.fraction[order], kind="stable")]
        _, first = np.unique(history.trial[order].astype(str), return_index=True)
        keep = np.sort(order[first])
        if len(keep) < MIN_ROWS:
            return None
        log_cost = pd.Series(np.log(history.cost[keep] / history.fraction[keep]))
        centre = log_cost.groupby(history.group[keep]).transform("median")
        meta = history.table[history.columns(META)].iloc[keep].reset_index(drop=True)
        configs = encoder.frame([history.configs[i] for i in keep])
        frame = informative(pd.concat([configs, meta], axis=1))
        target = (log_cost - centre).to_numpy()
        if frame.shape[1] == 0 or np.ptp(target) < 1e-9:
            return None
        schema = FeatureSchema.infer(frame)
        model = CatBoostRegressor(
            iterations=150, depth=4, learning_rate=0.1, border_count=32, random_seed=seed,
            **QUIET,
        )  # fmt: skip
        model.fit(schema.pool(schema.prepare(frame), label=target))
        return cls(schema, model, float(np.median(centre)))

    def relative_log_cost(
        self, configs: Sequence[Config], dataset: Mapping[str, Any] | None, encoder: SpaceEncoder
    ) -> np.ndarray:
        """Log cost relative to a typical trial of the same task, shape (n,)."""
        frame = pd.concat(
            [encoder.frame(configs), fixed_columns(dataset, META, len(configs))], axis=1
        )
        return self.model.predict(self.schema.pool(self.schema.prepare(frame)), thread_count=1)

    def save(self, folder: Path) -> None:
        """Write `cost.json` and `cost.cbm`."""
        save_model(self.model, folder / "cost.cbm")
        payload = {"schema": self.schema.to_dict(), "base": self.base}
        (folder / "cost.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> CostModel:
        """Inverse of `save`; predictions are bit-equal."""
        payload = json.loads((folder / "cost.json").read_text())
        model = CatBoostRegressor().load_model(str(folder / "cost.cbm"))
        return cls(FeatureSchema.from_dict(payload["schema"]), model, payload["base"])


def expected_log_cost(
    opinion: np.ndarray,
    cube: np.ndarray,
    told_opinion: np.ndarray,
    told_cube: np.ndarray,
    told_log_cost: np.ndarray,
    base: float = 0.0,
) -> np.ndarray:
    """Log cost of full-length trials, the offline opinion corrected by the told costs.

    Minimises ``|y - a - X w|^2 + |sqrt(L) (w - w0)|^2`` with ``X = [opinion, cube]``,
    ``w0 = (1, 0, ..., 0)`` and L the prior precisions; a is free, for units may differ.

    Args:
        opinion: Offline relative log cost of the n configurations (zeros without history).
        cube: Their `n x d` encoding.
        told_opinion: The same for the t told trials.
        told_cube: `t x d`.
        told_log_cost: log(cost / fraction) told for them.
        base: Log cost level to assume while nothing is told.
    """
    if len(told_log_cost) == 0:
        return base + opinion
    told = np.column_stack([told_opinion, told_cube])
    new = np.column_stack([opinion, cube])
    centre, level = told.mean(axis=0), told_log_cost.mean()
    prior = np.zeros(told.shape[1])
    prior[0] = 1.0
    precision = np.full(told.shape[1], WEIGHT_PRECISION)
    precision[0] = SLOPE_PRECISION * max(float(np.var(told_opinion)), 1e-3)
    x = told - centre
    residual = told_log_cost - level - x @ prior
    weights = prior + np.linalg.solve(x.T @ x + np.diag(precision), x.T @ residual)
    # A few trials must not extrapolate to absurd costs elsewhere in the space.
    spread = max(3.0 * float(np.std(told_log_cost)), float(np.ptp(opinion)), 0.0)
    return level + np.clip((new - centre) @ weights, -spread, spread)
