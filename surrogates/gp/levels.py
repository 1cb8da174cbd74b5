"""Several levels of size in one Gaussian process (after JF-HPO, arXiv 2606.03073).

A level l is a model; the last one is the target T. In scores standardised per level,

    z_l(x) = c_l + s m_l(x) + g_l(x) + noise
    cov(g_l(x), g_k(x')) = w R_lk k(T_l x, T_k x'),   R_lk = r_l r_k for l != k, R_ll = 1, r_T = 1

T_l moves a learning rate to its image on the target (`surrogates.space.levels`). With one factor
for each proxy R is always a correlation matrix. The priors are

    r_l     0.9 Beta(a, b) on [0, 1] + 0.1 uniform on [-1, 1]: a proxy may rank in reverse
    c_l     N(0, 1), as for the target
    shift   N(rule of widths, 0.3 decades), held at its mean below three target trials. Between
            families the exponent of the width is anything from 0.1 to 0.8 (tinker-cookbook)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from gpytorch.kernels import Kernel
from torch import Tensor

CORRELATION = (0.85, 0.2)  # expected at equal size, and its loss per decade of the ratio of sizes
CERTAINTY = 4.0  # scores that the expected correlation counts as: a + b
SHIFT_SD = 0.3  # decades
LEARNED_FROM = 3  # target trials
CONTRARY = 0.1  # weight of the part of the prior that knows nothing of a proxy
EDGE = 0.995  # correlations stay between -EDGE and EDGE


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
    active: tuple[int, ...]
    """(J,) columns that are 1 where the shifting one has a meaning; -1: it always has."""
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

    Parameters, in order: c_l and artanh r_l of the L - 1 proxies; the shifts if they are learned.
    """

    def __init__(self, prior: LevelPrior, cube: np.ndarray, level: np.ndarray, learn: bool) -> None:
        self.prior, self.learn = prior, learn and prior.free > 0
        self.level = torch.as_tensor(level, dtype=torch.long)
        self.share = torch.as_tensor(
            cube[:, list(prior.groups)] if prior.groups else np.ones((len(cube), 1))
        )
        self.cube = torch.as_tensor(cube[:, list(prior.columns)])
        self.scale = torch.as_tensor(prior.scale) * activity(torch.as_tensor(cube), prior.active)
        self.expected = torch.as_tensor(prior.shift)

    @property
    def starts(self) -> list[list[float]]:
        """No constants, expected shifts and correlations; and each proxy in turn in reverse."""
        proxies = self.prior.count - 1
        shifts = self.prior.shift[:-1].ravel().tolist() if self.learn else []
        expected = np.arctanh([a / (a + b) for a, b in self.prior.correlation])
        signs = 1.0 - 2.0 * np.vstack([np.zeros(proxies), np.eye(proxies)])
        return [[*[0.0] * proxies, *row, *shifts] for row in expected * signs]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each parameter."""
        proxies = self.prior.count - 1
        edge = math.atanh(EDGE)
        shifts = [(s - 1.0, s + 1.0) for s in self.prior.shift[:-1].ravel()] if self.learn else []
        return [(-10.0, 10.0)] * proxies + [(-edge, edge)] * proxies + shifts

    def split(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Constants and correlations of the proxies, each (L - 1,), and shifts of all levels."""
        proxies = self.prior.count - 1
        shift = self.expected
        if self.learn:
            shift = torch.cat([q[2 * proxies :].reshape(shift[:-1].shape), shift[-1:]])
        return q[:proxies], torch.tanh(q[proxies : 2 * proxies]), shift

    def log_prior(self, q: Tensor) -> Tensor:
        """Sum of the log prior densities, up to a constant."""
        constants, correlations, shift = self.split(q)
        a, b = torch.tensor(self.prior.correlation, dtype=q.dtype).T
        moved = ((shift - self.expected) / SHIFT_SD).square().sum()
        trust = log_correlation_prior(correlations, a, b).sum()
        return trust - 0.5 * constants.square().sum() - 0.5 * moved

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


def activity(x: Tensor, columns: tuple[int, ...]) -> Tensor:
    """`... x J`: 1 where a hyperparameter that may be inactive is active, or always is, else 0."""
    found = [torch.ones_like(x[..., 0]) if c < 0 else x[..., c] for c in columns]
    return torch.stack(found, dim=-1) if found else x[..., :0]


def correlation_prior(cost: float) -> tuple[float, float]:
    """Beta parameters of the correlation of a proxy with the target, of which it costs a share."""
    equal, loss = CORRELATION
    mean = min(max(equal + loss * math.log10(cost), 0.3), 0.9)
    return CERTAINTY * mean, CERTAINTY * (1.0 - mean)


def log_correlation_prior(r: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """log(0.9 Beta(r; a, b) + 0.1 / 2), elementwise; there is no Beta below 0."""
    norm = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    inside = r.clamp(1e-9, 1.0 - 1e-9)
    beta = norm + (a - 1.0) * inside.log() + (b - 1.0) * (1.0 - inside).log()
    beta = torch.where(r > 0, beta, torch.full_like(beta, -math.inf))
    unknown = torch.full_like(r, math.log(CONTRARY / 2.0))
    return torch.logaddexp(beta + math.log(1.0 - CONTRARY), unknown)


class LevelKernel(Kernel):
    """R_lk k(T_l x, T_k x') on `n x (d + 2)` inputs whose last column is the level's index."""

    def __init__(self, base: Kernel, prior: LevelPrior, fit: LevelFit) -> None:
        super().__init__()
        self.base = base
        self.columns, self.groups = list(prior.columns), list(prior.groups)
        self.active = prior.active
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
        scale = self.scale * activity(x, self.active)
        offset = torch.einsum("...ja,...a->...j", self.shift[level], share) * scale
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
