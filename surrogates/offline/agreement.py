"""How far two models agreed about configurations of past datasets: what a small one is worth.

For each past dataset on which both models were tried, the Gaussian process of levels
(`surrogates.gp.levels`) is fitted to the final scores of both. Its correlation r_d, of the
noise-free scores and with rates shifted, is what a search on that dataset would have learned. With
the expected correlation of an unknown pair, of mean m_0 and variance v_0, counted as one more
dataset, the mean and the variance over datasets are

    m = (m_0 + sum r_d) / (1 + n)
    v = (v_0 + (m_0 - m)^2 + sum (r_d - m)^2) / (1 + n)

and the prior for a new dataset is Beta(1 + k m, 1 + k (1 - m)) with k = m (1 - m) / v - 1: its mode
is m. (With the mean m and few datasets its mode would be 1, and a mode is what the fit looks for.)
A pair that ranked in reverse has its mode at the lower end, as there is no Beta below zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from surrogates.gp.levels import LevelPrior, correlation_prior
from surrogates.gp.residual_gp import ResidualGP, merge_duplicates
from surrogates.history.rates import SIZE
from surrogates.history.table import META, History
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.levels import WIDTH, Levels, Shifts

MIN_TRIALS = 8  # of each of two models on a dataset, below which that dataset says nothing
MAX_TRIALS = 60  # of each, which the fit takes
MAX_DATASETS = 12
MEANS = (0.02, 0.98)  # a Beta distribution has none at the ends
CERTAINTY = (1.0, 20.0)  # k

Pair = tuple[str, str]  # models, the smaller one first


def agreements(
    rows: History, encoder: SpaceEncoder, pairs: Iterable[Pair]
) -> dict[Pair, tuple[float, ...]]:
    """The correlation of each pair on every past dataset that both were tried on, n numbers.

    Pairs that have no such dataset are left out.
    """
    found = {pair: _correlations(rows, encoder, pair) for pair in pairs}
    return {pair: correlations for pair, correlations in found.items() if correlations}


def pooled(expected: tuple[float, float], correlations: tuple[float, ...]) -> tuple[float, float]:
    """Beta parameters of the correlation on a new dataset, given those on past ones.

    Args:
        expected: Beta parameters for a pair of which nothing is known.
        correlations: Of the past datasets; none leaves the expectation as it is.
    """
    if not correlations:
        return expected
    a, b = expected
    prior = a / (a + b)
    known = np.array([prior, *correlations])
    mean = float(np.clip(known.mean(), *MEANS))
    spread = prior * (1.0 - prior) / (a + b + 1.0) + float(np.square(known - mean).sum())
    variance = spread / len(known)
    certainty = float(np.clip(mean * (1.0 - mean) / variance - 1.0, *CERTAINTY))
    return 1.0 + certainty * mean, 1.0 + certainty * (1.0 - mean)


def _correlations(rows: History, encoder: SpaceEncoder, pair: Pair) -> tuple[float, ...]:
    if not (datasets := list(_shared(rows, encoder, pair))[:MAX_DATASETS]):
        return ()
    small, large = (_known(rows, model) for model in pair)
    cost = min(10.0 ** (small.get(SIZE, 0.0) - large.get(SIZE, 0.0)), 0.99)
    meta = dict(zip(pair, (small, large), strict=True))
    shifts = Shifts.of(encoder, Levels.of(dict(zip(pair, (cost, 1.0), strict=True)), meta))
    prior = LevelPrior(
        2,
        shifts.columns,
        shifts.groups,
        shifts.scale,
        shifts.prior,
        shifts.active,
        (correlation_prior(cost),),
    )
    found = (_correlation(rows, encoder, parts, prior) for parts in datasets)
    return tuple(r for r in found if r is not None)


def _known(rows: History, model: str) -> Mapping[str, float]:
    """Size and width of a model, as far as the history has them."""
    own = rows.table.loc[rows.model == model]
    columns = {name: META + name for name in (SIZE, *WIDTH) if META + name in own}
    medians = {name: float(own[column].astype(float).median()) for name, column in columns.items()}
    return {name: value for name, value in medians.items() if np.isfinite(value)}


def _shared(rows: History, encoder: SpaceEncoder, pair: Pair) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows of final scores of each model in the space, for every dataset with enough of both."""
    fitting = rows.final & np.isin(rows.model.astype(str), pair)
    kept = np.flatnonzero(fitting)
    fitting[kept] = [encoder.is_legal(rows.configs[i]) for i in kept]
    for dataset in sorted(set(rows.dataset)):
        here = fitting & (rows.dataset == dataset)
        parts = tuple(np.flatnonzero(here & (rows.model == model))[:MAX_TRIALS] for model in pair)
        if min(map(len, parts)) >= MIN_TRIALS:
            yield parts


def _correlation(
    rows: History, encoder: SpaceEncoder, parts: tuple[np.ndarray, ...], prior: LevelPrior
) -> float | None:
    inputs, scores, variances = [], [], []
    for level, own in enumerate(parts):
        configs = [rows.configs[i] for i in own]
        noise = np.nan_to_num(rows.score_se[own] ** 2)
        first, y, var = merge_duplicates(list(map(encoder.key, configs)), rows.score[own], noise)
        cube = encoder.matrix([configs[i] for i in first])
        inputs.append(np.column_stack([cube, np.zeros(len(y)), np.full(len(y), float(level))]))
        scores.append(y)
        variances.append(var)
    y, var = np.concatenate(scores), np.concatenate(variances)
    gp = ResidualGP.fit(np.vstack(inputs), y, var, None, levels=prior)
    if gp is None or gp.hyperparameters.levels is None:
        return None
    return float(gp.hyperparameters.levels.correlations[0])
