"""Leave-one-dataset-out judgement of the offline models, with the baselines they must beat."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.base import HistoryError
from surrogates.early import EarlyPredictor
from surrogates.encoding import SpaceEncoder
from surrogates.history import History, read_history
from surrogates.metrics import kendall_tau, ndcg, normal_scores, pearson, regret_at
from surrogates.ranker import VARIANTS, Ranker

NEIGHBOURS = 5  # the portfolio reads a configuration it has not seen from this many near ones


def judge_ranker(
    history: pd.DataFrame, space: ConfigurationSpace, seed: int = 0, *, maximize: bool = True
) -> pd.DataFrame:
    """How well each way of ranking orders datasets it never saw.

    Methods: every ranker variant; "mean rank portfolio": the mean rank that the nearest
    configurations reached on the other datasets.

    Returns:
        One row a method and held-out group: method, group, trials, kendall_tau, pearson, ndcg5,
        regret1, regret3, regret5.

    Raises:
        HistoryError: No rows, or nothing in them can be ordered.
    """
    encoder = SpaceEncoder(space)
    rows = _rows(history, encoder, maximize)
    tables = []
    for variant in VARIANTS:
        ranker = Ranker.fit(rows, encoder, seed, members=1, variants=(variant,))
        name = f"{variant.loss}{' + meta' if variant.use_meta else ''}"
        tables.append(ranker.held_out.assign(method=name))
    tables.append(_portfolio(rows, encoder).assign(method="mean rank portfolio"))
    table = pd.concat(tables, ignore_index=True)
    return table[["method", *(c for c in table.columns if c != "method")]]


def judge_early(
    history: pd.DataFrame, space: ConfigurationSpace, seed: int = 0, *, maximize: bool = True
) -> pd.DataFrame:
    """How well the final score is known at each fraction, on datasets never seen.

    Returns:
        One row a fraction: fraction, rows, spearman, explained, coverage90, mae (in standard
        deviations of the dataset), and the baseline "last score seen": spearman_last, mae_last.

    Raises:
        HistoryError: The history has too few prefixes with a known final score.
    """
    encoder = SpaceEncoder(space)
    early = EarlyPredictor.fit(_rows(history, encoder, maximize), encoder, seed)
    if early is None:
        raise HistoryError(
            "too few prefixes to judge an early predictor: it needs at least 20 rows with "
            "fraction < 1 whose trial also has a row with fraction 1."
        )
    return pd.DataFrame([asdict(r) for r in early.rungs])


def _rows(history: pd.DataFrame, encoder: SpaceEncoder, maximize: bool) -> History:
    rows = read_history(history, encoder, maximize)
    if rows is None:
        raise HistoryError("history has no rows.")
    return rows


def _portfolio(rows: History, encoder: SpaceEncoder) -> pd.DataFrame:
    """Mean normal score of the nearest past configurations, other datasets only."""
    final = np.flatnonzero(rows.final)
    cube = encoder.matrix([rows.configs[i] for i in final])
    score, group = rows.score[final], rows.group[final].astype(str)
    dataset = rows.dataset[final].astype(str)
    rank = np.zeros(len(final))
    for name in np.unique(group):
        rank[group == name] = normal_scores(score[group == name])
    records = []
    for name in np.unique(group):
        test = np.flatnonzero(group == name)
        train = np.flatnonzero(dataset != dataset[test[0]])
        if len(test) < 3 or len(train) == 0 or np.ptp(score[test]) == 0:
            continue
        squared = ((cube[test][:, None, :] - cube[train][None, :, :]) ** 2).sum(axis=2)
        near = np.argsort(squared, axis=1, kind="stable")[:, :NEIGHBOURS]
        x, y = rank[train][near].mean(axis=1), score[test]
        records.append(
            {
                "group": name,
                "trials": len(test),
                "kendall_tau": kendall_tau(x, y),
                "pearson": pearson(x, rank[test]),
                "ndcg5": ndcg(x, y, 5),
                **{f"regret{k}": regret_at(x, y, k) for k in (1, 3, 5)},
            }
        )
    return pd.DataFrame(records)
