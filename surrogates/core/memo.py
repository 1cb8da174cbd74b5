"""Numbers of configurations that are asked for again and again, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from surrogates.core.base import Config

MOST = 20_000  # entries; beyond it all are forgotten
DIGITS = 9  # decimals that are kept


class Memo:
    """A function of configurations that remembers its values.

    Args:
        function: n configurations to values of shape (n,), each independent of the others.
        key: What tells configurations apart.
    """

    def __init__(
        self, function: Callable[[list[Config]], np.ndarray], key: Callable[[Config], Hashable]
    ) -> None:
        self._function, self._key = function, key
        self._known: dict[Hashable, float] = {}

    def __call__(self, configs: list[Config]) -> np.ndarray:
        """Values of shape (n,)."""
        keys = [self._key(c) for c in configs]
        new = {k: c for k, c in zip(keys, configs, strict=True) if k not in self._known}
        if len(self._known) + len(new) > MOST:
            self._known.clear()
            new = dict(zip(keys, configs, strict=True))
        if new:
            values = self._function(list(new.values()))
            # The last bits depend on what else is in the batch, and so on what was known before;
            # a search that is loaded again knows nothing yet and must go on the same.
            self._known.update(zip(new, np.round(values, DIGITS).tolist(), strict=True))
        return np.array([self._known[k] for k in keys])
