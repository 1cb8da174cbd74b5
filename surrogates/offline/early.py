"""Forecasts of the final score from the first part of a run, with calibrated variances.

Trained on prefixes of past trials (rows with fraction < 1 joined to the final score of the same
trial). With s_t the standard deviation of the final scores of task t, a trial's change is
``(final - last score seen) / s_t``, and scores enter as gains, ``(score - base score) / s_t``, for
raw scores mean something else on every dataset.
CatBoost's RMSEWithUncertainty gives mean mu and variance sigma^2 (arXiv 2006.10562) of the change
or, where held-out datasets prefer it, of the change less its mean over the task's trials at that
fraction; then the typical mean change of past tasks is added. With lambda, v and c of
`calibration.py`, on a new task of scale s: final ~ N(last + s lambda mu, s^2 c^2 (sigma^2 + v)).
The share of that error that all trials of a task have in common, which does not hurt a choice among
them, is kept for each rung. Source of the idea: JF-HPO (arXiv 2606.03073).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRegressor

from surrogates.core.base import Config
from surrogates.history.calibration import Calibration, at_rungs, cross_calibrate
from surrogates.history.features import (
    QUIET,
    FeatureSchema,
    described,
    informative,
    sample_of,
    save_model,
)
from surrogates.history.prefixes import FRACTION, LAST, PrefixRows, prefix_rows, relative
from surrogates.history.table import SIGNAL, History
from surrogates.offline.early_skill import RungSkill, evaluate_forecasts, rung_skills
from surrogates.space.encoding import SpaceEncoder

MAX_FOLDS = 6
MIN_ROWS = 20
MAX_ROWS = 10_000  # that a model is trained on; more cost time and add next to no skill
MAX_EVALUATED = 12_000  # prefixes of whole datasets that its skill is measured on


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
    """One row per held-out group and fraction (kept for reports, not saved)."""

    @classmethod
    def fit(
        cls, history: History, encoder: SpaceEncoder, seed: int = 0, at_most: int = MAX_FOLDS
    ) -> EarlyPredictor | None:
        """Train, calibrate and evaluate on held-out datasets (trials, where there is one dataset).

        None if the history holds fewer than 20 usable prefixes. Datasets beyond `at_most` folds are
        held out together.
        """
        data = prefix_rows(history, encoder)
        if len(data.target) < MIN_ROWS or len(np.unique(data.trial.astype(str))) < 5:
            return None
        sample = data.subset(sample_of(data.dataset, MAX_EVALUATED, seed))
        held_out = sample.folds(at_most)
        tried = [evaluate_target(sample, held_out, seed, center) for center in (False, True)]
        best = min(filter(None, tried), key=lambda each: each.error, default=None)
        if best is None:
            return None
        scales = history.group_scales()["std"]
        scales = scales[scales > 0]
        schema, model = _train(data, data.training_target(best.center_within_task), seed)
        return cls(
            schema,
            model,
            best.calibration.factor,
            float(scales.median()),
            float(np.log(scales).std(ddof=0)),
            rung_skills(
                best.table, best.calibration, data.typical_changes(best.center_within_task)
            ),
            history.sign,
            best.table,
        )

    def predict(self, rows: pd.DataFrame, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the full-length scores of n `rows`, raw units, each of shape (n,).

        `scale` is the standard deviation of final scores on the task (see `typical_scale`).
        """
        last = rows[LAST].to_numpy(np.float64)
        mean, sd = _mean_sd(self.model, self.schema, relative(rows, scale, self.sign))
        fraction = rows[FRACTION].to_numpy(np.float64)
        mean = mean + at_rungs({r.fraction: r.change for r in self.rungs}, fraction)
        shrink = {r.fraction: r.shrink for r in self.rungs}
        excess = {r.fraction: r.excess for r in self.rungs}
        mean, sd = Calibration(shrink, excess, self.calibration).apply(mean, sd, fraction)
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
        frame = described(encoder, configs, dataset)
        frame[FRACTION], frame[LAST] = list(fractions), list(last_scores)
        named = [{SIGNAL + k.removeprefix(SIGNAL): v for k, v in s.items()} for s in signals]
        return pd.concat([frame, pd.DataFrame(named, index=frame.index)], axis=1)

    @property
    def signal_names(self) -> list[str]:
        """Signals that the model uses (without their prefix)."""
        return [c.removeprefix(SIGNAL) for c in self.schema.columns if c.startswith(SIGNAL)]

    def explained_at(self, fraction: float) -> float:
        """Explained share of the variance at a fraction, interpolated between rungs."""
        known = {r.fraction: r.explained for r in self.rungs} | {0.0: 0.0, 1.0: 1.0}
        return float(at_rungs(known, np.array(fraction)))

    def shared_at(self, fraction: float) -> float:
        """Share of the error variance that all trials of a task have in common, in [0, 1]."""
        return float(at_rungs({r.fraction: r.shared for r in self.rungs}, np.array(fraction)))

    def save(self, folder: Path) -> None:
        """Write `early.json` and `early.cbm`."""
        save_model(self.model, folder / "early.cbm")
        payload = {
            "schema": asdict(self.schema),
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
class EvaluatedTarget:
    """A training target with its skill on held-out datasets."""

    center_within_task: bool
    calibration: Calibration
    table: pd.DataFrame
    """As `evaluate_forecasts`, of forecasts made with the typical scale."""
    error: float
    """Mean absolute error relative to that of the last score seen: mean over groups, and over
    forecasts with the typical scale, as a search begins, and with the task's own, as it ends."""


def evaluate_target(
    data: PrefixRows, held_out: list[np.ndarray], seed: int, center_within_task: bool
) -> EvaluatedTarget | None:
    """Train on one `PrefixRows.training_target` and evaluate its forecasts; None with too few."""
    made = held_out_forecasts(data, held_out, seed, center_within_task)
    known = np.isfinite(made[0][0])
    if known.sum() < MIN_ROWS // 2:
        return None
    tables = []
    for mean, sd in made:
        calibrated = cross_calibrate(data.target, mean, sd, *data.rung_keys, held_out)
        forecast = calibrated if np.isfinite(calibrated[0]).any() else (mean, sd)
        tables.append(evaluate_forecasts(data, *forecast))
    typical = (data.target, *made[0], *data.rung_keys)
    ratios = [each["mae"] / each["mae_last"].clip(lower=1e-9) for each in tables if len(each)]
    return EvaluatedTarget(
        center_within_task,
        Calibration.fit(*(values[known] for values in typical)),
        tables[0],
        float(np.mean([ratio.mean() for ratio in ratios])) if ratios else 1.0,
    )


Forecast = tuple[np.ndarray, np.ndarray]
"""Mean and sd of the change in the task's own scale, each of shape (n,)."""


def held_out_forecasts(
    data: PrefixRows, held_out: list[np.ndarray], seed: int, center_within_task: bool
) -> tuple[Forecast, Forecast]:
    """Forecasts from models that never saw the row's fold; NaN where there can be none.

    Returns:
        Those made with the median scale of the other tasks, as that of a new task is unknown, and
        those made with the task's own.
    """
    typical, own = np.full((2, 2, len(data.target)), np.nan)
    target = data.training_target(center_within_task)
    for test in held_out:
        if (~test).sum() < MIN_ROWS // 2:
            continue
        others = np.flatnonzero(~test)
        try:
            schema, model = _train(data.subset(others), target[others], seed)
        except CatBoostError:  # e.g. every target or feature is constant in what is left
            continue
        groups = pd.Series(data.scale[~test]).groupby(data.group[~test])
        change = at_rungs(data.typical_changes(center_within_task, ~test), data.fraction[test])
        for (mean, sd), used in (
            (typical, float(groups.first().median())),
            (own, data.scale[test]),
        ):
            features = relative(data.features[test], used, data.sign)
            predicted, spread = _mean_sd(model, schema, features)
            ratio = used / data.scale[test]
            mean[test], sd[test] = ratio * (change + predicted), ratio * spread
    return (typical[0], typical[1]), (own[0], own[1])


def _train(
    data: PrefixRows, target: np.ndarray, seed: int
) -> tuple[FeatureSchema, CatBoostRegressor]:
    """A model of the target and the columns that it sees, from at most `MAX_ROWS` rows."""
    if len(target) > MAX_ROWS:
        drawn = np.random.default_rng(seed).choice(len(target), MAX_ROWS, replace=False)
        drawn.sort()
        data, target = data.subset(drawn), target[drawn]
    features = relative(data.features, data.scale, data.sign)
    schema = FeatureSchema.infer(informative(features))
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
        **QUIET,
    )
    return schema, model.fit(schema.pool(features, label=target))


def _mean_sd(
    model: CatBoostRegressor, schema: FeatureSchema, features: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    out = model.predict(schema.pool(features), thread_count=1)
    return out[:, 0], np.sqrt(np.maximum(out[:, 1], 1e-12))
