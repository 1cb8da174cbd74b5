"""How well one model's scores order the configurations of another, and how noisy a score is.

Tables of runs are those of `benchmarks.insights.landscape.Landscape.runs`: one row a
finished trial, more score is better. Every answer is first one number a
dataset, then their mean and standard error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import comb
from types import MappingProxyType

import numpy as np
import pandas as pd

from benchmarks.insights.landscape import MIN_TRIALS
from benchmarks.insights.spread import mean_se
from surrogates.core.metrics import kendall_tau, regret_at, spearman

MIN_RELIABILITY = 0.1  # below, a correlation divided by it says nothing


def agreement(runs: pd.DataFrame, top: Sequence[int] = (1, 3, 5)) -> pd.DataFrame:
    """Every pair of models on every dataset where they ran five of the same configurations or more.

    Args:
        runs: scores of repeats are averaged.
        top: k of the regret and the overlap of the k best.

    Returns:
        One row a dataset and ordered pair of models, the proxy being the smaller one (by parameters
        where known, else by name): dataset, proxy, target, configurations, spearman, kendall;
        for each k: regretk, what is lost on the target by taking the best there of the proxy's k
        best, over the target's range; randomk, the same of k random ones; overlapk, the share of
        the proxy's k best that are among the target's. And reliability_proxy, reliability_target
        (see `reliability`).
    """
    order = model_order(runs)
    known = reliability(runs).set_index(["dataset", "model"])["reliability"]
    rows = []
    for dataset, own in runs.groupby("dataset"):
        scores = own.pivot_table(index="configuration", columns="model", values="score")
        for proxy, target in itertools.combinations([m for m in order if m in scores], 2):
            both = scores[[proxy, target]].dropna()
            x, y = both[proxy].to_numpy(), both[target].to_numpy()
            if len(both) < MIN_TRIALS or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            record = {
                "dataset": dataset,
                "proxy": proxy,
                "target": target,
                "configurations": len(both),
                "spearman": spearman(x, y),
                "kendall": kendall_tau(x, y),
            }
            for k in top:
                record[f"regret{k}"] = regret_at(x, y, k)
                record[f"random{k}"] = random_regret(y, k)
                record[f"overlap{k}"] = _overlap(x, y, k)
            record["reliability_proxy"] = known.get((dataset, proxy), np.nan)
            record["reliability_target"] = known.get((dataset, target), np.nan)
            rows.append(record)
    columns = ["dataset", "proxy", "target", "configurations", "spearman", "kendall"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def summarise_agreement(
    by_dataset: pd.DataFrame, stability: Mapping[str, float] = MappingProxyType({})
) -> pd.DataFrame:
    """Mean over datasets and its standard error for each pair of models.

    Beside the mean Spearman stand two disattenuated ones (Spearman, 1904): divided by the root of
    the product of both models' reliabilities, an estimate of the correlation without noise. It may
    exceed 1, and is NaN where a reliability is below 0.1 or not known.

    Args:
        by_dataset: of `agreement`.
        stability: 1 - noise_share of the models with repeats (`noise`).

    Returns:
        One row a pair: proxy, target, datasets, NAME and NAME_se of the columns of `agreement`;
        disattenuated (for the noise of evaluation), disattenuated_seeds (for all noise of a seed).
    """
    if by_dataset.empty:
        return pd.DataFrame(columns=["proxy", "target", "datasets", "spearman", "kendall"])
    fixed = ["dataset", "proxy", "target", "configurations"]
    metrics = [c for c in by_dataset if c not in fixed]
    rows = []
    for (proxy, target), part in by_dataset.groupby(["proxy", "target"], sort=False):
        record: dict[str, object] = {"proxy": proxy, "target": target, "datasets": len(part)}
        for name in metrics:
            found = mean_se(part[name].to_numpy(), str(name))
            record |= {key: value for key, value in found.items() if key != "datasets"}
        mean = float(part["spearman"].mean())
        by_evaluation = [part[f"reliability_{side}"].mean() for side in ("proxy", "target")]
        by_seed = [stability.get(str(model), np.nan) for model in (proxy, target)]
        record["disattenuated"] = _disattenuated(mean, *by_evaluation)
        record["disattenuated_seeds"] = _disattenuated(mean, *by_seed)
        rows.append(record)
    return pd.DataFrame(rows)


def _disattenuated(correlation: float, first: float, second: float) -> float:
    """correlation / sqrt(first second); NaN where a reliability is too small or not known."""
    if not min(first, second) >= MIN_RELIABILITY:  # also where one is NaN
        return float("nan")
    return correlation / float(np.sqrt(first * second))


def reliability(runs: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance of single scores that is not the evaluation's own error.

    1 - mean(se^2) / var(score), at least 0, for each dataset and model: dataset, model,
    reliability; NaN where no standard error is known. The standard error treats the questions as
    drawn anew for each trial; where all trials answer the same ones, it is too large for
    comparisons and the reliability a lower bound.
    """
    rows = []
    for (dataset, model), own in runs.groupby(["dataset", "model"]):
        spread = float(own["score"].var(ddof=1)) if len(own) > 1 else float("nan")
        noise = float((own["score_se"] ** 2).mean())
        share = max(0.0, 1.0 - noise / spread) if spread > 0 else float("nan")
        rows.append({"dataset": dataset, "model": model, "reliability": share})
    return pd.DataFrame(rows)


def retest(runs: pd.DataFrame) -> pd.DataFrame:
    """Agreement of a model with itself under another seed: the ceiling of every other agreement.

    Returns:
        One row a dataset and model with at least five configurations run with the same two seeds or
        more: dataset, model, configurations, spearman, kendall (means over pairs of seeds).
    """
    rows = []
    for (dataset, model), own in repeated(runs).groupby(["dataset", "model"]):
        table = own.pivot_table(index="configuration", columns="draw", values="score")
        found, sizes = [], []
        for first, second in itertools.combinations(table.columns, 2):
            both = table[[first, second]].dropna().to_numpy()
            if len(both) >= MIN_TRIALS and np.ptp(both, axis=0).min() > 0:
                found.append((spearman(*both.T), kendall_tau(*both.T)))
                sizes.append(len(both))
        if found:
            rho, tau = np.mean(found, axis=0)
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "configurations": max(sizes),
                    "spearman": float(rho),
                    "kendall": float(tau),
                }
            )
    return pd.DataFrame(rows, columns=["dataset", "model", "configurations", "spearman", "kendall"])


def noise(runs: pd.DataFrame) -> pd.DataFrame:
    """How much a score changes with the seed alone.

    Returns:
        One row a dataset and model with repeats: dataset, model, configurations (repeated ones),
        trials (of them), seed_sd: pooled standard deviation between seeds of one configuration;
        evaluation_sd: root of the mean squared standard error of their evaluations;
        evaluation_share: its square over that of seed_sd; spread: standard deviation of the scores
        of all configurations there; noise_share: variance between seeds over that of all scores;
        icc: intraclass correlation of the repeated ones, ICC(1), one-way (Shrout and Fleiss, 1979).
    """
    again = repeated(runs)
    rows = []
    for (dataset, model), own in again.groupby(["dataset", "model"]):
        everyone = runs[(runs["dataset"] == dataset) & (runs["model"] == model)]
        first = everyone.drop_duplicates("configuration")["score"]
        each = own.groupby("configuration")["score"]
        within = float(((own["score"] - each.transform("mean")) ** 2).sum())
        within /= len(own) - each.ngroups
        evaluation = float((own["score_se"] ** 2).mean())
        spread = float(first.var(ddof=1)) if len(first) > 1 else float("nan")
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "configurations": each.ngroups,
                "trials": len(own),
                "seed_sd": within**0.5,
                "evaluation_sd": evaluation**0.5,
                "evaluation_share": evaluation / within if within > 0 else float("nan"),
                "spread": spread**0.5,
                "noise_share": within / spread if spread > 0 else float("nan"),
                "icc": intraclass(own["score"].to_numpy(), own["configuration"].to_numpy()),
            }
        )
    columns = [
        "dataset", "model", "configurations", "trials", "seed_sd", "evaluation_sd",
        "evaluation_share", "spread", "noise_share", "icc",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def summarise_noise(by_group: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """The tables of `noise` and `retest` by model, mean over datasets and standard error.

    Returns:
        One row a model with repeats: model, datasets, configurations, trials; NAME and NAME_se of
        seed_sd, noise_share, icc, spearman, kendall; evaluation_share (of pooled variances).
    """
    rows = []
    for model, own in by_group.groupby("model", sort=False):
        record: dict[str, object] = {"model": model, "datasets": len(own)}
        record |= {name: int(own[name].sum()) for name in ("configurations", "trials")}
        retests = again[again["model"] == model]
        for name in ("seed_sd", "noise_share", "icc", "spearman", "kendall"):
            values = own[name] if name in own else retests[name]
            found = mean_se(values.to_numpy(), name)
            record |= {key: value for key, value in found.items() if key != "datasets"}
        seeds = float((own["seed_sd"] ** 2).sum())
        share = float((own["evaluation_sd"] ** 2).sum()) / seeds if seeds > 0 else float("nan")
        rows.append(record | {"evaluation_share": share})
    names = ["model", "datasets", "configurations", "trials", "seed_sd", "noise_share", "icc"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=names)


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
    """The trials of configurations that ran more than once, with `draw`: which seed of the model's
    on that dataset, 0, 1, ... (where seeds are not known, the order of the trials)."""
    place = ["dataset", "model"]
    own = [*place, "configuration"]
    again = runs[runs.groupby(own)["score"].transform("size") > 1]
    by_seed = again.groupby(place)["seed"].rank(method="dense") - 1
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
    return sorted(map(str, sizes.index), key=lambda m: (np.nan_to_num(sizes[m], nan=np.inf), m))


def _overlap(x: np.ndarray, y: np.ndarray, k: int) -> float:
    k = min(k, len(x))
    first = np.argsort(-x, kind="stable")[:k]
    return len(set(first) & set(np.argsort(-y, kind="stable")[:k])) / k
