from __future__ import annotations

import numpy as np

from surrogates.core import memo
from surrogates.core.memo import Memo


def test_each_configuration_is_computed_once(monkeypatch) -> None:
    asked: list[int] = []

    def double(configs: list[dict]) -> np.ndarray:
        asked.extend(c["x"] for c in configs)
        return np.array([2.0 * c["x"] for c in configs])

    known = Memo(double, lambda c: c["x"])
    assert known([{"x": 1}, {"x": 2}, {"x": 1}]).tolist() == [2.0, 4.0, 2.0]
    assert known([{"x": 2}, {"x": 3}]).tolist() == [4.0, 6.0]
    assert asked == [1, 2, 3]
    assert known([]).shape == (0,)
    monkeypatch.setattr(memo, "MAX_ENTRIES", 3)
    assert known([{"x": 4}, {"x": 1}]).tolist() == [8.0, 2.0]  # full: all is forgotten, not wrong
    assert asked == [1, 2, 3, 4, 1]
