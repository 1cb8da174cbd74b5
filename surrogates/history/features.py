"""A fixed set of feature columns for CatBoost, kept between fit, predict and disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoost, Pool

from surrogates.core.base import Config
from surrogates.history.rates import relative_rates
from surrogates.history.table import META
from surrogates.space.axes import MISSING, is_missing
from surrogates.space.encoding import SpaceEncoder

MAX_NUMBER = 1e30  # CatBoost computes in single precision


@dataclass(frozen=True)
class FeatureSchema:
    """Names, order and types of the columns a model was trained on.

    Numbers stay numbers (NaN where missing); everything else becomes a string, `"<missing>"`
    where missing, as CatBoost asks of a categorical.
    """

    columns: tuple[str, ...]
    categorical: tuple[str, ...]

    @classmethod
    def infer(cls, frame: pd.DataFrame) -> FeatureSchema:
        """The schema of a training table: columns whose every value is numeric are numbers."""
        categorical = [c for c in frame.columns if not _is_numeric(frame[c])]
        return cls(tuple(frame.columns), tuple(categorical))

    def pool(self, frame: pd.DataFrame, **kwargs: Any) -> Pool:
        """A CatBoost pool of a table: absent columns are missing, extra ones dropped."""
        return Pool(self._prepared(frame), cat_features=list(self.categorical), **kwargs)

    def _prepared(self, frame: pd.DataFrame) -> pd.DataFrame:
        data: dict[str, Any] = {}
        for name in self.columns:
            if name in self.categorical:
                data[name] = _texts(frame[name]) if name in frame else [MISSING] * len(frame)
            elif name in frame:
                numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(float, copy=True)
                numbers[~np.isfinite(numbers)] = np.nan
                data[name] = np.clip(numbers, -MAX_NUMBER, MAX_NUMBER)
            else:
                data[name] = np.full(len(frame), np.nan)
        return pd.DataFrame(data, columns=list(self.columns))

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[str]]) -> FeatureSchema:
        """From its JSON form, that of `asdict`."""
        return cls(tuple(data["columns"]), tuple(data["categorical"]))


def _is_numeric(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return True
    present = pd.Series(column.dropna().unique())
    return bool(pd.to_numeric(present, errors="coerce").notna().all())


def _texts(column: pd.Series) -> np.ndarray:
    """Every value as text, shape (n,)."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.to_numpy(dtype=object, na_value=MISSING)
    values = column.to_numpy(dtype=object)
    return np.array([MISSING if is_missing(v) else str(v) for v in values], dtype=object)


def informative(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns with at least two different values (missing counts as one)."""
    return frame.loc[:, frame.nunique(dropna=False) > 1]


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match any of the shell-style patterns, in their order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


# Of every CatBoost model: the same numbers on any number of cores, no output, no folder of logs.
QUIET: dict[str, Any] = {"thread_count": 1, "verbose": 0, "allow_writing_files": False}


def save_model(model: CatBoost, file: Path) -> None:
    """Write a .cbm file, the same bytes for the same model.

    CatBoost puts a random id and the time of training into it, which nothing reads.
    """
    metadata = model.get_metadata()
    for name in ("model_guid", "train_finish_time"):
        metadata[name] = ""
    model.save_model(str(file))


def described(
    encoder: SpaceEncoder, configs: Sequence[Config], dataset: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Configurations of one dataset as CatBoost reads them, with the dataset's meta-features.

    Their names may or may not begin with `meta.`.
    """
    meta = {str(name).removeprefix(META): value for name, value in (dataset or {}).items()}
    frame = relative_rates(encoder.frame(configs), encoder, meta)
    return frame.assign(**{META + name: [value] * len(configs) for name, value in meta.items()})


def folds(labels: np.ndarray, at_most: int) -> list[np.ndarray]:
    """Held-out row masks: one per label, or labels dealt into `at_most` folds by a stable hash."""
    names = sorted(set(labels.tolist()), key=lambda s: hashlib.sha1(str(s).encode()).hexdigest())
    count = min(len(names), at_most)
    owner = {name: i % count for i, name in enumerate(names)}
    fold = np.array([owner[label] for label in labels.tolist()])
    return [fold == i for i in range(count)]


def sample_of(labels: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Sorted indices of at most `most` rows: all, or those of some datasets.

    Skill on held-out datasets is a mean over datasets, known well from a few dozen of them.
    Datasets are taken in the order of a stable hash; one that is larger than an eighth of the
    sample (its share of all, where they are fewer) gives a part of its rows.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    rows = pd.Series(labels.astype(str)).groupby(labels.astype(str)).indices
    names = sorted(rows, key=lambda name: hashlib.sha1(f"{seed}{name}".encode()).hexdigest())
    share, rng = most // min(len(names), 8), np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    left = most
    for name in names:
        own = np.asarray(rows[name])
        own = own if len(own) <= share else rng.choice(own, share, replace=False)
        if len(own) <= left:
            chosen.append(own)
            left -= len(own)
    return np.sort(np.concatenate(chosen))
