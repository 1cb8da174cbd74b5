"""The history that a strategy learns from: the true one, or one misleading on purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from surrogates.space.encoding import PREFIX
from trials.io.hashing import content_hash

VARIANTS = ("true", "shuffled", "inverted")


def history_without(
    rows: pd.DataFrame, dataset: str, variant: str = "true", seed: int = 0
) -> pd.DataFrame:
    """The rows of all datasets but one, for every model; its content is left out under any name.

    Variants are "true"; "shuffled", where within each past dataset and model the configurations are
    permuted among the trials, all rows of a trial together; "inverted", where every score is
    negated (signals are not touched).
    """
    own = rows["dataset_id"] == dataset
    if "dataset_fingerprint" in rows:
        content = rows.loc[own, "dataset_fingerprint"].dropna()
        own |= rows["dataset_fingerprint"].isin(content)
    others = rows[~own].reset_index(drop=True)
    if variant == "inverted":
        return others.assign(score=-others["score"])
    if variant == "shuffled":
        return _shuffled(others, np.random.default_rng(seed))
    return others


def _shuffled(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    columns = [c for c in rows if str(c).startswith(PREFIX)]
    trials = rows.drop_duplicates("trial_id").set_index("trial_id")
    donor: dict[str, str] = {}
    for _, group in trials.groupby(["dataset_id", "model_id"], sort=True):
        names: list[str] = sorted(group.index)
        donor |= dict(zip(names, rng.permutation(names).tolist(), strict=True))
    given = trials.loc[rows["trial_id"].map(donor), columns]
    return rows.assign(**{column: given[column].to_numpy() for column in columns})


def frame_fingerprint(frame: pd.DataFrame) -> str:
    """Hash of a table's columns and values."""
    values = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
    return content_hash(values, repr(list(frame.columns)))
