"""Predictions of all past tasks at once, quickly enough for every suggestion of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surrogates.core.kernels import Kernel, distance, matern

GRID = 257  # values of a tabulated main effect
JOINT_POINTS = 1000  # that the joint term is read from where there are more trials
JITTER = 1e-8


@dataclass(frozen=True)
class Tables:
    """All tasks' predictions in a form that is quick to evaluate.

    With w_h the weights of task h, f_h(x) = mu_h + sum_j e_hj(x_j) + q_h(x): the main effect
    e_hj(u) = a_j sum_i w_hi c(|u - X_hij| / l) is a function of one number and is tabulated; the
    joint part q_h is smooth, so that its values at a thousand points say the rest (Nystroem).
    """

    mean: np.ndarray
    """(h,): mu."""
    columns: np.ndarray
    """Columns with a main effect."""
    effects: np.ndarray
    """`columns x h x GRID`."""
    amplitude: float
    """a_0."""
    joint_lengthscale: float
    """l_0."""
    points: np.ndarray
    """`p x d`."""
    coefficients: np.ndarray
    """`p x h`: q_h(x) = a_0 c(|x - points| / l_0) coefficients."""

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        mean: np.ndarray,
        cubes: Sequence[np.ndarray],
        weights: Sequence[np.ndarray],
    ) -> Tables:
        """Tables of fitted tasks.

        Args:
            kernel: That they share.
            mean: (h,) mu.
            cubes: Encoded trials of each task, `n_h x d`.
            weights: Of each trial, (n_h,).
        """
        grid = np.linspace(0.0, 1.0, GRID)
        columns = np.flatnonzero(kernel.amplitudes[:-1])
        effects = np.zeros((len(columns), len(cubes), GRID))
        for h, (cube, w) in enumerate(zip(cubes, weights, strict=True)):
            for place, j in enumerate(columns):
                apart = np.abs(grid[:, None] - cube[:, j]) / kernel.lengthscale
                effects[place, h] = kernel.amplitudes[j] * matern(apart) @ w
        amplitude = float(kernel.amplitudes[-1])
        joint = (
            _joint(cubes, weights, kernel.joint_lengthscale)
            if amplitude
            else (cubes[0][:0], np.zeros(0))
        )
        return cls(mean, columns, effects, amplitude, kernel.joint_lengthscale, *joint)

    def __call__(self, cube: np.ndarray) -> np.ndarray:
        """f_h(x) at `n x d` points, `tasks x n`."""
        out = np.repeat(self.mean[:, None], len(cube), axis=1)
        for effect, j in zip(self.effects, self.columns, strict=True):
            place = np.clip(cube[:, j], 0.0, 1.0) * (GRID - 1)
            below = np.minimum(place.astype(int), GRID - 2)
            share = place - below
            out += effect[:, below] * (1.0 - share) + effect[:, below + 1] * share
        if self.amplitude:
            near = matern(distance(cube, self.points) / self.joint_lengthscale)
            out += self.amplitude * (near @ self.coefficients).T
        return out


def _joint(
    cubes: Sequence[np.ndarray], weights: Sequence[np.ndarray], joint_lengthscale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points `p x d` and coefficients `p x h` of the joint part, without its amplitude."""
    points = np.unique(np.vstack(cubes), axis=0)
    if len(points) > JOINT_POINTS:
        drawn = np.random.default_rng(0).choice(len(points), JOINT_POINTS, replace=False)
        points = points[np.sort(drawn)]
    values = [
        matern(distance(points, c) / joint_lengthscale) @ w
        for c, w in zip(cubes, weights, strict=True)
    ]
    gram = matern(distance(points, points) / joint_lengthscale) + JITTER * np.eye(len(points))
    return points, np.linalg.solve(gram, np.stack(values, axis=1))
