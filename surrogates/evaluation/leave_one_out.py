"""Leave-one-dataset-out evaluation of the offline models, with the baselines they must beat.

All rows of a dataset, whatever the base model, are held out together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.core.base import HistoryError
from surrogates.evaluation.baselines import BASELINES, LOSSES
from surrogates.history.outcomes import (
    RANKING_METRICS,
    Method,
    Trials,
    dataset_means,
    evaluate_predictions,
    held_out_predictions,
)
from surrogates.history.table import History, read_history
from surrogates.offline.boosting import POINTWISE, Boosted
from surrogates.offline.early import EarlyPredictor
from surrogates.offline.ranker import MEMBERS, VARIANTS
from surrogates.space.encoding import SpaceEncoder

ENSEMBLE = "ensemble, as the search"
BASELINE = "config"  # of the groups of meta-features
EARLY_METRICS = (
    "spearman", "spearman_last", "mae", "mae_last", "explained", "coverage90", "saved"
)  # fmt: skip

Report = Callable[[str], None]
"""Receives the name of each part as it begins."""


def no_report(_: str) -> None:
    """Ignore the progress."""


def ranking_methods(
    losses: Sequence[str] = LOSSES,
    trees: int = 150,
    meta: Sequence[str] = ("*",),
    searched: Boosted = VARIANTS[0],
) -> dict[str, Method]:
    """CatBoost's losses without and with the meta-features that match the patterns, the baselines,
    and the ranker of the search, trained as `searched`."""
    methods: dict[str, Method] = {}
    for loss in losses:
        methods[variant_name(loss, False)] = Boosted(loss, trees, ())
        methods[variant_name(loss, True)] = Boosted(loss, trees, tuple(meta))
    methods[ENSEMBLE] = replace(searched, trees=trees, members=MEMBERS)
    return methods | BASELINES


def variant_name(loss: str, use_meta: bool) -> str:
    """The name of a way of training in tables."""
    name = f"{loss} pointwise" if loss == POINTWISE else loss
    return f"{name} + meta" if use_meta else name


def evaluate_ranker(
    history: pd.DataFrame,
    space: ConfigurationSpace,
    seed: int = 0,
    *,
    maximize: bool = True,
    methods: Mapping[str, Method] | None = None,
    report: Report = no_report,
) -> pd.DataFrame:
    """Skill of each way of ranking on datasets that it never saw.

    Args:
        history: See `surrogates.history.table.read_history` for its columns.
        space, seed, maximize: Of the hyperparameters read, of every method, of the scores.
        methods: None takes `ranking_methods()`.
        report: Receives the name of each method as it begins.

    Returns:
        One row per method and held-out group: method, dataset, group, trials, kendall_tau, pearson,
        ndcg5, regret1, regret3, regret5.

    Raises:
        HistoryError: No rows, nothing in them can be ordered, or only one dataset.
    """
    encoder = SpaceEncoder(space)
    trials = Trials.of(_rows(history, encoder, maximize), encoder)
    if len(np.unique(trials.dataset)) < 2:
        raise HistoryError(
            "the evaluation leaves one dataset out at a time: the history needs at least two with "
            f"scores that differ, and has {np.unique(trials.dataset).tolist()}. "
            "Add runs: autopipe collect"
        )
    tables = []
    for name, method in (ranking_methods() if methods is None else methods).items():
        report(name)
        tables.append(leave_one_dataset_out(trials, method, seed).assign(method=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["method", *(c for c in table.columns if c != "method")]]


def leave_one_dataset_out(trials: Trials, method: Method, seed: int = 0) -> pd.DataFrame:
    """Skill of a way of ranking, one row per held-out group, see `evaluate_predictions`."""
    masks = [trials.dataset == name for name in np.unique(trials.dataset)]
    predicted = held_out_predictions(trials, method, masks, seed)
    return evaluate_predictions(trials, predicted, masks)


def evaluate_features(
    history: pd.DataFrame,
    space: ConfigurationSpace,
    groups: Mapping[str, Sequence[str]],
    seed: int = 0,
    *,
    loss: str = POINTWISE,
    trees: int = 150,
    maximize: bool = True,
    report: Report = no_report,
) -> pd.DataFrame:
    """Gain of each group of meta-features over the configuration alone, on unseen datasets.

    As `evaluate_ranker`; the methods are "config", "+ NAME" for each of the groups, which are
    patterns of meta-features (without `meta.`, as in "prompt_*"), and "+ all".
    """
    methods: dict[str, Method] = {BASELINE: Boosted(loss, trees, ())}
    for name, patterns in groups.items():
        methods[f"+ {name}"] = Boosted(loss, trees, tuple(patterns))
    methods["+ all"] = Boosted(loss, trees, tuple(p for each in groups.values() for p in each))
    return evaluate_ranker(history, space, seed, maximize=maximize, methods=methods, report=report)


def evaluate_early(
    history: pd.DataFrame, space: ConfigurationSpace, seed: int = 0, *, maximize: bool = True
) -> pd.DataFrame:
    """Skill of forecasts of the final score at each fraction, on unseen datasets.

    Intervals are calibrated on the other held-out datasets.

    Returns:
        One row per fraction: fraction, datasets, the mean over datasets and its standard error
        (NAME and NAME_se) of spearman, explained, coverage90, mae (in standard deviations of the
        dataset), and of the baseline "last score seen": spearman_last, mae_last. And saved: the
        share of all trials' cost that would not be paid were each stopped there.

    Raises:
        HistoryError: The history has too few prefixes with a known final score.
    """
    encoder = SpaceEncoder(space)
    rows = _rows(history, encoder, maximize)
    early = EarlyPredictor.fit(rows, encoder, seed, at_most=len(rows))
    if early is None or early.held_out.empty:
        raise HistoryError(
            "too few prefixes to evaluate an early predictor: it needs at least 20 rows with "
            "fraction < 1 whose trial also has a row with fraction 1."
        )
    table = early.held_out
    out = [
        summarise(part.assign(method=fraction), EARLY_METRICS)
        for fraction, part in table.groupby("fraction")
    ]
    table = pd.concat(out, ignore_index=True).rename(columns={"method": "fraction"})
    return table.drop(columns="saved_se")


def summarise(table: pd.DataFrame, metrics: Sequence[str] = RANKING_METRICS) -> pd.DataFrame:
    """Mean over datasets and its standard error, in the order the methods first appear.

    The groups of one dataset are not independent evidence, so they are averaged first.

    Returns:
        One row per method: method, datasets, NAME and NAME_se of each metric (NaN for one dataset).
    """
    names = [m for m in metrics if m in table]
    records = []
    for method in pd.unique(table["method"]):
        each = dataset_means(table[table["method"] == method], names)
        record = {"method": method, "datasets": len(each)}
        for name in names:
            record[name] = float(each[name].mean())
            record[f"{name}_se"] = float(each[name].std(ddof=1) / np.sqrt(len(each)))
        records.append(record)
    return pd.DataFrame(records)


def gains(
    table: pd.DataFrame, baseline: str, metric: str = "kendall_tau"
) -> dict[str, tuple[float, float]]:
    """Mean gain over the baseline within a dataset, and its standard error, by method.

    Differences within a dataset are far less noisy than differences of means.
    """
    each = {name: dataset_means(part, [metric])[metric] for name, part in table.groupby("method")}
    differences = {str(name): values - each[baseline] for name, values in each.items()}
    return {
        name: (float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found))))
        for name, found in differences.items()
    }


def _rows(history: pd.DataFrame, encoder: SpaceEncoder, maximize: bool) -> History:
    rows = read_history(history, encoder, maximize)
    if rows is None:
        raise HistoryError("history has no rows.")
    return rows
