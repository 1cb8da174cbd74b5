"""Trials of the same dataset on smaller levels that were known before a search began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from surrogates.core.base import Config, Observation, OptionError
from surrogates.history.table import read_history
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.levels import Levels


@dataclass(frozen=True)
class PastTrial:
    """A full-length trial of the same dataset on a smaller level, before this search began."""

    level: str
    config: Config
    score: float
    """In the caller's direction."""
    score_se: float = 0.0

    @property
    def observation(self) -> Observation:
        """It as if this search had proposed it, for nothing."""
        return Observation("", self.score, self.score_se, 0.0, 1.0, {}, "completed", 0.0)


def past_trials(
    past: pd.DataFrame | None, encoder: SpaceEncoder, maximize: bool, levels: Levels
) -> list[PastTrial]:
    """The rows of a table with a full-length score, see `Search`.

    Raises:
        OptionError: A row is of no smaller level of the search.
        HistoryError: A required column is missing.
    """
    rows = read_history(past, encoder, maximize)
    if rows is None:
        return []
    if unknown := sorted(set(rows.model) - set(levels.proxies)):
        raise OptionError(
            f"past has trials of {unknown}; expected the smaller levels of this search, "
            f"{list(levels.proxies)}, in a column level or model_id."
        )
    noise = np.nan_to_num(rows.score_se)
    return [
        PastTrial(rows.model[i], rows.configs[i], rows.sign * float(rows.score[i]), float(noise[i]))
        for i in np.flatnonzero(rows.final)
    ]
