"""Hyperparameters of the task's Gaussian process, by maximum a posteriori from several starts.

With n scores z, noise variances v, opinion m (centred on the observations), deviations R (`n x h`)
of past tasks and the encoded cube, `surrogates.gp.residual_gp` says

    z ~ N(c + s m, C),   C = w_1 R R' + w_2 K(l) + diag(v) + t I

K Matern-5/2 with a lengthscale a column. b^2 = s^2 + w_1 var(R) + w_2 is the variance of the task
over the space. The priors are of scale-free shares:

    rho = s / b      0.9 N(rho_0, sd) + 0.1 N(0, 1/2): a history may be wrong about this task
    w_1 / b^2        lognormal around 1: a task deviates as past ones did
    w_2 / b^2        lognormal around 0.3: something is always left, or the search stops looking
    l                lognormal around sqrt(d) for the geometric mean (Hvarfner et al., arXiv
                     2402.02229), each column lognormal around that mean
    t, b, c          lognormal around e^-4, lognormal around 1, N(0, 1)

The posterior has several modes: scores that vary may be noisy, or rough, or contradict the opinion.
A search from one start ends in the nearest one, ten nats below another; so there are three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

LEAST_NOISE = 1e-4
DOUBT, DOUBT_SD = 0.1, 0.5  # weight and spread of the prior on rho where the opinion is wrong
OWN_LENGTHSCALE = 0.4  # how far a column's log lengthscale strays from the mean of all
REST = (math.log(0.3), 1.0)
NOISE = (-4.0, 1.0)
SCALE = (0.0, 0.75)
TRIAL_STEPS, STEPS = 25, 200  # of L-BFGS from every start, and from the best one
MANY = 200  # observations that say enough: one start does, and more only cost time
ROOT5 = math.sqrt(5.0)


@dataclass(frozen=True)
class MeanPrior:
    """How much to believe the offline opinion before the first trial."""

    rho: float
    """Expected correlation of the opinion with this task's scores."""
    sd: float
    """Spread of that correlation from task to task."""


@dataclass(frozen=True)
class Data:
    """Distinct observations in standardised units; see above for the letters."""

    cube: np.ndarray
    """`n x d`."""
    opinion: np.ndarray
    """(n,): m, centred."""
    past: np.ndarray
    """`n x h`: R; h may be 0."""
    past_variance: float
    """Mean over the space of the squared length of a row of R."""
    z: np.ndarray
    noise: np.ndarray
    """(n,): v."""
    nugget: float | None = None
    """Expected t / b^2 where v is all the noise there is; None where it is not."""

    def part(self, n: int) -> Data:
        """n of the observations, the same ones each time."""
        rows = np.sort(np.random.default_rng(0).choice(len(self.z), n, replace=False))
        own = (self.cube, self.opinion, self.past, self.z, self.noise)
        cube, opinion, past, z, noise = (values[rows] for values in own)
        return Data(cube, opinion, past, self.past_variance, z, noise, self.nugget)


@dataclass(frozen=True)
class Hyperparameters:
    """A mode of the posterior."""

    constant: float
    slope: float
    past_weight: float
    variance: float
    noise: float
    lengthscales: np.ndarray

    @classmethod
    def of(cls, theta: np.ndarray) -> Hyperparameters:
        """From c, s and the logarithms of w_1, w_2, t and the lengthscales."""
        constant, slope = map(float, theta[:2])
        w1, w2, noise = map(float, np.exp(theta[2:5]))
        return cls(constant, slope, w1, w2, noise, np.exp(theta[5:]))


def fit(data: Data, prior: MeanPrior | None) -> Hyperparameters | None:
    """The best mode found; None where the covariance is singular from every start.

    Args:
        data: Observations.
        prior: On rho; None leaves the opinion out.
    """
    many = len(data.z) > MANY
    target = Posterior(data.part(MANY) if many else data, prior)
    tried = starts(data, prior)
    if many:
        tried = [min(tried, key=lambda theta: target(theta)[0])]
    found = [target.descend(theta, TRIAL_STEPS) for theta in tried]
    best = min(found, key=lambda result: float(result.fun))
    if not best.fun < FAILED:
        return None
    if not best.success:  # it has not arrived yet
        best = target.descend(best.x, STEPS)
    return Hyperparameters.of(best.x)


FAILED = 1e10


class Posterior:
    """Negative log posterior of theta, and its gradient."""

    def __init__(self, data: Data, prior: MeanPrior | None) -> None:
        cube = torch.as_tensor(data.cube)
        self.d, self.prior, self.nugget = cube.shape[1], prior, data.nugget
        self.has_past = data.past.shape[1] > 0
        self.apart = (cube[:, None, :] - cube[None, :, :]).square().reshape(-1, self.d)
        past = torch.as_tensor(data.past)
        self.past, self.past_variance = past @ past.T, data.past_variance
        self.opinion, self.z = torch.as_tensor(data.opinion), torch.as_tensor(data.z)
        self.noise = torch.as_tensor(data.noise)
        self.long = math.sqrt(2.0) + 0.5 * math.log(self.d)
        free = [prior is not None, self.has_past]
        self.bounds = [
            (-10.0, 10.0),
            (-5.0, 5.0) if free[0] else (0.0, 0.0),
            (math.log(1e-3), math.log(1e3)) if free[1] else (0.0, 0.0),
            (math.log(1e-3), math.log(1e3)),
            (math.log(LEAST_NOISE), math.log(4.0)),
            *[(math.log(0.025), math.log(100.0))] * self.d,
        ]

    def descend(self, start: np.ndarray, steps: int) -> OptimizeResult:
        """L-BFGS within bounds."""
        options = {"maxiter": steps, "ftol": 1e-8}
        return minimize(
            self, start, jac=True, method="L-BFGS-B", bounds=self.bounds, options=options
        )

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(theta, requires_grad=True)
        value = -self.log_likelihood(p)
        if not torch.isfinite(value):
            return FAILED, np.zeros(len(theta))
        value = value - self.log_prior(p)
        value.backward()
        assert p.grad is not None
        return float(value.detach()), p.grad.numpy()

    def log_likelihood(self, p: Tensor) -> Tensor:
        """log N(z; c + s m, C); NaN where C is not positive definite in floating point."""
        n = len(self.z)
        squared = (self.apart @ torch.exp(-2.0 * p[5:])).reshape(n, n)
        r = ROOT5 * (squared + 1e-20).sqrt()
        covariance = p[3].exp() * (1.0 + r + r.square() / 3.0) * torch.exp(-r)
        if self.has_past:
            covariance = covariance + p[2].exp() * self.past
        covariance = covariance + torch.diag(self.noise + p[4].exp())
        factor, info = torch.linalg.cholesky_ex(covariance)
        if info.item():
            return torch.tensor(math.nan)
        error = (self.z - p[0] - p[1] * self.opinion).unsqueeze(1)
        white = torch.linalg.solve_triangular(factor, error, upper=False)
        return (
            -0.5 * white.square().sum()
            - factor.diagonal().log().sum()
            - 0.5 * n * math.log(2.0 * math.pi)
        )

    def log_prior(self, p: Tensor) -> Tensor:
        """Sum of the log prior densities, up to a constant."""
        w2 = p[3].exp()
        square = p[1].square() + w2
        if self.has_past:
            square = square + self.past_variance * p[2].exp()
        if self.nugget is not None:
            square = square + p[4].exp()
        scale = 0.5 * square.log()  # log b
        common = p[5:].mean()
        total = _lognormal(scale, SCALE) - 0.5 * p[0].square()
        if self.nugget is None:
            total = total + _lognormal(p[4], NOISE)
        else:
            total = total + _lognormal(p[4] - 2.0 * scale, (math.log(self.nugget), 0.75))
        total = total + _lognormal(common, (self.long - 0.5, 1.0))
        if self.d > 1:
            total = total + _lognormal(p[5:] - common, (0.0, OWN_LENGTHSCALE)).sum()
        if self.has_past:
            total = total + _lognormal(p[2] - 2.0 * scale, (0.0, 0.75))
        if self.prior is not None or self.has_past:
            total = total + _lognormal(p[3] - 2.0 * scale, REST)
        if self.prior is not None:
            rho = p[1] / scale.exp()
            trust = _normal(rho - self.prior.rho, self.prior.sd) + math.log(1.0 - DOUBT)
            doubt = _normal(rho, DOUBT_SD) + math.log(DOUBT)
            total = total + torch.logaddexp(trust, doubt)
        return total


def starts(data: Data, prior: MeanPrior | None) -> list[np.ndarray]:
    """Trust the opinion; the same, but rough and without noise; doubt it."""
    d, rho = data.cube.shape[1], prior.rho if prior else 0.0
    left = 1.0 - rho**2
    if data.past.shape[1]:
        left = max(left - data.past_variance, 0.5 * left)
    long = math.sqrt(2.0) + 0.5 * math.log(d) - 1.5
    rest = math.log(max(left, 0.05))
    trust = [0.0, rho, 0.0, rest, -5.0, *[long] * d]
    rough = [0.0, rho, 0.0, rest, math.log(1e-3), *[long + math.log(0.2)] * d]
    doubt = [0.0, 0.0, 0.0, 0.0, -5.0, *[long] * d]
    return [np.array(each) for each in (trust, rough, *([doubt] if prior else []))]


def _lognormal(log_x: Tensor, prior: tuple[float, float]) -> Tensor:
    """Log density of x, up to a constant."""
    return -0.5 * ((log_x - prior[0]) / prior[1]).square() - log_x


def _normal(x: Tensor, sd: float) -> Tensor:
    return -0.5 * (x / sd).square() - math.log(sd)
