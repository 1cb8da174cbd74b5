"""Learning rates as the ranker reads them: relative to what a model of that size is trained with.

Larger models are trained with smaller rates. Over the published recipes of `docs/spaces.md` the
usual rate falls like N^-0.2 with the number of parameters N, so

    log10 r + 0.2 log10 (N / 10^6)

is the same number for the usual rate of every size, and what a history of small models says of a
rate holds for a large one. With it, rankings of models that were left out are better in both
directions (`python -m benchmarks.rate_transfer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from surrogates.space.axes import NumberAxis
from surrogates.space.encoding import PREFIX, SpaceEncoder
from surrogates.space.levels import RATE

SIZE = "model_log_parameters"
"""The meta-feature log10 N."""
SLOPE = 0.2  # decades of the rate per decade of parameters
REFERENCE = 6.0  # log10 N of the size whose rates stay as they are; so do those of an unknown size


def rate_columns(encoder: SpaceEncoder) -> list[str]:
    """Columns of the learning rates with a log axis, which are read as log10."""
    rates = (axis for axis in encoder.axes if isinstance(axis, NumberAxis) and axis.log)
    return [PREFIX + axis.name for axis in rates if RATE in axis.name]


def relative_rates(
    frame: pd.DataFrame, encoder: SpaceEncoder, meta: Mapping[str, Any] | pd.DataFrame
) -> pd.DataFrame:
    """The rows of `encoder.frame` with their rates relative to the size of the model.

    Args:
        frame, encoder: Configurations as CatBoost reads them, and what made them.
        meta: Meta-features without "meta.", of all rows or one row each.
    """
    size = meta.get(SIZE)
    if size is None:
        return frame
    sizes = pd.to_numeric(pd.Series(size), errors="coerce").to_numpy(dtype=float)
    shift = np.nan_to_num(SLOPE * (sizes - REFERENCE), nan=0.0)
    return frame.assign(**{name: frame[name] + shift for name in rate_columns(encoder)})
