"""The finite set of configurations that one suggestion is chosen from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from surrogates.core.base import Config, OptionError
from surrogates.space.axes import NumberAxis
from surrogates.space.encoding import PREFIX, SpaceEncoder

BASE_POOL = 2048
BANDWIDTH = 0.2  # of the closeness of two configurations, per column
REFINEMENTS, MUTATIONS = 2, 150  # rounds of hill-climbing and neighbours in each


def given_candidates(frame: pd.DataFrame, encoder: SpaceEncoder) -> list[Config]:
    """The caller's candidates, without repeats.

    Raises:
        OptionError: No rows, or a column for an unconditional hyperparameter is missing.
    """
    if not isinstance(frame, pd.DataFrame):
        raise OptionError(f"candidates must be a pandas DataFrame, got {type(frame).__name__}.")
    if len(frame) == 0:
        raise OptionError("candidates has no rows: nothing to choose from.")
    missing = [
        name
        for name, conditional in zip(encoder.names, encoder.conditional, strict=True)
        if not conditional and name not in frame and PREFIX + name not in frame
    ]
    if missing:
        raise OptionError(
            f"candidates lacks columns for {missing}; it has {list(frame.columns)}. "
            "Name them as in the space, with or without 'config.'."
        )
    configs = encoder.from_frame(frame)
    for row, config in enumerate(configs):
        if (name := encoder.lacks(config)) is not None:
            raise OptionError(
                f"candidates: row {row} has no usable value for {name!r}. Give it one that the "
                "space allows, or leave the row out."
            )
    return encoder.unique(configs)


def mutate(
    parents: Sequence[Config], n: int, encoder: SpaceEncoder, rng: np.random.Generator
) -> list[Config]:
    """Legal neighbours of the parents: each changes one or more hyperparameters.

    A number moves by a normal step whose size is drawn log-uniformly between 1 % and 30 % of the
    axis, so that both fine and coarse moves are on offer; a category is drawn anew; a
    hyperparameter that a change makes active gets a random value.
    """
    if not parents or n <= 0:
        return []
    units = encoder.to_unit(parents)
    base = units[rng.integers(len(parents), size=n)]
    fresh = rng.random(base.shape)
    p = base.shape[1]
    change = rng.random(base.shape) < min(1.0, 2.0 / p)
    change[np.arange(n), rng.integers(p, size=n)] = True
    step = np.exp(rng.uniform(np.log(0.01), np.log(0.3), size=(n, 1)))
    moved = np.abs(base + step * rng.standard_normal(base.shape))
    moved = 1.0 - np.abs(1.0 - moved)  # reflect at both ends
    redraw = np.array([not isinstance(a, NumberAxis) for a in encoder.axes])
    moved = np.where(redraw, fresh, moved)
    points = np.where(change, moved, base)
    return encoder.from_unit(np.clip(np.where(np.isnan(points), fresh, points), 0.0, 1.0))


def generated_candidates(
    encoder: SpaceEncoder,
    n: int,
    incumbents: Sequence[Config],
    favourites: Sequence[Config],
    rng: np.random.Generator,
) -> list[Config]:
    """About n Sobol points over the whole space, favourites of the offline prior, and mutations of
    the incumbents, the best so far."""
    mutated = mutate(list(incumbents), (2 * n) // 5, encoder, rng)
    liked = list(favourites)[: n // 5]
    spread = encoder.sample(max(8, n - len(mutated) - len(liked)), int(rng.integers(2**31)))
    return encoder.unique([*spread, *liked, *mutated])


def best_unlike(value: np.ndarray, cube: np.ndarray, taken: np.ndarray) -> int:
    """Index of the candidate with a high value that is unlike the taken configurations.

    The maximum of ``value(x) - max_t exp(-|x - x_t|^2 / (2 h^2 d))`` over (c,) values in standard
    deviations; the candidates are `c x d`, the taken ones `t x d`.
    """
    closeness = np.zeros(len(cube))
    for point in taken:
        squared = ((cube - point) ** 2).mean(axis=1)
        closeness = np.maximum(closeness, np.exp(-squared / (2 * BANDWIDTH**2)))
    return int(np.argmax(value - closeness))


def nearest(cube: np.ndarray, point: np.ndarray, penalty: np.ndarray) -> int:
    """Index of the candidate nearest to a point, after adding a penalty to each distance."""
    distance = np.sqrt(((cube - point) ** 2).mean(axis=1))
    return int(np.argmin(distance + penalty))


def refine(
    best: list[Config],
    score: Callable[[list[Config]], np.ndarray],
    encoder: SpaceEncoder,
    exclude: set[tuple],
    rng: np.random.Generator,
) -> tuple[Config, float] | None:
    """Hill-climb an acquisition from its best candidates by mutation; None if nothing is left."""
    found: tuple[Config, float] | None = None
    for _ in range(REFINEMENTS):
        near = [c for c in encoder.unique(mutate(best, MUTATIONS, encoder, rng))
                if encoder.key(c) not in exclude]  # fmt: skip
        if not near:
            break
        values = score(near)
        order = np.argsort(-values, kind="stable")
        if found is None or values[order[0]] > found[1]:
            found = near[order[0]], float(values[order[0]])
        best = [near[i] for i in order[:3]]
    return found
