"""Trials of the same dataset on smaller levels that were known before a search began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from ConfigSpace import Configuration
from ConfigSpace.exceptions import ActiveHyperparameterNotSetError, IllegalValueError

from surrogates.core.base import Config, HistoryError, Observation, OptionError
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
        OptionError: A row is of no smaller level of the search; or one with a full-length score has
            a configuration outside the space, or no value of an active hyperparameter.
        HistoryError: It is no table, or lacks a required column.
    """
    rows = read_history(past, encoder, maximize, required=("score",), called="past")
    if past is None or rows is None:
        return []
    if not {"level", "model_id"} & set(past.columns):
        raise HistoryError(
            "past lacks a column level, or model_id, that names the model of each row; it has "
            f"{list(past.columns)}."
        )
    if unknown := sorted(set(rows.model) - set(levels.proxies)):
        raise OptionError(
            f"past has trials of {unknown}; expected the smaller levels of this search, "
            f"{list(levels.proxies)}, in a column level or model_id."
        )
    finals = np.flatnonzero(rows.final)
    for i in finals:
        if (problem := _problem(rows.configs[i], encoder)) is not None:
            raise OptionError(
                f"past: row {i} has {problem}. Give it a configuration of the space, or leave the "
                "row out."
            )
    noise = np.nan_to_num(rows.score_se)
    return [
        PastTrial(rows.model[i], rows.configs[i], rows.sign * float(rows.score[i]), float(noise[i]))
        for i in finals
    ]


def _problem(config: Config, encoder: SpaceEncoder) -> str | None:
    """What keeps a configuration out of the space; None for one that is in it."""
    whole = encoder.activate(config | encoder.constants)  # tables may leave constants out
    try:
        Configuration(encoder.space, values=whole).check_valid_configuration()
    except IllegalValueError as error:
        allowed = str(error.hyperparameter).partition(", Default")[0]
        value = whole[error.hyperparameter.name]
        return f"the value {value!r} of a hyperparameter that does not take it ({allowed})"
    except ActiveHyperparameterNotSetError as error:
        return f"no usable value for {error.hyperparameter.name!r}"
    except ValueError as error:
        return f"a configuration that is not in the space ({' '.join(str(error).split())})"
    return None
