"""From the first part of a run to its final score, with a variance that can be believed.

Trained on prefixes of past trials (rows with fraction < 1 joined to the final score of the same
trial). With s_t the standard deviation of the final scores of task t, the target is
``(final - last score seen) / s_t``, so nothing assumes a scale. CatBoost's RMSEWithUncertainty
gives mean mu and variance sigma^2 (Malinin et al., arXiv 2006.10562). What it does not know is how
tasks differ, so held-out datasets add the excess v(fraction) = mean(error^2 - sigma^2) and the
factor c for which ``|target - mu| <= 1.645 c sqrt(sigma^2 + v)`` holds in 90 % of cases. On a new
task of scale s: final ~ N(last + s mu, s^2 c^2 (sigma^2 + v)). Part of that error is shared by all
trials of a task and does not hurt a choice among them; its share is kept for each rung.
Source of the idea: JF-HPO (arXiv 2606.03073).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRegressor

from surrogates.base import Config
from surrogates.encoding import SpaceEncoder
from surrogates.features import FeatureSchema, fixed_columns, folds, informative
from surrogates.history import META, SIGNAL, History
from surrogates.metrics import spearman

MAX_FOLDS = 6
MIN_ROWS = 20
Z90 = 1.6449
LAST, FRACTION = "last_score", "fraction"
MAX_RUNGS = 8  # more distinct fractions than this are read as a continuum and binned
BINS = (0.1, 0.2, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class RungSkill:
    """What a held-out dataset's final scores could be known from at one fraction."""

    fraction: float
    rows: int
    spearman: float
    """Mean over held-out datasets, predicted against actual final score."""
    explained: float
    """Mean share of the within-dataset variance of final scores, in [0, 1]."""
    coverage90: float
    """Share of final scores inside the calibrated 90 % interval."""
    mae: float
    """Mean absolute error in units of the dataset's standard deviation."""
    spearman_last: float
    """The baseline: the last score seen, as it is."""
    mae_last: float
    excess: float
    """v: held-out squared error beyond the model's own variance, in squared task scales."""
    shared: float
    """Share of the squared error that is the same for all trials of a task, in [0, 1]."""


@dataclass
class EarlyPredictor:
    """Predicts the full-length score of a partial run. Build it with `fit` or `load`."""

    schema: FeatureSchema
    model: CatBoostRegressor
    calibration: float
    """Factor c on the predicted standard deviation."""
    typical_scale: float
    """Median over past tasks of the standard deviation of final scores."""
    scale_spread: float
    """Standard deviation of the logarithm of that scale over past tasks."""
    rungs: list[RungSkill]

    @classmethod
    def fit(cls, history: History, encoder: SpaceEncoder, seed: int = 0) -> EarlyPredictor | None:
        """Train, calibrate and judge on held-out datasets (trials, where there is one dataset).

        Returns:
            None if the history holds fewer than 20 usable prefixes.
        """
        data = prefix_rows(history, encoder)
        if len(data.target) < MIN_ROWS or len(np.unique(data.trial.astype(str))) < 5:
            return None
        schema = FeatureSchema.infer(data.features)
        prepared = schema.prepare(data.features)
        mean, sd = held_out_predictions(schema, prepared, data, seed)
        known = np.isfinite(mean)
        if known.sum() < MIN_ROWS // 2:
            return None
        excess = _excess(data, mean, sd)
        spread = np.sqrt(sd**2 + _at(excess, data.fraction))
        calibration = _calibrate(data.target[known], mean[known], spread[known])
        scales = history.group_scales()["std"]
        scales = scales[scales > 0]
        return cls(
            schema,
            _train(schema, prepared, data.target, seed),
            calibration,
            float(scales.median()),
            float(np.log(scales).std(ddof=0)),
            _judge(data, mean, calibration * spread, excess),
        )

    def predict(self, rows: pd.DataFrame, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Full-length score of partial runs.

        Args:
            rows: n rows as made by `rows`.
            scale: Standard deviation of final scores on the task (see `typical_scale`).

        Returns:
            Mean and variance in raw score units, each of shape (n,).
        """
        last = rows[LAST].to_numpy(np.float64)
        mean, sd = _mean_sd(self.model, self.schema, self.schema.prepare(rows))
        excess = {r.fraction: r.excess for r in self.rungs}
        variance = sd**2 + _at(excess, rows[FRACTION].to_numpy(np.float64))
        return last + scale * mean, (scale * self.calibration) ** 2 * variance

    def rows(
        self,
        configs: Sequence[Config],
        fractions: Sequence[float],
        last_scores: Sequence[float],
        signals: Sequence[Mapping[str, float]],
        dataset: Mapping[str, Any] | None,
        encoder: SpaceEncoder,
    ) -> pd.DataFrame:
        """The feature table of n partial runs; signal names with or without their prefix."""
        frame = pd.concat(
            [encoder.frame(configs), fixed_columns(dataset, META, len(configs))], axis=1
        )
        frame[FRACTION], frame[LAST] = list(fractions), list(last_scores)
        named = [
            {k if k.startswith(SIGNAL) else SIGNAL + k: v for k, v in s.items()} for s in signals
        ]
        return pd.concat([frame, pd.DataFrame(named, index=frame.index)], axis=1)

    @property
    def signal_names(self) -> list[str]:
        """Signals the model looks at (without their prefix)."""
        return [c.removeprefix(SIGNAL) for c in self.schema.columns if c.startswith(SIGNAL)]

    def explained_at(self, fraction: float) -> float:
        """Explained share of the variance at a fraction, interpolated between judged rungs."""
        known = sorted((r.fraction, r.explained) for r in self.rungs)
        x, y = [0.0, *(k for k, _ in known), 1.0], [0.0, *(v for _, v in known), 1.0]
        return float(np.interp(fraction, x, y))

    def shared_at(self, fraction: float) -> float:
        """Share of the error variance that all trials of a task have in common, in [0, 1]."""
        known = sorted((r.fraction, r.shared) for r in self.rungs)
        x, y = [f for f, _ in known], [s for _, s in known]
        return float(np.interp(fraction, x, y)) if known else 0.0

    def save(self, folder: Path) -> None:
        """Write `early.json` and `early.cbm`."""
        self.model.save_model(str(folder / "early.cbm"))
        payload = {
            "schema": self.schema.to_dict(),
            "calibration": self.calibration,
            "typical_scale": self.typical_scale,
            "scale_spread": self.scale_spread,
            "rungs": [asdict(r) for r in self.rungs],
        }
        (folder / "early.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> EarlyPredictor:
        """Inverse of `save`; predictions are bit-equal."""
        payload = json.loads((folder / "early.json").read_text())
        model = CatBoostRegressor().load_model(str(folder / "early.cbm"))
        payload["rungs"] = [RungSkill(**r) for r in payload["rungs"]]
        return cls(FeatureSchema.from_dict(payload.pop("schema")), model, **payload)


@dataclass(frozen=True)
class PrefixRows:
    """Training data: n prefixes of past trials with their outcome."""

    features: pd.DataFrame
    target: np.ndarray
    """(final - last) / scale."""
    final: np.ndarray
    scale: np.ndarray
    fraction: np.ndarray
    dataset: np.ndarray
    group: np.ndarray
    trial: np.ndarray


def prefix_rows(history: History, encoder: SpaceEncoder) -> PrefixRows:
    """Rows with fraction < 1 joined to the mean final score of the same trial."""
    finals = pd.Series(history.score[history.final]).groupby(history.trial[history.final]).mean()
    scales = history.group_scales()["std"]
    final = finals.reindex(history.trial).to_numpy()
    scale = scales.reindex(history.group).to_numpy()
    partial = (history.fraction < 1.0) & ~history.failed
    keep = np.flatnonzero(partial & np.isfinite(final) & (scale > 0))
    frame = pd.concat(
        [
            encoder.frame(history.configs),
            history.table[history.columns(META) + history.columns(SIGNAL)],
            pd.DataFrame({FRACTION: history.fraction, LAST: history.score}),
        ],
        axis=1,
    )
    features = frame.iloc[keep].reset_index(drop=True)
    varied = informative(features) if len(keep) else features
    return PrefixRows(
        features=varied,
        target=(final[keep] - history.score[keep]) / scale[keep],
        final=final[keep],
        scale=scale[keep],
        fraction=history.fraction[keep],
        dataset=history.dataset[keep],
        group=history.group[keep],
        trial=history.trial[keep],
    )


def held_out_predictions(
    schema: FeatureSchema, prepared: pd.DataFrame, data: PrefixRows, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the target from models that never saw the row's dataset; NaN if impossible."""
    several = len(np.unique(data.dataset.astype(str))) > 1
    labels = data.dataset if several else data.trial
    mean, sd = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for test in folds(labels, MAX_FOLDS):
        if (~test).sum() < MIN_ROWS // 2:
            continue
        try:
            model = _train(schema, prepared[~test], data.target[~test], seed)
        except CatBoostError:  # e.g. every target or feature is constant in what is left
            continue
        mean[test], sd[test] = _mean_sd(model, schema, prepared[test])
    return mean, sd


def _train(
    schema: FeatureSchema, prepared: pd.DataFrame, target: np.ndarray, seed: int
) -> CatBoostRegressor:
    model = CatBoostRegressor(
        loss_function="RMSEWithUncertainty",
        iterations=200,
        depth=4,
        learning_rate=0.06,
        l2_leaf_reg=5.0,
        border_count=32,
        random_seed=seed,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
    )
    return model.fit(schema.pool(prepared, label=target))


def _mean_sd(
    model: CatBoostRegressor, schema: FeatureSchema, prepared: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    out = model.predict(schema.pool(prepared), thread_count=1)
    return out[:, 0], np.sqrt(np.maximum(out[:, 1], 1e-12))


def _calibrate(target: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> float:
    """Factor on sd for which the 90 % interval covers 90 % of held-out targets.

    The quantile carries the finite-sample correction of split conformal prediction.
    """
    ratio = np.abs(target - mean) / sd
    level = min(1.0, 0.9 * (len(ratio) + 1) / len(ratio))
    return float(max(np.quantile(ratio, level) / Z90, 0.1))


def _rung_of(fraction: np.ndarray) -> np.ndarray:
    """The fraction itself, rounded; the nearest bin where there are many distinct ones."""
    rounded = np.round(fraction, 2)
    if len(np.unique(rounded)) <= MAX_RUNGS:
        return rounded
    bins = np.array(BINS)
    return bins[np.abs(fraction[:, None] - bins).argmin(axis=1)]


def _excess(data: PrefixRows, mean: np.ndarray, sd: np.ndarray) -> dict[float, float]:
    """Held-out squared error beyond the predicted variance, at each rung."""
    rung, known = _rung_of(data.fraction), np.isfinite(mean)
    surplus = (data.target - mean) ** 2 - sd**2
    rungs = np.unique(rung[known])
    return {float(r): max(1e-6, float(surplus[known & (rung == r)].mean())) for r in rungs}


def _at(excess: Mapping[float, float], fraction: np.ndarray) -> np.ndarray:
    """Excess variance interpolated between rungs."""
    known = sorted(excess)
    return np.interp(fraction, known, [excess[r] for r in known]) if known else 0.0 * fraction


def _judge(
    data: PrefixRows, mean: np.ndarray, sd: np.ndarray, excess: Mapping[float, float]
) -> list[RungSkill]:
    """Skill at each fraction, averaged over the groups that hold at least four trials there."""
    rung, group = _rung_of(data.fraction), data.group.astype(str)
    out = []
    for r in np.unique(rung):
        chosen = [(rung == r) & (group == name) & np.isfinite(mean) for name in np.unique(group)]
        records = [
            _judge_group(data, mean, sd, rows)
            for rows in chosen
            if rows.sum() >= 4 and np.ptp(data.final[rows]) > 0
        ]
        if records:
            values = {str(k): float(v) for k, v in pd.DataFrame(records).mean().items()}
            count = int(sum(rows.sum() for rows in chosen))
            shared = values.pop("bias2") / max(values.pop("error2"), 1e-12)
            out.append(
                RungSkill(
                    fraction=float(r), rows=count, excess=excess[float(r)], shared=shared, **values
                )
            )
    return out


def _judge_group(
    data: PrefixRows, mean: np.ndarray, sd: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """Skill on one held-out group at one fraction."""
    actual, error = data.final[rows], data.target[rows] - mean[rows]
    last = actual - data.target[rows] * data.scale[rows]
    missed = error * data.scale[rows]
    return {
        "spearman": spearman(actual - missed, actual),
        # An error that all trials of a task share does not hurt a choice among them.
        "explained": max(0.0, 1.0 - float(np.var(missed) / np.var(actual))),
        "coverage90": float(np.mean(np.abs(error) <= Z90 * sd[rows])),
        "mae": float(np.mean(np.abs(error))),
        "spearman_last": spearman(last, actual),
        "mae_last": float(np.mean(np.abs(data.target[rows]))),
        "bias2": float(np.mean(error)) ** 2,
        "error2": float(np.mean(error**2)),
    }
