"""Several levels of size in one Gaussian process (after JF-HPO, arXiv 2606.03073).

A level l is a model; the last one is the target T. In scores standardised per level,

    z_l(x) = c_l + s m_l(x) + g_l(x) + noise
    cov(g_l(x), g_k(x')) = w R_lk k(T_l x, T_k x'),   R_lk = r_l r_k for l != k, R_ll = 1, r_T = 1

T_l moves a learning rate to its image on the target (`surrogates.space.levels`). With one factor
for each proxy R is always a correlation matrix. The priors are

    r_l     Beta(2.5, 1.5), mean 0.63 (BoTorch's for tasks that are alike), or what a history says
    c_l     N(0, 1), as for the target
    shift   N(rule of widths, 0.15 decades), held at its mean below eight target trials, with which
            it cannot be told from noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from gpytorch.kernels import Kernel
from torch import Tensor

CORRELATION_PRIOR = (2.5, 1.5)
SHIFT_SD = 0.15  # decades
LEARNED_FROM = 8  # target trials
EDGE = 0.02  # correlations stay within [EDGE, 1 - EDGE / 4]


@dataclass(frozen=True)
class LevelPrior:
    """What is known of L levels before their scores."""

    count: int
    columns: tuple[int, ...]
    """(J,) columns of the cube that shift."""
    groups: tuple[int, ...]
    """(A,) columns that choose the shift; empty: one for all."""
    scale: np.ndarray
    """(J,): one decade in the cube."""
    shift: np.ndarray
    """`L x J x A` decades."""
    correlation: tuple[tuple[float, float], ...]
    """(L - 1,) parameters of the Beta prior on each proxy's correlation with the target."""

    @property
    def free(self) -> int:
        """Number of shifts that can be learned."""
        return (self.count - 1) * self.shift.shape[1] * self.shift.shape[2]


@dataclass(frozen=True)
class LevelFit:
    """Constants, correlations and shifts of a mode of the posterior."""

    constants: np.ndarray
    """(L,)."""
    correlations: np.ndarray
    """(L,): with the target, whose own is 1."""
    shift: np.ndarray
    """`L x J x A` decades."""


class LevelTerms:
    """The part of the log posterior that several levels add, as a function of its own parameters.

    Parameters, in order: c_l and logit r_l of the L - 1 proxies; the shifts if they are learned.
    """

    def __init__(self, prior: LevelPrior, cube: np.ndarray, level: np.ndarray, learn: bool) -> None:
        self.prior, self.learn = prior, learn and prior.free > 0
        self.level = torch.as_tensor(level, dtype=torch.long)
        self.share = torch.as_tensor(
            cube[:, list(prior.groups)] if prior.groups else np.ones((len(cube), 1))
        )
        self.cube = torch.as_tensor(cube[:, list(prior.columns)])
        self.scale = torch.as_tensor(prior.scale)
        self.expected = torch.as_tensor(prior.shift)

    @property
    def start(self) -> list[float]:
        """No constants, expected correlations and shifts."""
        proxies = self.prior.count - 1
        means = [a / (a + b) for a, b in self.prior.correlation]
        begin = [0.0] * proxies + [math.log(mean / (1 - mean)) for mean in means]
        return begin + (self.prior.shift[:-1].ravel().tolist() if self.learn else [])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each parameter."""
        proxies = self.prior.count - 1
        logits = (math.log(EDGE / (1 - EDGE)), math.log((4 - EDGE) / EDGE))
        shifts = [(s - 1.0, s + 1.0) for s in self.prior.shift[:-1].ravel()] if self.learn else []
        return [(-10.0, 10.0)] * proxies + [logits] * proxies + shifts

    def split(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Constants and correlations of the proxies, each (L - 1,), and shifts of all levels."""
        proxies = self.prior.count - 1
        shift = self.expected
        if self.learn:
            shift = torch.cat([q[2 * proxies :].reshape(shift[:-1].shape), shift[-1:]])
        return q[:proxies], torch.sigmoid(q[proxies : 2 * proxies]), shift

    def log_prior(self, q: Tensor) -> Tensor:
        """Sum of the log prior densities, up to a constant."""
        constants, correlations, shift = self.split(q)
        a, b = torch.tensor(self.prior.correlation, dtype=q.dtype).T
        beta = (a - 1.0) * correlations.log() + (b - 1.0) * (1.0 - correlations).log()
        moved = ((shift - self.expected) / SHIFT_SD).square().sum()
        return beta.sum() - 0.5 * constants.square().sum() - 0.5 * moved

    def constant(self, target: Tensor, q: Tensor) -> Tensor:
        """(n,): the constant of each observation's level."""
        return torch.cat([self.split(q)[0], target.reshape(1)])[self.level]

    def correlation(self, q: Tensor) -> Tensor:
        """`n x n`: R of the observations' levels."""
        r = torch.cat([self.split(q)[1], torch.ones(1, dtype=q.dtype)])[self.level]
        same = self.level[:, None] == self.level[None, :]
        return torch.where(same, torch.ones_like(r[:, None] * r), r[:, None] * r)

    def moved(self, q: Tensor) -> Tensor:
        """`n x J`: the shifted columns of the images on the target."""
        shift = self.split(q)[2]
        return self.cube + torch.einsum("nja,na->nj", shift[self.level], self.share) * self.scale

    def found(self, target: float, q: np.ndarray) -> LevelFit:
        """The parameters as numbers."""
        constants, correlations, shift = self.split(torch.as_tensor(q))
        return LevelFit(
            np.append(constants.numpy(), target),
            np.append(correlations.numpy(), 1.0),
            shift.numpy(),
        )


class LevelKernel(Kernel):
    """R_lk k(T_l x, T_k x') on `n x (d + 2)` inputs whose last column is the level's index."""

    def __init__(self, base: Kernel, prior: LevelPrior, fit: LevelFit) -> None:
        super().__init__()
        self.base = base
        self.columns, self.groups = list(prior.columns), list(prior.groups)
        self.scale = torch.as_tensor(prior.scale)
        self.shift, self.correlations = (
            torch.as_tensor(fit.shift),
            torch.as_tensor(fit.correlations),
        )

    def image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points moved to their images, and their levels."""
        level = x[..., -1].round().long()
        if not self.columns:
            return x, level
        share = x[..., self.groups] if self.groups else torch.ones_like(x[..., :1])
        moved = x.clone()
        offset = torch.einsum("...ja,...a->...j", self.shift[level], share) * self.scale
        moved[..., self.columns] = x[..., self.columns] + offset
        return moved, level

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """`batch x n x m` covariances, or `batch x n` variances."""
        (a, i), (b, j) = self.image(x1), self.image(x2)
        r, q = self.correlations[i], self.correlations[j]
        if diag:
            covariance = self.base(a, b, diag=True)
            return covariance * torch.where(i == j, torch.ones_like(r), r * q)
        same = i.unsqueeze(-1) == j.unsqueeze(-2)
        product = r.unsqueeze(-1) * q.unsqueeze(-2)
        return self.base(a, b).to_dense() * torch.where(same, torch.ones_like(product), product)
