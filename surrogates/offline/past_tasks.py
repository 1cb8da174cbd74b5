"""The models of past tasks: one Gaussian process per task, all with the same kernel.

Notation: task h (a dataset x model) with n_h distinct configurations X_h in d encoded columns and
standardised scores z_h = (y - mean) / s_h with known noise variances v_h = score_se^2 / s_h^2.

    z_h ~ N(mu_h, C_h),   C_h = K_h + diag(v_h) + t I
    k(x, x') = sum_j a_j c(|x_j - x'_j| / l) + a_0 c(|x - x'| / l_0)

c is the Matern-5/2 correlation. The first sum holds one main effect a column, the last term all
interactions. Amplitudes a, the lengthscales l and l_0 and the noise t are shared: a few dozen
trials in two dozen columns cannot say them, thirty times as many can. They maximise the sum of
the tasks' restricted log likelihoods (mu_h flat and integrated out: Patterson and Thompson, 1971),
an exponential prior on every amplitude, which lets most of them be zero, and a lognormal one on
l_0, which is long unless the tasks say otherwise. Additive kernels: Duvenaud et al. (arXiv
1112.4394). Then

    f_h(x) = mu_h + k(x, X_h) C_h^-1 (z_h - mu_h),   mu_h = 1' C_h^-1 z_h / 1' C_h^-1 1

is task h's own prediction. Its deviation from the common prior mean makes the search's kernel
(`surrogates.online.offline_prior.TaskDeviations`).

With mu_h fixed at 0 the likelihood of a real history was highest without any signal: smooth kernels
hold a constant, each task's scores are centred, and every task pays for the constant it has not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from torch import Tensor

from surrogates.core.kernels import Kernel, default_joint_lengthscale, distance
from surrogates.gp.residual_gp import merge_duplicates
from surrogates.history.table import History
from surrogates.offline.past_tables import Tables
from surrogates.space.encoding import SpaceEncoder

MIN_TRIALS = 5  # a task with fewer says nothing that a kernel could be made of
MAX_TRIALS = 256  # of a task: more would cost its cube and hardly say more
TASKS_FOR_KERNEL = 40  # a shared kernel is known well from these,
TRIALS_FOR_KERNEL = 3000  # and from so many of their trials
STEPS = 100
NOISE_FLOOR = 1e-4
AMPLITUDE = 0.3  # mean of the exponential prior on each amplitude
MIN_AMPLITUDE = 1e-3  # amplitudes below are left out: they explain a thousandth of the variance


@dataclass(frozen=True)
class PastTask:
    """One task's trials and what its Gaussian process makes of them."""

    name: str
    cube: np.ndarray
    """`n x d` encoded configurations."""
    weights: np.ndarray
    """(n,): C^-1 (z - mu)."""
    mean: float
    """mu."""
    explained: float
    """Share of the variance of z that leave-one-out predictions explain; below 0: worse than 0."""


@dataclass(frozen=True)
class PastTasks:
    """All past tasks that have enough trials. Build it with `fit` or `load`."""

    kernel: Kernel
    tasks: tuple[PastTask, ...]

    @classmethod
    def fit(cls, history: History, encoder: SpaceEncoder, seed: int = 0) -> PastTasks | None:
        """Learns the kernel from all tasks together, then fits each one.

        Args:
            history: Its full-length rows are used.
            encoder: The space.
            seed: Of which trials and tasks are used where there are very many.

        Returns:
            None where no task has five distinct configurations whose scores differ.
        """
        data = list(_standardised(history, encoder, seed))
        return cls._of(data, seed) if data else None

    @classmethod
    def of_scores(
        cls, group: np.ndarray, cube: np.ndarray, scores: np.ndarray, seed: int = 0
    ) -> PastTasks | None:
        """As `fit`, from `n x d` encoded configurations and scores standardised by group."""
        data = []
        for name in np.unique(group.astype(str)):
            rows = np.flatnonzero(group.astype(str) == name)
            if len(rows) >= MIN_TRIALS and np.ptp(scores[rows]) > 0:
                data.append(_Data(name, cube[rows], scores[rows], np.zeros(len(rows))))
        return cls._of(data, seed) if data else None

    @classmethod
    def _of(cls, data: Sequence[_Data], seed: int) -> PastTasks:
        chosen: Sequence[_Data] = data
        if len(data) > TASKS_FOR_KERNEL:
            rng = np.random.default_rng(seed)
            drawn = np.sort(rng.choice(len(data), TASKS_FOR_KERNEL, replace=False))
            chosen = [data[i] for i in drawn]
        kernel = _fit_kernel([each.part(TRIALS_FOR_KERNEL // len(chosen), seed) for each in chosen])
        return cls(kernel, tuple(_fit_task(each, kernel) for each in data))

    def predict(self, cube: np.ndarray) -> np.ndarray:
        """f_h(x) of every task at `n x d` points, `tasks x n`, in standard deviations of h.

        Main effects are read from tables, and the joint term from a thousand points where there
        are more: all trials of all tasks would take a second for each suggestion. Up to a thousand
        trials the error is below 1e-3 of a standard deviation; beyond, the shorter l_0 the larger.
        """
        return self._tables(cube)

    @cached_property
    def _tables(self) -> Tables:
        cubes, weights = [t.cube for t in self.tasks], [t.weights for t in self.tasks]
        return Tables.of(self.kernel, np.array([t.mean for t in self.tasks]), cubes, weights)

    def save(self, folder: Path) -> None:
        """Write `past_tasks.safetensors` and `past_tasks.json`."""
        arrays = {"amplitudes": self.kernel.amplitudes}
        for number, task in enumerate(self.tasks):
            arrays[f"cube-{number}"] = np.ascontiguousarray(task.cube)
            arrays[f"weights-{number}"] = task.weights
        save_file(arrays, str(folder / "past_tasks.safetensors"))
        payload = {
            "lengthscale": self.kernel.lengthscale,
            "reach": self.kernel.joint_lengthscale,
            "noise": self.kernel.noise,
            "tasks": [
                {"name": task.name, "mean": task.mean, "explained": task.explained}
                for task in self.tasks
            ],
        }
        (folder / "past_tasks.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> PastTasks:
        """Inverse of `save`; predictions are bit-equal."""
        arrays = load_file(str(folder / "past_tasks.safetensors"))
        payload = json.loads((folder / "past_tasks.json").read_text())
        tasks = tuple(
            PastTask(cube=arrays[f"cube-{i}"], weights=arrays[f"weights-{i}"], **each)
            for i, each in enumerate(payload["tasks"])
        )
        shared = [payload[name] for name in ("lengthscale", "reach", "noise")]
        kernel = Kernel(arrays["amplitudes"], *shared)
        return cls(kernel, tasks)


@dataclass(frozen=True)
class _Data:
    name: str
    cube: np.ndarray
    z: np.ndarray
    variance: np.ndarray

    def part(self, n: int, seed: int) -> _Data:
        """n of the trials, all if there are fewer."""
        if len(self.z) <= n:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self.z), n, replace=False))
        return _Data(self.name, self.cube[rows], self.z[rows], self.variance[rows])


def _standardised(history: History, encoder: SpaceEncoder, seed: int) -> Iterator[_Data]:
    """Distinct configurations of each task with standardised scores; repeats are averaged."""
    final = np.flatnonzero(history.final)
    for name, found in pd.Series(final).groupby(history.group[final].astype(str)).indices.items():
        rows = final[found]
        keys = [encoder.key(history.configs[i]) for i in rows]
        se = history.score_se[rows]
        variance = np.where(np.isfinite(se), se, 0.0) ** 2
        first, y, variance = merge_duplicates(keys, history.score[rows], variance)
        if len(first) > MAX_TRIALS:
            kept = np.random.default_rng(seed).choice(len(first), MAX_TRIALS, replace=False)
            kept.sort()
            first, y, variance = first[kept], y[kept], variance[kept]
        scale = float(y.std())
        if len(first) < MIN_TRIALS or not scale > 0:
            continue
        cube = encoder.matrix([history.configs[rows[i]] for i in first])
        yield _Data(str(name), cube, (y - y.mean()) / scale, variance / scale**2)


def _fit_kernel(data: Sequence[_Data]) -> Kernel:
    """Shared hyperparameters by maximum a posteriori, L-BFGS within bounds.

    Variances are searched as they are, not as logarithms: at a logarithm that a long first step
    made very small nothing has a slope any more, and no effect comes back.
    """
    d = data[0].cube.shape[1]
    smooth = math.log(default_joint_lengthscale(d))
    tensors = [_Tensors.of(each) for each in data]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(parameters, requires_grad=True)
        prior = p[: d + 1].sum() / AMPLITUDE + (p[d + 2].log() - smooth) ** 2 / 2.0
        prior.backward()
        total = float(prior.detach())
        for each in tensors:  # one graph at a time: all together took gigabytes
            part = -each.log_likelihood(p)
            part.backward()
            total += float(part.detach())
        assert p.grad is not None
        return total, p.grad.numpy()

    start = np.array([*[1.0 / (d + 1)] * (d + 1), 1.0, default_joint_lengthscale(d), 0.5])
    bounds = [(0.0, 10.0)] * (d + 1) + [(0.3, 5.0), (0.1, 50.0), (1e-3, 4.0)]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    *amplitudes, lengthscale, joint_lengthscale, noise = map(float, found.x)
    kept = np.where(np.array(amplitudes) < MIN_AMPLITUDE, 0.0, amplitudes)
    return Kernel(kept, lengthscale, joint_lengthscale, noise)


@dataclass(frozen=True)
class _Tensors:
    """One task for the likelihood, distances computed once."""

    by_column: Tensor
    """`d x n x n` absolute differences."""
    joint: Tensor
    """`n x n` Euclidean distances."""
    z: Tensor
    variance: Tensor

    @classmethod
    def of(cls, data: _Data) -> _Tensors:
        cube = data.cube
        apart = np.abs(cube.T[:, :, None] - cube.T[:, None, :])
        joint = distance(cube, cube)
        return cls(*map(torch.as_tensor, (apart, joint, data.z, data.variance)))

    def log_likelihood(self, p: Tensor) -> Tensor:
        """Restricted log likelihood, up to a constant:

        -1/2 (log |C| + log 1' C^-1 1 + (z - mu)' C^-1 (z - mu)).
        """
        amplitudes, lengthscale, joint_lengthscale, noise = p[:-3], p[-3], p[-2], p[-1]
        effects, joint = (
            _matern(self.by_column / lengthscale),
            _matern(self.joint / joint_lengthscale),
        )
        covariance = torch.tensordot(amplitudes[:-1], effects, dims=1) + amplitudes[-1] * joint
        covariance = covariance + torch.diag(self.variance + noise + NOISE_FLOOR)
        factor = torch.linalg.cholesky(covariance)
        both = torch.stack([self.z, torch.ones_like(self.z)], dim=1)
        z, one = torch.linalg.solve_triangular(factor, both, upper=False).T
        information = one @ one
        errors = z - (one @ z) / information * one
        return -0.5 * (errors @ errors + information.log()) - factor.diagonal().log().sum()


def _matern(r: Tensor) -> Tensor:
    """`past_kernel.matern`, with gradients."""
    r = math.sqrt(5.0) * r
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)


def _fit_task(data: _Data, kernel: Kernel) -> PastTask:
    """Weights, and leave-one-out errors w_i / P_ii (Rasmussen and Williams 2006, equation 5.12)."""
    noise = np.diag(data.variance + kernel.noise + NOISE_FLOOR)
    inverse = np.linalg.inv(kernel(data.cube, data.cube) + noise)
    precision = inverse.sum(axis=0)
    mean = float(precision @ data.z / precision.sum())
    # With mu estimated from the same trials, C^-1 has the part that it takes up removed.
    projected = inverse - np.outer(precision, precision) / precision.sum()
    weights = projected @ data.z
    errors = weights / np.diag(projected)
    explained = 1.0 - float((errors**2).mean())
    return PastTask(data.name, data.cube, weights, mean, explained)
