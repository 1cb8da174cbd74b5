"""Functional analysis of variance of the scores.

The standardised score of a configuration is modelled as a sum over an orthonormal basis (shifted
Legendre polynomials of numbers, their discrete counterparts of levels), so that its decomposition
into main effects and pairs is exact: f = sum_i f_i(x_i) + sum_{i<j} f_ij(x_i, x_j), and the
variance of a part is the sum of its squared coefficients (Sobol, 2001; as a question to ask of
hyperparameters: Hutter, Hoos and Leyton-Brown, 2014). Coefficients by ridge regression on all
datasets; its penalties by the error on datasets left out.

Notation: n rows, m columns of the basis, D datasets, T terms (hyperparameters and pairs of them).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor
from numpy.polynomial.legendre import legval
from scipy.linalg import cho_factor, cho_solve

from benchmarks.insights.landscape import Landscape
from benchmarks.insights.spread import jackknife_se, mean_se
from surrogates.history.features import QUIET
from surrogates.space.axes import Axis, ChoiceAxis, OrdinalAxis

MAIN_DEGREE, PAIR_DEGREE = 4, 2
# Ratio of noise to prior variance of a coefficient; large ones mean little is believed.
MAIN_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
PAIR_PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)
FOLDS = 5
Terms = list[tuple[int, ...]]


@dataclass(frozen=True)
class Basis:
    """Columns of an orthonormal basis, each of one term."""

    matrix: np.ndarray  # n x m, centred within groups: a group's level is known, not explained
    terms: Terms  # T terms: (i,) a hyperparameter, (i, j) a pair
    term: np.ndarray  # the term that a column belongs to, shape (m,)
    roughness: np.ndarray
    """Squared degree of a column, shape (m,): rough effects are penalised more."""

    @classmethod
    def of(cls, landscape: Landscape, pairs: bool = True) -> Basis:
        """The basis at the rows of a landscape."""
        names, parents = landscape.names, _parents(landscape)
        main = [_polynomials(a, u) for a, u in zip(landscape.axes, landscape.unit.T, strict=True)]
        blocks = [block[:, :MAIN_DEGREE] for block in main]
        degrees = [np.arange(1, b.shape[1] + 1) for b in blocks]
        # Levels without an order have contrasts, not degrees: none is rougher than another.
        for i, axis in enumerate(landscape.axes):
            if isinstance(axis, ChoiceAxis):
                blocks[i], degrees[i] = main[i], np.ones(main[i].shape[1])
        terms: Terms = [(i,) for i in range(len(names))]
        for i, j in itertools.combinations(range(len(names)), 2) if pairs else ():
            if {(names[i], names[j]), (names[j], names[i])} & parents:
                continue  # one is active for a single value of the other: no pair to speak of
            a, b = _low(blocks[i], degrees[i]), _low(blocks[j], degrees[j])
            terms.append((i, j))
            blocks.append(np.einsum("na,nb->nab", a[0], b[0]).reshape(len(landscape), -1))
            degrees.append(np.outer(a[1], b[1]).ravel())
        matrix = np.hstack(blocks)
        for rows in landscape.groups.values():
            matrix[rows] -= matrix[rows].mean(axis=0)
        term = np.repeat(np.arange(len(terms)), [b.shape[1] for b in blocks])
        return cls(matrix, terms, term, np.concatenate(degrees).astype(float) ** 2)

    def penalties(self, main: float, pair: float) -> np.ndarray:
        """Of each column, shape (m,)."""
        order = np.array([len(t) for t in self.terms])[self.term]
        return np.where(order == 1, main, pair) * self.roughness

    def variances(self, coefficients: np.ndarray) -> np.ndarray:
        """Variance of each term, T or T x k, of coefficients of shape (m,) or m x k."""
        out = np.zeros((len(self.terms), *coefficients.shape[1:]))
        np.add.at(out, self.term, coefficients**2)
        return out


@dataclass(frozen=True)
class Explained:
    """The variance that some terms of the model explain."""

    share: float  # of the score's variance
    share_se: float  # jackknife over datasets
    null95: float  # 95 % quantile of the same with shuffled scores
    p: float
    sobol: float  # share of the model's own variance


@dataclass(frozen=True)
class Decomposition:
    """The fitted model and its terms."""

    basis: Basis
    coefficients: np.ndarray  # shape (m,), of all datasets
    without: np.ndarray  # D x m: of all datasets but one
    null: np.ndarray  # T x B variances of the terms with scores shuffled within groups
    penalties: tuple[float, float]
    models: pd.DataFrame
    """Fit of each kind of model to held-out trials: model, r2, r2_se, datasets, held_out.

    R2 is that of standardised scores, a dataset at a time; its penalties are those that are best
    on the other datasets."""

    def explained(self, terms: np.ndarray) -> Explained:
        """The variance of some terms, a mask of shape (T,)."""
        variances = self.basis.variances(self.coefficients)
        share = float(variances[terms].sum())
        each = np.array([self.basis.variances(c)[terms].sum() for c in self.without])
        null = self.null[terms].sum(axis=0)
        return Explained(
            share=share,
            share_se=jackknife_se(each),
            null95=float(np.quantile(null, 0.95)),
            p=float((1 + (null >= share).sum()) / (1 + len(null))),
            sobol=share / max(float(variances.sum()), 1e-300),
        )


def decompose(
    landscape: Landscape, seed: int = 0, shuffles: int = 200, trees: int = 150
) -> Decomposition:
    """Fit and evaluate the models of the standardised score.

    With one dataset nothing can be held out, and R2 is NaN. The scores are shuffled within groups
    for the null; the trees are those of the boosted competitor.
    """
    z, datasets = landscape.z, np.unique(landscape.dataset)
    owner = np.searchsorted(datasets, landscape.dataset)
    both, alone = Basis.of(landscape), Basis.of(landscape, pairs=False)
    grid = [(a, b) for a in MAIN_PENALTIES for b in PAIR_PENALTIES]
    r2_both, chosen = _left_out(both, z, owner, grid)
    r2_main, _ = _left_out(alone, z, owner, [(a, a) for a in MAIN_PENALTIES])
    best = both.penalties(*chosen)
    without = np.array([_solve(both, z, best, owner != d) for d in range(len(datasets))])
    rng = np.random.default_rng(seed)
    shuffled = np.empty((len(z), shuffles))
    for rows in landscape.groups.values():
        shuffled[rows] = rng.permuted(np.repeat(z[rows, None], shuffles, axis=1), axis=0)
    models = [
        ("main effects and pairs", r2_both, "a dataset"),
        ("main effects", r2_main, "a dataset"),
        ("boosted trees", _boosted(landscape, owner, seed, trees), "a dataset"),
        (
            "main effects, each group on its own",
            _each_alone(landscape, alone),
            "a fifth of a group",
        ),
    ]
    return Decomposition(
        basis=both,
        coefficients=_solve(both, z, best),
        without=without,
        null=both.variances(_solve(both, shuffled, best)),
        penalties=chosen,
        models=pd.DataFrame(
            {"model": name, **mean_se(r2, "r2"), "held_out": held} for name, r2, held in models
        ),
    )


def _left_out(
    basis: Basis, z: np.ndarray, owner: np.ndarray, grid: list[tuple[float, float]]
) -> tuple[np.ndarray, tuple[float, float]]:
    """R2 of each dataset under penalties that are best on the others, and the best of all."""
    count = int(owner.max()) + 1
    r2 = np.full((len(grid), count), np.nan)
    gram, moment = basis.matrix.T @ basis.matrix, basis.matrix.T @ z
    for d in range(count) if count > 1 else ():
        # X'X and X'z add up over rows, so those of the other datasets are a subtraction away.
        own = basis.matrix[owner == d]
        rest, right = gram - own.T @ own, moment - own.T @ z[owner == d]
        for g, penalties in enumerate(grid):
            coefficients = _ridge(rest, right, basis.penalties(*penalties))
            r2[g, d] = _r2(z[owner == d], own @ coefficients)
    if count < 2:
        return r2[0], grid[len(grid) // 2]
    return _nested(r2), grid[int(r2.mean(axis=1).argmax())]


def _nested(r2: np.ndarray) -> np.ndarray:
    """Of a table settings x datasets: each dataset's entry in the setting best on the others.

    Nested, as the best setting on a dataset itself would make its R2 too good.
    """
    others = (r2.sum(axis=1, keepdims=True) - r2) / (r2.shape[1] - 1)
    return r2[others.argmax(axis=0), np.arange(r2.shape[1])]


def _each_alone(landscape: Landscape, basis: Basis) -> np.ndarray:
    """R2 of each dataset where a group knows its own rows only, cross-validated within it."""
    by_group, dataset = [], []
    for rows in landscape.groups.values():
        fold = np.arange(len(rows)) % FOLDS
        predicted = np.zeros((len(MAIN_PENALTIES), len(rows)))
        for k in range(FOLDS):
            train, test = rows[fold != k], fold == k
            x, y = basis.matrix[train], landscape.z[train]
            mean, level = x.mean(axis=0), y.mean()
            gram, right = (x - mean).T @ (x - mean), (x - mean).T @ (y - level)
            for g, penalty in enumerate(MAIN_PENALTIES):
                coefficients = _ridge(gram, right, basis.penalties(penalty, penalty))
                predicted[g, test] = level + (basis.matrix[rows[test]] - mean) @ coefficients
        by_group.append([_r2(landscape.z[rows], p) for p in predicted])
        dataset.append(landscape.dataset[rows[0]])
    r2 = pd.DataFrame(by_group).groupby(np.array(dataset)).mean().to_numpy().T
    return _nested(r2) if r2.shape[1] > 1 else r2.max(axis=0)


def _boosted(landscape: Landscape, owner: np.ndarray, seed: int, trees: int) -> np.ndarray:
    """R2 of each dataset left out of boosted trees on the encoded configuration."""
    cube = landscape.encoder.matrix(landscape.configs)
    count = int(owner.max()) + 1
    r2 = np.full(count, np.nan)
    for d in range(count) if count > 1 else ():
        model = CatBoostRegressor(
            iterations=trees, depth=4, learning_rate=0.08, l2_leaf_reg=5.0, border_count=64,
            random_seed=seed, **QUIET,
        )  # fmt: skip
        own = owner == d
        predicted = model.fit(cube[~own], landscape.z[~own]).predict(cube[own], thread_count=1)
        for group in np.unique(landscape.group[own]):
            members = landscape.group[own] == group
            predicted[members] -= predicted[members].mean()
        r2[d] = _r2(landscape.z[own], predicted)
    return r2


def _solve(
    basis: Basis, z: np.ndarray, penalties: np.ndarray, rows: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """Coefficients, shape (m,) or m x k as z is (n,) or n x k."""
    x = basis.matrix[rows]
    return _ridge(x.T @ x, x.T @ z[rows], penalties)


def _ridge(gram: np.ndarray, moment: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """(X'X + diag(penalties))^-1 X'z."""
    return cho_solve(cho_factor(gram + np.diag(penalties)), moment)


def _r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    return 1.0 - float(((actual - predicted) ** 2).sum() / (actual**2).sum())


def _polynomials(axis: Axis, u: np.ndarray) -> np.ndarray:
    """Orthonormal polynomials of one hyperparameter, without the constant; 0 where inactive.

    Orthonormal under the uniform distribution on the axis; a hyperparameter that is active in a
    share of the rows is scaled up, so that a column has variance 1 over all of them.
    """
    active = ~np.isnan(u)
    if levels := _levels(axis):
        # QR of the powers is Gram-Schmidt: polynomials orthogonal over the equally spaced levels.
        points = np.vander(np.linspace(-1.0, 1.0, levels), increasing=True)
        table = np.linalg.qr(points)[0][:, 1:] * np.sqrt(levels)
        columns = table[np.minimum((u[active] * levels).astype(int), levels - 1)]
    else:
        orders = np.arange(1, MAIN_DEGREE + 1)
        legendre = legval(2.0 * u[active] - 1.0, np.eye(MAIN_DEGREE + 1)[:, 1:]).T
        columns = legendre * np.sqrt(2 * orders + 1)
    out = np.zeros((len(u), columns.shape[1]))
    out[active] = columns / np.sqrt(active.mean())
    return out


def _levels(axis: Axis) -> int:
    """Number of values of a hyperparameter with levels, 0 of a range."""
    if isinstance(axis, ChoiceAxis):
        return len(axis.choices)
    return len(axis.sequence) if isinstance(axis, OrdinalAxis) else 0


def _low(columns: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns smooth enough for a pair."""
    return columns[:, degrees <= PAIR_DEGREE], degrees[degrees <= PAIR_DEGREE]


def _parents(landscape: Landscape) -> set[tuple[str, str]]:
    """(child, parent) of the conditions of the space."""
    space = landscape.encoder.space
    return {
        (child, parent.name)
        for child in space.conditional_hyperparameters
        for parent in space.parents_of[child]
    }
