"""What each past task said: one Gaussian process a task, all with the same kernel.

Notation: task h (a dataset x model) with n_h distinct configurations X_h in d encoded columns and
standardised scores z_h = (y - mean) / s_h with known noise variances v_h = score_se^2 / s_h^2.

    z_h ~ N(0, a k(X_h, X_h) + diag(v_h) + t I),   k Matern-5/2 with one lengthscale a column

Lengthscales, a and t are shared: sixty trials in fifteen columns cannot say them, thirty times
sixty can. They maximise the sum of the tasks' log marginal likelihoods and a log-normal prior on
the lengthscales that grows with sqrt(d) (Hvarfner et al., arXiv 2402.02229). Then

    f_h(x) = a k(x, X_h) (a k(X_h, X_h) + diag(v_h) + t I)^-1 z_h

is task h's own opinion. Its residual f_h - m from the common opinion m is what the search's kernel
is to be made of: k(x, x') = mean_h r_h(x) r_h(x').
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from torch import Tensor

from surrogates.encoding import SpaceEncoder
from surrogates.history import History
from surrogates.residual_gp import merge_duplicates

MIN_TRIALS = 5  # a task with fewer says nothing that a kernel could be made of
MAX_TRIALS = 256  # of a task: more would cost its cube and hardly say more
TASKS_FOR_KERNEL = 40  # a shared kernel is known well from these
STEPS = 60
NOISE_FLOOR = 1e-4


@dataclass(frozen=True)
class Kernel:
    """The shared Matern-5/2 kernel."""

    lengthscales: np.ndarray
    """(d,), in units of the encoded cube."""
    signal: float
    """a: variance of a task's scores that the configuration explains."""
    noise: float
    """t: the other variance, beyond the known standard errors."""


@dataclass(frozen=True)
class PastTask:
    """One task's trials and what its Gaussian process makes of them."""

    name: str
    cube: np.ndarray
    """`n x d` encoded configurations."""
    weights: np.ndarray
    """(n,): (a K + noise)^-1 z."""
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
        kernel = _fit_kernel(chosen)
        return cls(kernel, tuple(_fit_task(each, kernel) for each in data))

    def predict(self, cube: np.ndarray) -> np.ndarray:
        """f_h(x) of every task at `n x d` points, `tasks x n`, in standard deviations of h."""
        scaled = cube / self.kernel.lengthscales
        return np.stack(
            [
                self.kernel.signal
                * matern(scaled, task.cube / self.kernel.lengthscales)
                @ task.weights
                for task in self.tasks
            ]
        )

    def residuals(self, cube: np.ndarray, opinion: np.ndarray) -> np.ndarray:
        """r_h(x) = f_h(x) - m(x), `tasks x n`, for the common opinion m of shape (n,)."""
        return self.predict(cube) - opinion

    def save(self, folder: Path) -> None:
        """Write `past_tasks.safetensors` and `past_tasks.json`."""
        arrays = {"lengthscales": self.kernel.lengthscales}
        for number, task in enumerate(self.tasks):
            arrays[f"cube-{number}"] = np.ascontiguousarray(task.cube)
            arrays[f"weights-{number}"] = task.weights
        save_file(arrays, str(folder / "past_tasks.safetensors"))
        payload = {
            "signal": self.kernel.signal,
            "noise": self.kernel.noise,
            "tasks": [{"name": task.name, "explained": task.explained} for task in self.tasks],
        }
        (folder / "past_tasks.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> PastTasks:
        """Inverse of `save`; predictions are bit-equal."""
        arrays = load_file(str(folder / "past_tasks.safetensors"))
        payload = json.loads((folder / "past_tasks.json").read_text())
        tasks = tuple(
            PastTask(each["name"], arrays[f"cube-{i}"], arrays[f"weights-{i}"], each["explained"])
            for i, each in enumerate(payload["tasks"])
        )
        return cls(Kernel(arrays["lengthscales"], payload["signal"], payload["noise"]), tasks)


def matern(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matern-5/2 correlations of `n x d` and `m x d` points in units of the lengthscales."""
    squared = ((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T).clip(min=0.0)
    r = np.sqrt(5.0 * squared)
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)


@dataclass(frozen=True)
class _Data:
    name: str
    cube: np.ndarray
    z: np.ndarray
    variance: np.ndarray


def _standardised(history: History, encoder: SpaceEncoder, seed: int) -> Iterator[_Data]:
    """Distinct configurations of each task with standardised scores; repeats are averaged."""
    group = history.group.astype(str)
    for name in np.unique(group[history.final]):
        rows = np.flatnonzero(history.final & (group == name))
        keys = [encoder.key(history.configs[i]) for i in rows]
        variance = np.nan_to_num(history.score_se[rows]) ** 2
        first, y, variance = merge_duplicates(keys, history.score[rows], variance)
        if len(first) > MAX_TRIALS:
            kept = np.random.default_rng(seed).choice(len(first), MAX_TRIALS, replace=False)
            kept.sort()
            first, y, variance = first[kept], y[kept], variance[kept]
        scale = float(y.std())
        if len(first) < MIN_TRIALS or not scale > 0:
            continue
        cube = encoder.matrix([history.configs[rows[i]] for i in first])
        yield _Data(name, cube, (y - y.mean()) / scale, variance / scale**2)


def _fit_kernel(data: Sequence[_Data]) -> Kernel:
    """Shared hyperparameters by maximum a posteriori, L-BFGS on their logarithms."""
    d = data[0].cube.shape[1]
    tensors = [tuple(map(torch.as_tensor, (e.cube, e.z, e.variance))) for e in data]
    location, width = math.sqrt(2.0) + 0.5 * math.log(d), 1.0

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(parameters, requires_grad=True)
        total = 0.5 * (((p[:d] - location) / width) ** 2).sum()
        for cube, z, variance in tensors:
            total = total - _log_likelihood(p, cube, z, variance)
        total.backward()
        assert p.grad is not None
        return float(total.detach()), p.grad.numpy()

    start = np.concatenate([np.full(d, location - 0.5), np.log([0.5, 0.3])])
    bounds = [(math.log(0.05), math.log(100.0))] * d + [(math.log(1e-3), math.log(4.0))] * 2
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    return Kernel(np.exp(found.x[:d]), float(np.exp(found.x[d])), float(np.exp(found.x[d + 1])))


def _log_likelihood(p: Tensor, cube: Tensor, z: Tensor, variance: Tensor) -> Tensor:
    """log N(z; 0, a K + diag(variance) + t I), up to a constant."""
    scaled = cube / p[:-2].exp()
    squared = (scaled[:, None] - scaled[None]).square().sum(dim=-1)
    r = (5.0 * squared + 1e-12).sqrt()  # its slope at 0 would be infinite
    correlation = (1.0 + r + r**2 / 3.0) * torch.exp(-r)
    noise = variance + p[-1].exp() + NOISE_FLOOR
    factor = torch.linalg.cholesky(p[-2].exp() * correlation + torch.diag(noise))
    white = torch.linalg.solve_triangular(factor, z[:, None], upper=False)
    return -0.5 * white.square().sum() - factor.diagonal().log().sum()


def _fit_task(data: _Data, kernel: Kernel) -> PastTask:
    """Weights, and leave-one-out errors z_i - mu_i = w_i / (C^-1)_ii (Rasmussen, Williams 5.12)."""
    scaled = data.cube / kernel.lengthscales
    covariance = kernel.signal * matern(scaled, scaled)
    inverse = np.linalg.inv(covariance + np.diag(data.variance + kernel.noise + NOISE_FLOOR))
    weights = inverse @ data.z
    errors = weights / np.diag(inverse)
    return PastTask(data.name, data.cube, weights, 1.0 - float((errors**2).mean()))
