"""Synthetic families of related tuning problems for the tests of this folder.

Every task is a smooth function of a mixed space whose optimum lies near a shared one; how near is
set by `deviation`. Learning curves approach the final score from below at a rate that the first
signal reveals, so an early predictor has something to learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import ConfigSpace as cs
import numpy as np
import pandas as pd

from surrogates.space.encoding import SpaceEncoder

FRACTIONS = (0.1, 0.25, 0.5)


def mixed_space() -> cs.ConfigurationSpace:
    """Log and linear floats, an integer, a categorical, an ordinal, a constant, a condition and a
    forbidden pair: one of everything."""
    space = cs.ConfigurationSpace(seed=0)
    lr = cs.Float("lr", (1e-5, 1e-1), log=True)
    decay = cs.Float("decay", (0.0, 0.3))
    layers = cs.Integer("layers", (1, 8))
    optimizer = cs.Categorical("optimizer", ["adamw", "sgd", "lion"])
    batch = cs.OrdinalHyperparameter("batch", [8, 16, 32, 64])
    momentum = cs.Float("momentum", (0.0, 0.99))
    space.add(lr, decay, layers, optimizer, batch, momentum, cs.Constant("version", 3))
    space.add(cs.EqualsCondition(momentum, optimizer, "sgd"))
    space.add(
        cs.ForbiddenAndConjunction(
            cs.ForbiddenEqualsClause(optimizer, "lion"), cs.ForbiddenEqualsClause(batch, 8)
        )
    )
    return space


def float_space(d: int) -> cs.ConfigurationSpace:
    """d floats in [0, 1]."""
    space = cs.ConfigurationSpace(seed=0)
    space.add(*[cs.Float(f"x{i:02d}", (0.0, 1.0)) for i in range(d)])
    return space


@dataclass
class Task:
    """One dataset: a quadratic bowl in the encoded unit cube, more is better."""

    space: cs.ConfigurationSpace
    seed: int
    deviation: float = 0.1
    scale: float = 1.0
    shift: float = 0.0
    invert: bool = False
    encoder: SpaceEncoder = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = SpaceEncoder(self.space)
        d = self.encoder.dim
        shared = np.random.default_rng(12345).uniform(0.2, 0.8, d)
        rng = np.random.default_rng([99, self.seed])
        self.optimum = np.clip(shared + self.deviation * rng.standard_normal(d), 0.0, 1.0)
        self.weights = np.random.default_rng(54321).dirichlet(np.ones(d)) * d
        self.meta = {"size": float(self.optimum.mean()), "kind": "ab"[self.seed % 2]}

    def score(self, config: dict) -> float:
        """The noise-free full-length score."""
        cube = self.encoder.matrix([config])[0]
        value = -float(self.weights @ (cube - self.optimum) ** 2)
        return self.shift + self.scale * (-value if self.invert else value)

    def partial(self, config: dict, fraction: float, noise: float = 0.02) -> tuple[float, dict]:
        """Score and signals at a fraction of the schedule (deterministic in its inputs)."""
        key = abs(hash((round(sum(self.encoder.matrix([config])[0]), 9), fraction))) % 2**31
        rng = np.random.default_rng([self.seed, key])
        rate = 2.0 + 6.0 * self.encoder.matrix([config])[0][0]
        gap = self.scale * np.exp(-rate * fraction)
        score = self.score(config) - gap + self.scale * noise * rng.standard_normal()
        return float(score), {"slope": float(gap), "grad_norm": float(rng.random())}

    def cost(self, config: dict) -> float:
        """Cost of the full schedule: deeper is dearer."""
        return 10.0 * (1.0 + 2.0 * float(self.encoder.matrix([config])[0][-1]))


def make_history(
    space: cs.ConfigurationSpace,
    tasks: int = 6,
    trials: int = 25,
    curves: bool = False,
    **task_options: float,
) -> pd.DataFrame:
    """Random trials on tasks 0, 1, ... in the history's form."""
    rows = []
    for t in range(tasks):
        task = Task(space, t, **task_options)
        for j, config in enumerate(task.encoder.sample(trials, seed=1000 + t)):
            common = {"dataset_id": f"task{t}", "trial_id": str(j), "state": "completed"}
            common |= {f"config.{k}": v for k, v in config.items()}
            common |= {f"meta.{k}": v for k, v in task.meta.items()}
            for fraction in (*FRACTIONS, 1.0) if curves else (1.0,):
                score, signals = task.score(config), {}
                if fraction < 1.0:
                    score, signals = task.partial(config, fraction)
                rows.append(
                    common
                    | {"score": score, "fraction": fraction}
                    | {"cost_seconds": fraction * task.cost(config)}
                    | {f"signal.{k}": v for k, v in signals.items()}
                )
    return pd.DataFrame(rows)
