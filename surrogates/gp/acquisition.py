"""The acquisition function: log noisy expected improvement per cost, if a trial does not fail.

    a(x) = log NEI(x | pending) - w log cost(x) + log(1 - p_fail(x)).

NEI is BoTorch's qLogNoisyExpectedImprovement (Ament et al., arXiv 2310.20708), evaluated on a
finite candidate set; batches are built greedily, each pick becoming a pending point.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.exceptions.warnings import BotorchWarning
from botorch.sampling import SobolQMCNormalSampler
from linear_operator.utils.warnings import NumericalWarning

from surrogates.gp.residual_gp import ResidualGP

SAMPLES = 128
CHUNK = 1024


def log_noisy_ei(
    gp: ResidualGP,
    candidates: np.ndarray,
    baseline: np.ndarray,
    pending: np.ndarray | None,
    seed: int,
) -> np.ndarray:
    """Log expected improvement over the best of the baseline, under joint posterior samples.

    Args:
        gp, seed: The fitted process, and the seed of the quasi-Monte-Carlo base samples.
        candidates: `n x (d + 1)`.
        baseline: `r x (d + 1)`, r >= 1: the points to improve on.
        pending: `q x (d + 1)` points already being evaluated, or None.

    Returns:
        (n,) values, comparable between calls with the same gp.
    """
    # Pruning the baseline draws from torch's global generator: give it one of its own.
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        warnings.simplefilter("ignore", NumericalWarning)
        warnings.simplefilter("ignore", BotorchWarning)
        acquisition = qLogNoisyExpectedImprovement(
            gp.model,
            X_baseline=torch.as_tensor(baseline),
            sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
            X_pending=None if pending is None or len(pending) == 0 else torch.as_tensor(pending),
            prune_baseline=len(baseline) > 1,
        )
        x = torch.as_tensor(candidates).unsqueeze(1)
        return torch.cat([acquisition(chunk) for chunk in x.split(CHUNK)]).numpy()


def cost_weight(spent: float, budget: float | None) -> float:
    """w: 1 with the whole budget left, falling linearly to 0; 0.5 where no budget is known."""
    return 0.5 if budget is None else float(min(max(1.0 - spent / budget, 0.0), 1.0))
