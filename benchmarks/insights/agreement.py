"""Agreement of one model's scores with another's, and the noise of a score.

Tables of runs are those of `benchmarks.insights.landscape.Landscape.runs`: one row per finished
trial, a higher score is better. Every question is answered by one number per dataset first, then by
their mean and standard error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import comb
from types import MappingProxyType

import numpy as np
import pandas as pd

from benchmarks.insights.landscape import MIN_TRIALS
from benchmarks.insights.spread import group_means
from surrogates.core.metrics import kendall_tau, regret_at, spearman

MIN_RELIABILITY = 0.1  # a correlation divided by less is meaningless
PLACE = ["dataset", "model"]
AGREEMENT = ["dataset", "proxy", "target", "configurations", "spearman", "kendall"]
RETEST = [*PLACE, "configurations", "spearman", "kendall"]
NOISE = [
    *PLACE, "configurations", "trials", "seed_sd", "evaluation_sd",
    "evaluation_share", "spread", "noise_share", "icc",
]  # fmt: skip


def agreement(runs: pd.DataFrame, top: Sequence[int] = (1, 3, 5)) -> pd.DataFrame:
    """Every pair of models on every dataset where they ran at least five common configurations.

    Args:
        runs: scores of repeats are averaged.
        top: k of the regret and the overlap of the k best.

    Returns:
        One row per dataset and ordered pair of models, the proxy being the smaller one (by
        parameters where known, else by name): dataset, proxy, target, configurations, spearman,
        kendall; for each k: regretk, the loss on the target of taking the best there of the proxy's
        k best, over the target's range; randomk, the same of k random ones; overlapk, the share of
        the proxy's k best that are among the target's. And reliability_proxy, reliability_target
        (see `reliability`).
    """
    known = reliability(runs).set_index(PLACE)["reliability"]
    rows = []
    for dataset, own in runs.groupby("dataset"):
        scores = own.pivot_table(index="configuration", columns="model", values="score")
        models = [model for model in model_order(runs) if model in scores]
        for proxy, target in itertools.combinations(models, 2):
            x, y = scores[[proxy, target]].dropna().to_numpy().T
            if len(x) < MIN_TRIALS or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            found = (dataset, proxy, target, len(x), spearman(x, y), kendall_tau(x, y))
            record = dict(zip(AGREEMENT, found, strict=True))
            for k in top:
                record[f"regret{k}"] = regret_at(x, y, k)
                record[f"random{k}"] = random_regret(y, k)
                record[f"overlap{k}"] = _overlap(x, y, k)
            record["reliability_proxy"] = known.get((dataset, proxy), np.nan)
            record["reliability_target"] = known.get((dataset, target), np.nan)
            rows.append(record)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=AGREEMENT)


def summarise_agreement(
    by_dataset: pd.DataFrame, stability: Mapping[str, float] = MappingProxyType({})
) -> pd.DataFrame:
    """Mean over datasets and its standard error for each pair of models.

    Beside the mean Spearman correlation stand two disattenuated ones (Spearman, 1904): divided by
    the root of the product of both models' reliabilities, an estimate of the correlation without
    noise. It may exceed 1, and is NaN where a reliability is below 0.1 or unknown.

    Args:
        by_dataset: of `agreement`.
        stability: 1 - noise_share of the models with repeats (`noise`).

    Returns:
        One row per pair: proxy, target, datasets, NAME and NAME_se of the columns of `agreement`;
        disattenuated (for the noise of evaluation), disattenuated_seeds (for all noise of a seed).
    """
    if by_dataset.empty:
        return pd.DataFrame(columns=["proxy", "target", "datasets", "spearman", "kendall"])
    pair = ["proxy", "target"]
    names = [c for c in by_dataset if c not in AGREEMENT[:4]]
    table = group_means(by_dataset, pair, names)
    table.insert(0, "datasets", by_dataset.groupby(pair, sort=False).size())
    table = table.reset_index()
    by_evaluation = (table[f"reliability_{side}"] for side in pair)
    by_seed = (table[side].map(dict(stability)).astype(float) for side in pair)
    table["disattenuated"] = _disattenuated(table["spearman"], *by_evaluation)
    table["disattenuated_seeds"] = _disattenuated(table["spearman"], *by_seed)
    return table


def _disattenuated(correlation: pd.Series, first: pd.Series, second: pd.Series) -> pd.Series:
    """correlation / sqrt(first second); NaN where a reliability is too small or unknown."""
    enough = (first >= MIN_RELIABILITY) & (second >= MIN_RELIABILITY)
    return correlation / (first * second).where(enough) ** 0.5


def reliability(runs: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance of single scores that is not the evaluation's own error.

    1 - mean(se^2) / var(score), at least 0, for each dataset and model: dataset, model,
    reliability; NaN where no standard error is known. The standard error treats the questions as
    drawn anew for each trial; where all trials answer the same ones, it is too large for
    comparisons and the reliability a lower bound.
    """
    grouped = runs.assign(noise=runs["score_se"] ** 2).groupby(PLACE)
    spread = grouped["score"].var()
    share = (1.0 - grouped["noise"].mean() / spread).clip(lower=0.0).where(spread > 0)
    return share.rename("reliability").reset_index()


def retest(runs: pd.DataFrame) -> pd.DataFrame:
    """Agreement of a model with itself under another seed: the ceiling of every other agreement.

    Returns:
        One row per dataset and model with at least five configurations run with the same two seeds
        or more: dataset, model, configurations, spearman, kendall (means over pairs of seeds).
    """
    rows = []
    for place, own in repeated(runs).groupby(PLACE):
        table = own.pivot_table(index="configuration", columns="draw", values="score")
        pairs = [
            table[[first, second]].dropna().to_numpy().T
            for first, second in itertools.combinations(table.columns, 2)
        ]
        pairs = [p for p in pairs if p.shape[1] >= MIN_TRIALS and np.ptp(p, axis=1).min() > 0]
        if pairs:
            found = np.mean([(spearman(x, y), kendall_tau(x, y)) for x, y in pairs], axis=0)
            rows.append((*place, max(p.shape[1] for p in pairs), *found))
    return pd.DataFrame(rows, columns=RETEST)


def noise(runs: pd.DataFrame) -> pd.DataFrame:
    """The change of a score with the seed alone.

    Returns:
        One row per dataset and model with repeats: dataset, model, configurations (repeated ones),
        trials (of them), seed_sd: pooled standard deviation between seeds of one configuration;
        evaluation_sd: root of the mean squared standard error of their evaluations;
        evaluation_share: its square over that of seed_sd; spread: standard deviation of the scores
        of all configurations there; noise_share: variance between seeds over that of all scores;
        icc: intraclass correlation of the repeated ones, ICC(1), one-way (Shrout and Fleiss, 1979).
    """
    again = repeated(runs)
    if again.empty:
        return pd.DataFrame(columns=NOISE)
    each = again.groupby([*PLACE, "configuration"])["score"]
    squares = (again["score"] - each.transform("mean")) ** 2
    grouped = again.assign(square=squares, error=again["score_se"] ** 2).groupby(PLACE)
    trials, configurations = grouped.size(), grouped["configuration"].nunique()
    within, error = grouped["square"].sum() / (trials - configurations), grouped["error"].mean()
    firsts = runs.drop_duplicates([*PLACE, "configuration"]).groupby(PLACE)["score"]
    spread = firsts.var().reindex(trials.index)
    icc = [intraclass(g["score"].to_numpy(), g["configuration"].to_numpy()) for _, g in grouped]
    table = pd.DataFrame(
        {
            "configurations": configurations,
            "trials": trials,
            "seed_sd": within**0.5,
            "evaluation_sd": error**0.5,
            "evaluation_share": (error / within).where(within > 0),
            "spread": spread**0.5,
            "noise_share": (within / spread).where(spread > 0),
            "icc": icc,
        }
    )
    return table.reset_index()


def summarise_noise(by_group: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """The tables of `noise` and `retest` by model, mean over datasets and standard error.

    Returns:
        One row per model with repeats: model, datasets, configurations, trials; NAME and NAME_se of
        seed_sd, noise_share, icc, spearman, kendall; evaluation_share (of pooled variances).
    """
    counts = ["datasets", "configurations", "trials"]
    if by_group.empty:
        return pd.DataFrame(columns=["model", *counts, "seed_sd", "noise_share", "icc"])
    grouped = by_group.assign(datasets=1).groupby("model", sort=False)
    table = grouped[counts].sum()
    table = table.join(group_means(by_group, ["model"], ["seed_sd", "noise_share", "icc"]))
    table = table.join(group_means(again, ["model"], ["spearman", "kendall"]))
    variances = by_group[["evaluation_sd", "seed_sd"]] ** 2
    pooled = variances.groupby(by_group["model"]).sum()
    share = pooled["evaluation_sd"] / pooled["seed_sd"]
    return table.assign(evaluation_share=share.where(pooled["seed_sd"] > 0)).reset_index()


def intraclass(scores: np.ndarray, classes: np.ndarray) -> float:
    """ICC(1): (MS_between - MS_within) / (MS_between + (k0 - 1) MS_within).

    k0 is the mean class size, corrected for unequal ones. NaN with fewer than two classes or no
    repeats.
    """
    by_class = pd.Series(scores).groupby(classes)
    sizes, means = by_class.size().to_numpy(float), by_class.mean().to_numpy()
    count, total = len(sizes), float(sizes.sum())
    if count < 2 or total <= count:
        return float("nan")
    between = float(sizes @ (means - scores.mean()) ** 2) / (count - 1)
    within = float(((scores - by_class.transform("mean").to_numpy()) ** 2).sum()) / (total - count)
    k0 = (total - float((sizes**2).sum()) / total) / (count - 1)
    whole = between + (k0 - 1.0) * within
    return (between - within) / whole if whole > 0 else float("nan")


def repeated(runs: pd.DataFrame) -> pd.DataFrame:
    """The trials of configurations that ran more than once.

    Column `draw` numbers the seeds of a model on a dataset, 0, 1, ... (where seeds are unknown, the
    trials in order).
    """
    own = [*PLACE, "configuration"]
    again = runs[runs.groupby(own)["score"].transform("size") > 1]
    by_seed = again.groupby(PLACE)["seed"].rank(method="dense") - 1
    return again.assign(draw=by_seed.fillna(again.groupby(own).cumcount().astype(float)))


def random_regret(scores: np.ndarray, k: int) -> float:
    """Expected normalised regret of k random choices without replacement, exactly."""
    ordered = np.sort(scores)
    n = len(ordered)
    if n == 0 or np.ptp(ordered) == 0:
        return 0.0
    k = min(k, n)
    # The i-th smallest is the best of k in C(i, k - 1) of C(n, k) draws, i from 0.
    chance = np.array([comb(i, k - 1) for i in range(n)], dtype=float) / comb(n, k)
    return float((ordered[-1] - chance @ ordered) / np.ptp(ordered))


def model_order(runs: pd.DataFrame) -> list[str]:
    """The models, smallest first where sizes are known, else by name."""
    sizes = runs.groupby("model")["size"].median()
    return [str(model) for model in sizes.sort_values(kind="stable").index]


def _overlap(x: np.ndarray, y: np.ndarray, k: int) -> float:
    k = min(k, len(x))
    first = np.argsort(-x, kind="stable")[:k]
    return len(set(first) & set(np.argsort(-y, kind="stable")[:k])) / k
