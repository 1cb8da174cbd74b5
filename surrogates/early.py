"""From the first part of a run to its final score, with a variance that can be believed.

Trained on prefixes of past trials (rows with fraction < 1 joined to the final score of the same
trial). With s_t the standard deviation of the final scores of task t, the target is
``(final - last score seen) / s_t``, and scores enter as gains, ``(score - base score) / s_t``: a
raw score means something else on every dataset, and a model that sees it does not transfer.
CatBoost's RMSEWithUncertainty gives mean mu and variance sigma^2 (arXiv 2006.10562). What it
does not know is how tasks differ, so held-out datasets add lambda, v and c (`calibration.py`). On a
new task of scale s: final ~ N(last + s lambda mu, s^2 c^2 (sigma^2 + v)). Part of that error is
shared by all trials of a task and does not hurt a choice among them; its share is kept for each
rung. Source of the idea: JF-HPO (arXiv 2606.03073).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRegressor

from surrogates.base import Config
from surrogates.calibration import Z90, Calibration, cross_calibrate, rung_of
from surrogates.encoding import SpaceEncoder
from surrogates.features import FeatureSchema, fixed_columns, folds, informative, save_model
from surrogates.history import META, SIGNAL, History
from surrogates.metrics import spearman

MAX_FOLDS = 6
MIN_ROWS = 20
MAX_ROWS = 15_000  # a model learns from so many; more of them cost time and add next to no skill
LAST, FRACTION = "last_score", "fraction"
GAIN, BEST_GAIN = "gain", "best_gain"
BASE, BEST = META + "base_score", SIGNAL + "score_best"
# In units of the score: they enter as gains or not at all.
RAW_SCORES = (LAST, SIGNAL + "score", BEST, SIGNAL + "score_gain")


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
    """Share of final scores inside the 90 % interval, calibrated on the other datasets."""
    mae: float
    """Mean absolute error in units of the dataset's standard deviation."""
    spearman_last: float
    """The baseline: the last score seen, as it is."""
    mae_last: float
    excess: float
    """v: held-out squared error beyond the model's own variance, in squared task scales."""
    shared: float
    """Share of the squared error that is the same for all trials of a task, in [0, 1]."""
    shrink: float = 1.0
    """lambda: share of the forecast change that is believed, in [0, 1]."""
    saved: float = math.nan
    """Share of all trials' cost that would not be paid if each stopped here; NaN if unknown."""


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
    sign: float = 1.0
    """1 where more is better in the caller's scores, else -1."""
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row a held-out group and fraction (kept for reports, not saved)."""

    @classmethod
    def fit(
        cls, history: History, encoder: SpaceEncoder, seed: int = 0, at_most: int = MAX_FOLDS
    ) -> EarlyPredictor | None:
        """Train, calibrate and judge on held-out datasets (trials, where there is one dataset).

        Args:
            history: With prefixes.
            encoder: The space.
            seed: Of the model.
            at_most: Number of folds; datasets beyond it are held out together.

        Returns:
            None if the history holds fewer than 20 usable prefixes.
        """
        data = prefix_rows(history, encoder)
        if len(data.target) < MIN_ROWS or len(np.unique(data.trial.astype(str))) < 5:
            return None
        held_out = data.folds(at_most)
        mean, sd = held_out_predictions(data, held_out, seed)
        known = np.isfinite(mean)
        if known.sum() < MIN_ROWS // 2:
            return None
        judged = cross_calibrate(data.target, mean, sd, data.fraction, held_out)
        table = judge_forecasts(data, *(judged if np.isfinite(judged[0]).any() else (mean, sd)))
        calibration = Calibration.fit(
            data.target[known], mean[known], sd[known], data.fraction[known]
        )
        scales = history.group_scales()["std"]
        scales = scales[scales > 0]
        features = relative(data.features, data.scale, history.sign)
        schema = FeatureSchema.infer(informative(features))
        return cls(
            schema,
            _train(schema, schema.prepare(features), data.target, seed),
            calibration.factor,
            float(scales.median()),
            float(np.log(scales).std(ddof=0)),
            _summarise(table, calibration),
            history.sign,
            table,
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
        features = relative(rows, scale, self.sign)
        mean, sd = _mean_sd(self.model, self.schema, self.schema.prepare(features))
        calibration = Calibration(
            {r.fraction: r.shrink for r in self.rungs},
            {r.fraction: r.excess for r in self.rungs},
            self.calibration,
        )
        mean, sd = calibration.apply(mean, sd, rows[FRACTION].to_numpy(np.float64))
        return last + scale * mean, (scale * sd) ** 2

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
        save_model(self.model, folder / "early.cbm")
        payload = {
            "schema": self.schema.to_dict(),
            "calibration": self.calibration,
            "typical_scale": self.typical_scale,
            "scale_spread": self.scale_spread,
            "sign": self.sign,
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
    """Raw, as `EarlyPredictor.rows` makes them; see `relative`."""
    target: np.ndarray
    """(final - last) / scale."""
    final: np.ndarray
    scale: np.ndarray
    fraction: np.ndarray
    dataset: np.ndarray
    group: np.ndarray
    trial: np.ndarray
    cost: np.ndarray
    """Of the prefix."""
    full_cost: np.ndarray
    sign: float

    def folds(self, at_most: int) -> list[np.ndarray]:
        """Held-out masks: datasets, or trials where there is one dataset."""
        several = len(np.unique(self.dataset.astype(str))) > 1
        return folds(self.dataset if several else self.trial, at_most)


def prefix_rows(history: History, encoder: SpaceEncoder) -> PrefixRows:
    """Rows with fraction < 1 joined to the mean final score of the same trial."""
    ends = pd.DataFrame({"score": history.score, "cost": history.cost})[history.final]
    ends = ends.groupby(history.trial[history.final]).mean().reindex(history.trial)
    final = ends["score"].to_numpy()
    scale = history.group_scales()["std"].reindex(history.group).to_numpy()
    partial = (history.fraction < 1.0) & ~history.failed
    keep = np.flatnonzero(partial & np.isfinite(final) & (scale > 0))
    described = history.table[history.columns(META) + history.columns(SIGNAL)]
    features = pd.concat(
        [
            encoder.frame([history.configs[i] for i in keep]),
            described.iloc[keep].reset_index(drop=True),
            pd.DataFrame({FRACTION: history.fraction[keep], LAST: history.score[keep]}),
        ],
        axis=1,
    )
    return PrefixRows(
        features=features,
        target=(final[keep] - history.score[keep]) / scale[keep],
        final=final[keep],
        scale=scale[keep],
        fraction=history.fraction[keep],
        dataset=history.dataset[keep],
        group=history.group[keep],
        trial=history.trial[keep],
        cost=history.cost[keep],
        full_cost=ends["cost"].to_numpy()[keep],
        sign=history.sign,
    )


def relative(features: pd.DataFrame, scale: np.ndarray | float, sign: float) -> pd.DataFrame:
    """Features with scores as gains over the base model in task scales.

    A base score that is not known counts as 0.
    """
    out = features.drop(columns=[c for c in RAW_SCORES if c in features])
    base = sign * pd.to_numeric(features[BASE]).fillna(0.0) if BASE in features else 0.0
    out[GAIN] = (features[LAST] - base) / scale
    if BEST in features:
        out[BEST_GAIN] = (sign * pd.to_numeric(features[BEST]) - base) / scale
    return out


def held_out_predictions(
    data: PrefixRows, held_out: list[np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the target from models that never saw the row's fold; NaN if impossible.

    The scale of a held-out task is not known either: the forecast is made with the median of the
    others', and then expressed in the task's own, in which the target is.
    """
    mean, sd = np.full(len(data.target), np.nan), np.full(len(data.target), np.nan)
    for test in held_out:
        if (~test).sum() < MIN_ROWS // 2:
            continue
        groups = pd.Series(data.scale[~test]).groupby(data.group[~test])
        used = np.where(test, float(groups.first().median()), data.scale)
        features = relative(data.features, used, data.sign)
        schema = FeatureSchema.infer(informative(features[~test]))
        prepared = schema.prepare(features)
        try:
            model = _train(schema, prepared[~test], data.target[~test], seed)
        except CatBoostError:  # e.g. every target or feature is constant in what is left
            continue
        ratio = (used / data.scale)[test]
        mean[test], sd[test] = (ratio * v for v in _mean_sd(model, schema, prepared[test]))
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
        # Categories as they are, not as statistics of the target over them: as good, twice as fast.
        one_hot_max_size=10,
        random_seed=seed,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
    )
    if len(target) > MAX_ROWS:
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(len(target), MAX_ROWS, replace=False))
        prepared, target = prepared.iloc[drawn], target[drawn]
    return model.fit(schema.pool(prepared, label=target))


def _mean_sd(
    model: CatBoostRegressor, schema: FeatureSchema, prepared: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    out = model.predict(schema.pool(prepared), thread_count=1)
    return out[:, 0], np.sqrt(np.maximum(out[:, 1], 1e-12))


def judge_forecasts(data: PrefixRows, mean: np.ndarray, sd: np.ndarray) -> pd.DataFrame:
    """Skill on each group at each fraction where at least four of its trials have a forecast.

    Args:
        data: n prefixes.
        mean: Forecasts of `data.target`, NaN where there is none.
        sd: Their calibrated standard deviations.
    """
    rung, group = rung_of(data.fraction), data.group.astype(str)
    records = []
    for r in np.unique(rung):
        for name in np.unique(group):
            rows = (rung == r) & (group == name) & np.isfinite(mean)
            if rows.sum() >= 4 and np.ptp(data.final[rows]) > 0:
                where = {"fraction": float(r), "group": name, "dataset": data.dataset[rows][0]}
                records.append(where | _judge_group(data, mean, sd, rows))
    return pd.DataFrame(records)


def _summarise(table: pd.DataFrame, calibration: Calibration) -> list[RungSkill]:
    """Means over groups."""
    out = []
    for r in sorted(set(table["fraction"])) if len(table) else []:
        part = table[table["fraction"] == r]
        means = part.drop(columns=["fraction", "group", "dataset", "rows"]).mean()
        values = {str(k): float(v) for k, v in means.items()}
        shared = values.pop("bias2") / max(values.pop("error2"), 1e-12)
        out.append(
            RungSkill(
                fraction=r,
                rows=int(part["rows"].sum()),
                excess=calibration.excess[r],
                shrink=calibration.shrink[r],
                shared=shared,
                **values,
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
        "rows": int(rows.sum()),
        "spearman": spearman(actual - missed, actual),
        # An error that all trials of a task share does not hurt a choice among them.
        "explained": max(0.0, 1.0 - float(np.var(missed) / np.var(actual))),
        "coverage90": float(np.mean(np.abs(error) <= Z90 * sd[rows])),
        "mae": float(np.mean(np.abs(error))),
        "spearman_last": spearman(last, actual),
        "mae_last": float(np.mean(np.abs(data.target[rows]))),
        "bias2": float(np.mean(error)) ** 2,
        "error2": float(np.mean(error**2)),
        "saved": float(1.0 - np.sum(data.cost[rows]) / np.sum(data.full_cost[rows])),
    }
