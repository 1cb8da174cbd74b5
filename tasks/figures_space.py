"""Figures over the search space: parallel coordinates and hyperparameter importance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Constant

from surrogates.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis, make_axis
from surrogates.metrics import spearman
from tasks.figures import BLUE, GREY, SCORE_SCALE, styled, superseded
from tasks.wording import number, setting

Predictor = Callable[[pd.DataFrame], np.ndarray]
MIN_TRIALS = 8
MIN_SKILL = 0.3
FOLDS = 5
REPEATS = 20


def axes_of(space: Mapping[str, Any]) -> dict[str, Axis]:
    """The searched hyperparameters of a space in ConfigSpace's JSON form, by name."""
    parsed = ConfigurationSpace.from_serialized_dict(dict(space))
    return {h.name: make_axis(h) for h in parsed.values() if not isinstance(h, Constant)}


def scored(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials with a score, each configuration once: a continuation replaces its beginning."""
    return trials[trials.final.notna() & ~trials.trial_id.isin(superseded(trials))]


def parallel_coordinates(trials: pd.DataFrame, axes: Mapping[str, Axis]) -> go.Figure:
    """One line a trial over the score and all given hyperparameters.

    Args:
        trials: rows with a final score (``scored``).
        axes: the hyperparameters to draw, from left to right.
    """
    low, high = float(trials.final.min()), float(trials.final.max())
    pad = 0.05 * (high - low) or 0.05
    score = {"label": "score", "values": trials.final, "range": [low - pad, high + pad]}
    dimensions = [score] + [
        _dimension(axis, [config.get(name) for config in trials.config])
        for name, axis in axes.items()
    ]
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={
                "color": trials.final,
                "colorscale": SCORE_SCALE,
                "cmin": low,
                "cmax": high if high > low else low + 1e-9,
            },
            labelangle=-25,
            labelfont={"size": 12},
            tickfont={"size": 11},
            rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        )
    )
    return styled(figure, 460, margin={"l": 60, "r": 50, "t": 100, "b": 24})


def _dimension(axis: Axis, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of the figure. What is not set lies below the range, on a tick of its own."""
    ticks: list[Any]
    if isinstance(axis, NumberAxis):
        low, high = (math.log10(e) if axis.log else e for e in (axis.lower, axis.upper))
        ticks = _log_ticks(axis.lower, axis.upper) if axis.log else _linear_ticks(axis)
        places = [math.log10(tick) if axis.log else tick for tick in ticks]
    else:
        steps = _steps(axis)
        low, high = 0.0, float(max(len(steps) - 1, 1))
        ticks, places = list(steps), [float(rank) for rank in range(len(steps))]
    below = low - 0.15 * (high - low)
    numbers = [_place(axis, value) for value in values]
    if any(math.isnan(n) for n in numbers):
        numbers = [below if math.isnan(n) else n for n in numbers]
        ticks, places, low = [None, *ticks], [below, *places], below
    return {
        "label": axis.name,
        "values": numbers,
        "range": [low, high],
        "tickvals": places,
        "ticktext": [setting(tick) for tick in ticks],
    }


def _steps(axis: Axis) -> tuple[Any, ...]:
    if isinstance(axis, OrdinalAxis):
        return axis.sequence
    assert isinstance(axis, ChoiceAxis)
    return axis.choices


def _place(axis: Axis, value: Any) -> float:
    """Position on the axis: log10 or plain number, or rank among the choices; NaN if not set."""
    if isinstance(axis, ChoiceAxis):
        index = {str(choice): rank for rank, choice in enumerate(axis.choices)}
        return float(index.get(axis.feature(value), math.nan))
    feature = axis.feature(value)
    return feature if isinstance(feature, float) else math.nan


def _log_ticks(lower: float, upper: float) -> list[float]:
    """Powers of ten in the range; on less than two decades also 2 and 5 times those."""
    factors = (1,) if math.log10(upper / lower) >= 2 else (1, 2, 5)
    decades = range(math.floor(math.log10(lower)), math.ceil(math.log10(upper)) + 1)
    ticks = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    inside = [tick for tick in ticks if lower * 0.999 <= tick <= upper * 1.001]
    return inside if len(inside) >= 2 else [lower, upper]


def _linear_ticks(axis: NumberAxis) -> list[float]:
    ticks = np.linspace(axis.lower, axis.upper, 5)
    return sorted({round(float(t)) for t in ticks}) if axis.integer else [float(t) for t in ticks]


@dataclass(frozen=True)
class Importance:
    """Which hyperparameters a model of this run's trials leans on.

    Attributes:
        table: columns ``name``, ``importance`` (rise of the squared error when the column is
            shuffled, as a share of the score's variance) and ``sd`` over the shuffles; the most
            important first.
        trials: configurations the model was fitted to.
        skill: Spearman correlation of predictions for held-out trials with their scores.
    """

    table: pd.DataFrame
    trials: int
    skill: float

    @property
    def trusted(self) -> bool:
        """Whether the model says anything about configurations that it has not seen."""
        return self.skill >= MIN_SKILL

    @property
    def honest_note(self) -> str:
        """How far the table can be trusted."""
        note = (
            f"From a small model fitted to {self.trials} configurations of this run. For "
            f"configurations held out of the fit, its ranking agrees with the scores at "
            f"ρ = {number(self.skill, 2)} (Spearman). "
        )
        if not self.trusted:
            return note + "That is too weak to read anything into the bars."
        few = self.trials < 30
        return note + ("With so few trials, take the order as a hint." if few else "")


def importance_of(trials: pd.DataFrame, axes: Mapping[str, Axis], seed: int) -> Importance | None:
    """Permutation importance (Breiman 2001) in a small CatBoost model of the final score.

    Args:
        trials: rows with a final score (``scored``), n of them.
        axes: hyperparameters to judge.
        seed: of the folds, the model and the shuffles.

    Returns:
        None with fewer than ``MIN_TRIALS`` trials, no hyperparameter, or no spread of scores.
    """
    score = trials.final.to_numpy(dtype=float)
    if len(score) < MIN_TRIALS or not axes or np.ptp(score) == 0:
        return None
    features = pd.DataFrame(
        {
            name: [axis.feature(config.get(name)) for config in trials.config]
            for name, axis in axes.items()
        }
    )
    generator = np.random.default_rng(seed)
    fold = generator.permutation(len(score)) % FOLDS
    held_out = np.full(len(score), np.nan)
    for k in range(FOLDS):
        predict = _fit(features[fold != k], score[fold != k], seed)
        held_out[fold == k] = predict(features[fold == k])
    predict = _fit(features, score, seed)
    error = np.mean((predict(features) - score) ** 2)
    rows = []
    for name in features:
        # All shuffles in one call: the model's overhead for a call is that of many rows.
        stacked = pd.concat([features] * REPEATS, ignore_index=True)
        shuffles = [generator.permutation(features[name].to_numpy()) for _ in range(REPEATS)]
        stacked[name] = np.concatenate(shuffles)
        errors = (predict(stacked).reshape(REPEATS, -1) - score) ** 2
        share = (errors.mean(axis=1) - error) / score.var()
        rows.append((name, float(share.mean()), float(share.std(ddof=1))))
    table = pd.DataFrame(rows, columns=["name", "importance", "sd"])
    table = table.sort_values("importance", ascending=False, ignore_index=True)
    return Importance(table, len(score), spearman(list(held_out), list(score)))


def _fit(features: pd.DataFrame, score: np.ndarray, seed: int) -> Predictor:
    """A small model of the score; the mean where there is nothing to learn from."""
    from catboost import CatBoostRegressor  # slow to import, and only needed here

    mean = float(score.mean())
    if np.ptp(score) == 0 or (features.nunique(dropna=False) <= 1).all():
        return lambda rows: np.full(len(rows), mean)
    model = CatBoostRegressor(
        iterations=100,
        depth=3,
        learning_rate=0.1,
        random_seed=seed,
        thread_count=1,
        cat_features=[n for n in features if not pd.api.types.is_float_dtype(features[n])],
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(features, score)
    return lambda rows: np.asarray(model.predict(rows))


def importance(ranking: Importance, rows: int = 12) -> go.Figure:
    """Bars, the most important on top, at most ``rows``; grey where they are not to be trusted."""
    shown = ranking.table.head(rows)
    figure = go.Figure(
        go.Bar(
            x=shown.importance,
            y=shown.name,
            orientation="h",
            marker={"color": BLUE if ranking.trusted else GREY},
            error_x={"array": shown.sd, "color": "#5A5A5A", "thickness": 1.5},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    styled(figure, 90 + 28 * len(shown), margin={"t": 8})
    figure.update_xaxes(title_text="rise of the squared error when shuffled")
    return figure.update_yaxes(autorange="reversed", showgrid=False)
