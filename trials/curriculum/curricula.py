"""The curriculum that a configuration names."""

from __future__ import annotations

import numpy as np

from trials.curriculum.base import Curriculum
from trials.curriculum.difficulty import DUMP, SEC, AdaRFT, Offline
from trials.curriculum.posterior import CurES, Thompson, Uniform
from trials.spec.hyperparameters import Hyperparameters

CURRICULA: dict[str, type[Curriculum]] = {
    "none": Uniform,
    "thompson": Thompson,
    "cures": CurES,
    "sec": SEC,
    "dump": DUMP,
    "adarft": AdaRFT,
    "offline": Offline,
}
BY_DIFFICULTY = ("sec", "dump", "adarft", "offline")


def learns(h: Hyperparameters) -> bool:
    """True if what a configuration generates depends on the rewards so far, or on difficulty."""
    return h.rl_curriculum != "none" or h.rl_allocation == "knapsack"


def make_curriculum(
    difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int
) -> Curriculum:
    """The curriculum of `rl_curriculum`; see `Curriculum` for the arguments."""
    return CURRICULA[h.rl_curriculum](difficulty, h, seed, buffers)
