"""The cost of a full-length trial, in the caller's units.

Offline: CatBoost on log(cost / fraction) of past trials, centred within each dataset, so that it
knows which settings are dear and cheap, whatever the unit. Online: ridge regression of the observed
log costs on that prediction (slope shrunk towards 1) and on the encoded configuration (weights
shrunk towards 0). With neither, every trial costs 1. Source: AutoLRS and cost-aware Bayesian
optimisation model the logarithm of cost for the same reason, its errors being multiplicative.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor

from surrogates.core.base import Config
from surrogates.history.features import QUIET, FeatureSchema, described, informative, save_model
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
        frame = informative(history.features(keep, encoder, history.columns(META)))
        target = (log_cost - centre).to_numpy()
        if frame.shape[1] == 0 or np.ptp(target) < 1e-9:
            return None
        schema = FeatureSchema.infer(frame)
        model = CatBoostRegressor(
            iterations=150, depth=4, learning_rate=0.1, border_count=32, random_seed=seed,
            **QUIET,
        )  # fmt: skip
        model.fit(schema.pool(frame, label=target))
        return cls(schema, model, float(np.median(centre)))

    def relative_log_cost(
        self, configs: Sequence[Config], dataset: Mapping[str, Any] | None, encoder: SpaceEncoder
    ) -> np.ndarray:
        """Log cost relative to a typical trial of the same task, shape (n,)."""
        pool = self.schema.pool(described(encoder, configs, dataset))
        return self.model.predict(pool, thread_count=1)

    def save(self, folder: Path) -> None:
        """Write `cost.json` and `cost.cbm`."""
        save_model(self.model, folder / "cost.cbm")
        payload = {"schema": asdict(self.schema), "base": self.base}
        (folder / "cost.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> CostModel:
        """Inverse of `save`; predictions are bit-equal."""
        payload = json.loads((folder / "cost.json").read_text())
        model = CatBoostRegressor().load_model(str(folder / "cost.cbm"))
        return cls(FeatureSchema.from_dict(payload["schema"]), model, payload["base"])


def expected_log_cost(
    prior: np.ndarray,
    cube: np.ndarray,
    observed_prior: np.ndarray,
    observed_cube: np.ndarray,
    observed_log_cost: np.ndarray,
    base: float = 0.0,
) -> np.ndarray:
    """Log cost of full-length trials: the offline prediction corrected by the observed costs.

    Minimises ``|y - a - X w|^2 + |sqrt(L) (w - w0)|^2`` with ``X = [prior, cube]``,
    ``w0 = (1, 0, ..., 0)`` and L the prior precisions; a is free, for units may differ.

    Args:
        prior, observed_prior: Offline relative log cost of the n configurations and of the t
            observed trials (zeros without history).
        cube, observed_cube: Their encodings, `n x d` and `t x d`.
        observed_log_cost: log(cost / fraction), (t,).
        base: Log cost level to assume before any is observed.
    """
    if len(observed_log_cost) == 0:
        return base + prior
    observed = np.column_stack([observed_prior, observed_cube])
    centre, level = observed.mean(axis=0), observed_log_cost.mean()
    w0 = np.zeros(observed.shape[1])
    w0[0] = 1.0
    precision = np.full(len(w0), WEIGHT_PRECISION)
    precision[0] = SLOPE_PRECISION * max(float(np.var(observed_prior)), 1e-3)
    # Centring the inputs and outputs removes a. The ridge is on w - w0, so what is regressed is
    # what w0 leaves unexplained.
    x = observed - centre
    residual = observed_log_cost - level - x @ w0
    weights = w0 + np.linalg.solve(x.T @ x + np.diag(precision), x.T @ residual)
    # A few trials must not extrapolate to absurd costs elsewhere in the space.
    spread = max(3.0 * float(np.std(observed_log_cost)), float(np.ptp(prior)), 0.0)
    return level + np.clip((np.column_stack([prior, cube]) - centre) @ weights, -spread, spread)
