"""A cache of numbers that belong to configurations."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from surrogates.core.base import Config

MAX_ENTRIES = 20_000  # beyond it all are dropped
DIGITS = 9  # decimals that are kept


class Memo:
    """A function of n configurations, each by itself, that remembers its values."""

    def __init__(
        self, function: Callable[[list[Config]], np.ndarray], key: Callable[[Config], Hashable]
    ) -> None:
        self._function, self._key = function, key
        self._known: dict[Hashable, float] = {}

    def __call__(self, configs: list[Config]) -> np.ndarray:
        """Values of shape (n,)."""
        keys = [self._key(c) for c in configs]
        new = {k: c for k, c in zip(keys, configs, strict=True) if k not in self._known}
        if len(self._known) + len(new) > MAX_ENTRIES:
            self._known.clear()
            new = dict(zip(keys, configs, strict=True))
        if new:
            values = self._function(list(new.values()))
            # The last bits depend on what else is in the batch, and so on what was known before;
            # a loaded search knows nothing yet and must resume the same.
            self._known.update(zip(new, np.round(values, DIGITS).tolist(), strict=True))
        return np.array([self._known[k] for k in keys])
