"""What a search may learn from before its first trial: true, or made misleading on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from surrogates.space.encoding import PREFIX
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash

VARIANTS = ("true", "shuffled", "inverted")


def past_of(rows: pd.DataFrame, dataset: str, variant: str = "true", seed: int = 0) -> pd.DataFrame:
    """The rows of all other datasets, of every model: what may be known before the first trial.

    The same content under another name is left out as well.

    Args:
        rows: the whole history.
        dataset: that is left out.
        variant: "true"; "shuffled", where within each past dataset and model the configurations
            are permuted among the trials, all rows of a trial together; "inverted", where every
            score is negated (signals are not touched).
        seed: of the permutation.

    Raises:
        SettingsError: the variant is unknown.
    """
    own = rows["dataset_id"] == dataset
    if "dataset_fingerprint" in rows:
        content = rows.loc[own, "dataset_fingerprint"].dropna()
        own |= rows["dataset_fingerprint"].isin(content)
    past = rows[~own].reset_index(drop=True)
    if variant == "true":
        return past
    if variant == "inverted":
        return past.assign(score=-past["score"])
    if variant == "shuffled":
        return _shuffled(past, np.random.default_rng(seed))
    raise SettingsError(f"unknown history {variant!r}; expected one of {', '.join(VARIANTS)}")


def _shuffled(past: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    columns = [c for c in past if str(c).startswith(PREFIX)]
    trials = past.drop_duplicates("trial_id").set_index("trial_id")
    donor: dict[str, str] = {}
    for _, group in trials.groupby(["dataset_id", "model_id"], sort=True):
        names: Sequence[str] = sorted(group.index)
        donor |= dict(zip(names, rng.permutation(names).tolist(), strict=True))
    given = trials.loc[past["trial_id"].map(donor), columns]
    return past.assign(**{column: given[column].to_numpy() for column in columns})


def frame_fingerprint(frame: pd.DataFrame) -> str:
    """Hash of a table's columns and values."""
    values = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
    return content_hash(values, repr(list(frame.columns)))
