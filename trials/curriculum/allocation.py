"""How many completions each prompt gets, and which of them are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def knapsack(pass_rate: Sequence[float], slots: int, generations: int) -> list[int]:
    """Slots of `generations` completions for each prompt that maximise the useful groups.

    A group of N completions has a spread with probability 1 - p^N - (1 - p)^N, and is worth
    p (1 - p)^2 times that (Knapsack RL, arXiv 2509.25849). The sum is concave in every N, so giving
    slot after slot to the prompt that gains most is the optimum.

    Returns:
        A number for each prompt, which together are `slots`.
    """
    p = np.clip(np.asarray(pass_rate, dtype=float), 1e-3, 1.0 - 1e-3)
    given = np.zeros(len(p), dtype=int)
    for _ in range(slots):
        gain = _value(p, (given + 1) * generations) - _value(p, given * generations)
        given[int(np.argmax(gain))] += 1
    return given.tolist()


def _value(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    useful = np.where(n > 0, 1.0 - p**n - (1.0 - p) ** n, 0.0)
    value: np.ndarray = useful * p * (1.0 - p) ** 2
    return value


def most_varied(rewards: Sequence[float], kept: int) -> list[int]:
    """Indices of the `kept` rewards with the greatest variance, in order (PODS, arXiv 2504.13818).

    They are the i highest and the kept - i lowest for some i. Ties are broken by place.
    """
    values = np.asarray(rewards, dtype=float)
    order = np.argsort(values, kind="stable")
    n = len(values)

    def choice(high: int) -> np.ndarray:
        return np.concatenate([order[: kept - high], order[n - high :]])

    best = max(
        range(kept + 1), key=lambda high: (float(values[choice(high)].var()), high == kept // 2)
    )
    return sorted(choice(best).tolist())
