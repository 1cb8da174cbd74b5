"""Hyperparameters of the task's Gaussian process, by maximum a posteriori from several starts.

With n scores z, noise variances v, offline prior mean m (centred on the observations) and the
encoded cube, `surrogates.gp.residual_gp` says

    z ~ N(c + s m, C),   C = w K(l) + diag(v) + t I

K Matern-5/2 with a lengthscale per column. b^2 = s^2 + w is the variance of the task over the
space. The priors are on scale-free shares of it:

    rho = s / b      0.9 N(rho_0, sd) + 0.1 N(0, 1/2): a history may be wrong about this task
    w / b^2          lognormal around 0.3: something is always left, or the search stops exploring
    l                lognormal around sqrt(d) for the geometric mean (Hvarfner et al., arXiv
                     2402.02229), each column lognormal around that mean
    t, b, c          lognormal around e^-4, lognormal around 1, N(0, 1)

The posterior has several modes: scores that vary may be noisy, or rough, or contradict the prior
mean. L-BFGS from one start ends in the nearest mode, ten nats below another; so there are three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from surrogates.gp.levels import LEARNED_FROM, LevelFit, LevelPrior, LevelTerms

MIN_NOISE = 1e-4
# The prior on rho has a second component at 0: one Gaussian around rho_0 would hold the search to a
# misleading history for dozens of trials.
PRIOR_OUTLIER_WEIGHT, PRIOR_OUTLIER_SD = 0.1, 0.5
LENGTHSCALE_SPREAD = 0.4  # of a column's log lengthscale around the mean of all
RESIDUAL_SHARE_PRIOR = (math.log(0.3), 1.0)  # of log (w / b^2): mean and sd, as below
NOISE_PRIOR = (-4.0, 1.0)
SCALE_PRIOR = (0.0, 0.75)
TRIAL_STEPS, STEPS = 25, 200  # of L-BFGS from every start, and from the best one
MAX_FIT_POINTS = 200  # with more the posterior has one mode: a part of them and one start suffice
FAILED = 1e10  # value of the loss where the covariance is singular
ROOT5 = math.sqrt(5.0)


@dataclass(frozen=True)
class MeanPrior:
    """Trust in the offline prior mean before the first trial."""

    rho: float
    """Expected correlation of the prior mean with this task's scores."""
    sd: float
    """Spread of that correlation from task to task."""


@dataclass(frozen=True)
class FitData:
    """Distinct observations in standardised units; see above for the letters."""

    cube: np.ndarray
    """`n x d`."""
    prior_mean: np.ndarray
    """(n,): m, centred."""
    z: np.ndarray
    noise: np.ndarray
    """(n,): v."""
    nugget: float | None = None
    """Expected t / b^2 where v is all the noise there is; None where it is not."""
    level: np.ndarray | None = None
    """(n,): index of the level of size, the last one being the target; None: there is one."""
    levels: LevelPrior | None = None

    def for_fitting(self) -> FitData:
        """At most 200 of the observations, the same ones each time.

        Of several levels the target's stay as far as possible: they are few, and what is searched
        for.
        """
        if len(self.z) <= MAX_FIT_POINTS:
            return self
        rng, every = np.random.default_rng(0), np.arange(len(self.z))
        first = every if self.levels is None else every[self.level == self.levels.count - 1]
        rows = rng.choice(first, min(len(first), MAX_FIT_POINTS), replace=False)
        if left := MAX_FIT_POINTS - len(rows):
            rows = np.append(rows, rng.choice(np.setdiff1d(every, first), left, replace=False))
        rows = np.sort(rows)
        per_point = ("cube", "prior_mean", "z", "noise", "level")
        values = {name: getattr(self, name) for name in per_point}
        return replace(self, **{n: v[rows] for n, v in values.items() if v is not None})

    def terms(self) -> LevelTerms | None:
        """What several levels add; None where there is one."""
        if self.levels is None or self.level is None:
            return None
        learn = int((self.level == self.levels.count - 1).sum()) >= LEARNED_FROM
        return LevelTerms(self.levels, self.cube, self.level, learn)


@dataclass(frozen=True)
class Hyperparameters:
    """A mode of the posterior."""

    constant: float
    slope: float
    variance: float
    noise: float
    lengthscales: np.ndarray
    levels: LevelFit | None = None
    theta: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """All of them as they were fitted."""

    @classmethod
    def of(cls, theta: np.ndarray, terms: LevelTerms | None = None) -> Hyperparameters:
        """From c, s, the logarithms of w, t and the d lengthscales, and what levels add."""
        d = len(theta) - 4 - (len(terms.bounds) if terms else 0)
        constant, slope = map(float, theta[:2])
        variance, noise = map(float, np.exp(theta[2:4]))
        found = terms.found(constant, theta[4 + d :]) if terms else None
        return cls(constant, slope, variance, noise, np.exp(theta[4 : 4 + d]), found, theta)


def fit(data: FitData, prior: MeanPrior | None) -> Hyperparameters | None:
    """The best mode found; None where the covariance is singular from every start.

    Without a prior on rho the prior mean is left out.
    """
    part = data.for_fitting()
    posterior, begins = Posterior(part, prior), starts(part, prior)
    if part is not data:
        begins = [min(begins, key=lambda theta: posterior(theta)[0])]
    # A few steps tell the modes apart; only the best of them is followed to its top.
    found = [posterior.descend(theta, TRIAL_STEPS) for theta in begins]
    best = min(found, key=lambda result: float(result.fun))
    if not best.fun < FAILED:
        return None
    if not best.success:
        best = posterior.descend(best.x, STEPS)
    return Hyperparameters.of(best.x, posterior.terms)


class Posterior:
    """Negative log posterior of theta, and its gradient."""

    def __init__(self, data: FitData, prior: MeanPrior | None) -> None:
        cube = torch.as_tensor(data.cube)
        self.d, self.prior, self.nugget = cube.shape[1], prior, data.nugget
        self.terms = data.terms()
        # `n^2 x d`: times 1 / l^2 they are the squared distances, one product for each step.
        differences = cube[:, None, :] - cube[None, :, :]
        self.squared_differences = differences.square().reshape(-1, self.d)
        self.prior_mean, self.z = torch.as_tensor(data.prior_mean), torch.as_tensor(data.z)
        self.noise = torch.as_tensor(data.noise)
        self.bounds = [
            (-10.0, 10.0),
            (-5.0, 5.0) if prior is not None else (0.0, 0.0),
            (math.log(1e-3), math.log(1e3)),
            (math.log(MIN_NOISE), math.log(4.0)),
            *[(math.log(0.025), math.log(100.0))] * self.d,
            *(self.terms.bounds if self.terms else []),
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

    def loss(self, theta: np.ndarray) -> float:
        """The negative log posterior alone, which takes half the time."""
        with torch.no_grad():
            p = torch.as_tensor(theta)
            value = -self.log_likelihood(p)
            return float(value - self.log_prior(p)) if torch.isfinite(value) else FAILED

    def log_likelihood(self, p: Tensor) -> Tensor:
        """log N(z; c + s m, C); NaN where C is not positive definite in floating point."""
        n = len(self.z)
        theta, q = p[: 4 + self.d], p[4 + self.d :]
        constant, squared = p[0], self._squared(theta, q).reshape(n, n)
        # The root has no gradient at 0, where every point meets itself.
        r = ROOT5 * (squared + 1e-20).sqrt()
        covariance = p[2].exp() * (1.0 + r + r.square() / 3.0) * torch.exp(-r)
        if self.terms:
            constant = self.terms.constant(p[0], q)
            covariance = covariance * self.terms.correlation(q)
        covariance = covariance + torch.diag(self.noise + p[3].exp())
        factor, info = torch.linalg.cholesky_ex(covariance)
        if info.item():
            return torch.tensor(math.nan)
        error = (self.z - constant - p[1] * self.prior_mean).unsqueeze(1)
        white = torch.linalg.solve_triangular(factor, error, upper=False)
        # With C = L L': the quadratic form is |L^-1 error|^2, and log |C| / 2 = sum log diag L.
        return (
            -0.5 * white.square().sum()
            - factor.diagonal().log().sum()
            - 0.5 * n * math.log(2.0 * math.pi)
        )

    def _squared(self, theta: Tensor, q: Tensor) -> Tensor:
        """(n^2,): squared distances in lengthscales, between images where there are levels."""
        weight = torch.exp(-2.0 * theta[4:])
        squared = self.squared_differences @ weight
        if not self.terms or not self.terms.prior.columns:
            return squared
        columns = list(self.terms.prior.columns)
        moved = self.terms.moved(q)
        apart = (moved[:, None, :] - moved[None, :, :]).square().reshape(-1, len(columns))
        return squared + (apart - self.squared_differences[:, columns]) @ weight[columns]

    def log_prior(self, p: Tensor) -> Tensor:
        """Sum of the log prior densities, up to a constant."""
        p, q = p[: 4 + self.d], p[4 + self.d :]
        # b^2: the nugget is part of the task's variance where repeats would find it again, while
        # noise is not.
        square = p[1].square() + p[2].exp()
        if self.nugget is not None:
            square = square + p[3].exp()
        log_b = 0.5 * square.log()
        total = _lognormal(log_b, SCALE_PRIOR) - 0.5 * p[0].square()
        if self.nugget is None:
            total = total + _lognormal(p[3], NOISE_PRIOR)
        else:
            total = total + _lognormal(p[3] - 2.0 * log_b, (math.log(self.nugget), 0.75))
        # Dimension-scaled lengthscales: distances in the cube grow with sqrt(d), and with a fixed
        # prior every point of a large space would be far from every other. The columns stray from
        # their common mean only a little, as a dozen trials cannot tell two dozen columns apart.
        common = p[4:].mean()
        total = total + _lognormal(common, (log_lengthscale(self.d) - 0.5, 1.0))
        if self.d > 1:
            total = total + _lognormal(p[4:] - common, (0.0, LENGTHSCALE_SPREAD)).sum()
        if self.terms:
            total = total + self.terms.log_prior(q)
        if self.prior is not None:
            total = total + _lognormal(p[2] - 2.0 * log_b, RESIDUAL_SHARE_PRIOR)
            rho = p[1] / log_b.exp()
            trust = _normal(rho - self.prior.rho, self.prior.sd)
            outlier = _normal(rho, PRIOR_OUTLIER_SD)
            total = total + torch.logaddexp(
                trust + math.log(1.0 - PRIOR_OUTLIER_WEIGHT),
                outlier + math.log(PRIOR_OUTLIER_WEIGHT),
            )
        return total


def log_lengthscale(d: int) -> float:
    """Location of the prior of Hvarfner et al. on log l in d columns: sqrt(2) + log(d) / 2."""
    return math.sqrt(2.0) + 0.5 * math.log(d)


def starts(data: FitData, prior: MeanPrior | None) -> list[np.ndarray]:
    """Three starts: trust the prior mean; the same, but rough and without noise; distrust it.

    With several levels of size there is one more for each proxy, in which it ranks in reverse.
    """
    d, rho = data.cube.shape[1], prior.rho if prior else 0.0
    log_l, log_left = log_lengthscale(d) - 1.5, math.log(max(1.0 - rho**2, 0.05))
    trust = [0.0, rho, log_left, -5.0, *[log_l] * d]
    rough = [0.0, rho, log_left, math.log(1e-3), *[log_l + math.log(0.2)] * d]
    distrust = [0.0, 0.0, 0.0, -5.0, *[log_l] * d]
    terms, bases = data.terms(), [trust, rough, *([distrust] if prior else [])]
    if terms is None:
        return [np.array(base) for base in bases]
    expected, *reversed_ones = terms.starts
    made = [[*base, *expected] for base in bases]
    return [np.array(each) for each in (*made, *([*trust, *levels] for levels in reversed_ones))]


def _lognormal(log_x: Tensor, prior: tuple[float, float]) -> Tensor:
    """Log density of x, up to a constant."""
    return -0.5 * ((log_x - prior[0]) / prior[1]).square() - log_x


def _normal(x: Tensor, sd: float) -> Tensor:
    return -0.5 * (x / sd).square() - math.log(sd)
