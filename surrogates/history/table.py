"""The table of past trials, read: the one place where its columns and signs are interpreted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from surrogates.core.base import Config, HistoryError
from surrogates.history.rates import SIZE, relative_rates
from surrogates.space.axes import is_missing
from surrogates.space.encoding import PREFIX, SpaceEncoder

META, SIGNAL = "meta.", "signal."
MAX_NUMBER = 1e100  # of scores and costs: squares of larger ones leave the range of floats


@dataclass(frozen=True)
class History:
    """Past trials, one row per trial or prefix of one; every array has length n.

    More score is better, whatever the direction of the table.
    """

    configs: list[Config]
    table: pd.DataFrame
    """The caller's `meta.*` and `signal.*` columns, index 0..n-1."""
    dataset: np.ndarray
    """The first `dataset_id` of the same content; see `_datasets`."""
    group: np.ndarray
    """dataset x model, where there is a model_id column."""
    model: np.ndarray
    """The name of each row's model: `level`, else `model_id`; empty without either."""
    trial: np.ndarray
    """Identity of the trial of each row, which joins prefixes to their final score."""
    fraction: np.ndarray
    score: np.ndarray
    """NaN for failed trials."""
    score_se: np.ndarray
    """Standard error of the score; NaN where unknown."""
    cost: np.ndarray
    """Cost of the row's fraction; NaN where unknown."""
    failed: np.ndarray
    sign: float = 1.0
    """Factor between the table's scores and these: 1, or -1 where less was better."""

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def final(self) -> np.ndarray:
        """Mask of the rows that hold a full-length score."""
        return (self.fraction >= 1.0) & ~self.failed

    def columns(self, prefix: str) -> list[str]:
        """Columns of `table` with the prefix, sorted."""
        return sorted(c for c in self.table.columns if c.startswith(prefix))

    def features(
        self, rows: np.ndarray, encoder: SpaceEncoder, columns: Sequence[str]
    ) -> pd.DataFrame:
        """Configurations and columns of `table`, as CatBoost reads them, for these row indices."""
        configs = encoder.frame([self.configs[i] for i in rows])
        table = self.table.iloc[rows].reset_index(drop=True)
        sizes = table[[c for c in table if c == META + SIZE]].rename(columns={META + SIZE: SIZE})
        configs = relative_rates(configs, encoder, sizes)
        return pd.concat([configs, table[list(columns)]], axis=1)

    def group_scales(self) -> pd.DataFrame:
        """Mean and standard deviation of the final scores of each group (index: group)."""
        finals = pd.Series(self.score[self.final]).groupby(self.group[self.final])
        return pd.DataFrame({"mean": finals.mean(), "std": finals.std(ddof=1)})


def read_history(
    history: pd.DataFrame | None,
    encoder: SpaceEncoder,
    maximize: bool = True,
    required: Sequence[str] = ("dataset_id", "score"),
    called: str = "history",
) -> History | None:
    """Interpret a history table.

    Args:
        history: Table with `dataset_id`, `score` and `config.*`; `meta.*`, `signal.*`, `score_se`,
            `fraction`, `cost` or `cost_seconds`, `state`, `trial_id`, `model_id`, `level` and
            `dataset_fingerprint` are used when there.
        encoder: The space; configuration columns it does not know are ignored.
        maximize: Whether more is better in the table.
        required: Columns that it must have; without `dataset_id` all rows are of one dataset.
        called: Name of the table in errors.

    Returns:
        The history, or None if there are no rows.

    Raises:
        HistoryError: It is not a DataFrame, a required column is missing, or a score is beyond
            `MAX_NUMBER`.
    """
    if history is None:
        return None
    if not isinstance(history, pd.DataFrame):
        raise HistoryError(
            f"{called} must be a pandas DataFrame, got {type(history).__name__}. "
            "Read it with pandas.read_parquet('data/history')."
        )
    if len(history) == 0:
        return None
    missing = [c for c in required if c not in history]
    if missing:
        raise HistoryError(
            f"{called} lacks the required columns {missing}; it has {list(history.columns)}."
        )
    if not any(PREFIX + name in history for name in encoder.names):
        raise HistoryError(
            f"{called} has no column for any hyperparameter of the space: expected some of "
            f"{list(encoder.columns)}, found {[c for c in history if str(c).startswith(PREFIX)]}."
        )
    return _interpret(history.reset_index(drop=True), encoder, maximize, called)


def _interpret(frame: pd.DataFrame, encoder: SpaceEncoder, maximize: bool, called: str) -> History:
    configs = encoder.from_frame(frame[[c for c in frame if str(c).startswith(PREFIX)]])
    dataset = group = _datasets(frame if "dataset_id" in frame else frame.assign(dataset_id=""))
    if "model_id" in frame:
        group = dataset + " | " + frame["model_id"].astype(str).to_numpy(object)
    state = _strings(frame, "state", "completed")
    score = _numbers(frame, "score", np.nan) * (1.0 if maximize else -1.0)
    huge = np.flatnonzero(np.isfinite(score) & (np.abs(score) > MAX_NUMBER))
    if len(huge):
        raise HistoryError(
            f"{called}: row {huge[0]} has the score {score[huge[0]]:g}, expected one between "
            f"-{MAX_NUMBER:g} and {MAX_NUMBER:g}. Leave such rows out, or scale the scores."
        )
    failed = (state == "failed") | ~np.isfinite(score)
    fraction = _numbers(frame, "fraction", np.nan)
    # A stopped trial of unknown length has no final score; any other row without a fraction has.
    fraction = np.where(np.isnan(fraction), np.where(state == "stopped", np.nan, 1.0), fraction)
    cost = _numbers(frame, "cost" if "cost" in frame else "cost_seconds", np.nan)
    cost = np.where((cost > 0) & (cost < MAX_NUMBER), cost, np.nan)
    score_se = _numbers(frame, "score_se", np.nan)
    used = [c for c in frame if str(c).startswith((META, SIGNAL))]
    return History(
        configs=configs,
        table=frame[used],
        dataset=dataset,
        group=group,
        model=_strings(frame, "level" if "level" in frame else "model_id", ""),
        trial=_trials(frame, encoder, configs, group),
        fraction=fraction,
        score=np.where(failed, np.nan, score),
        score_se=np.where(np.abs(score_se) < MAX_NUMBER, score_se, np.nan),
        cost=cost,
        failed=failed,
        sign=1.0 if maximize else -1.0,
    )


def _datasets(frame: pd.DataFrame) -> np.ndarray:
    """One name for all rows that share an id or the hash of their content, also through others.

    The name is the first id. The same content under two ids would be held out once and learnt from
    once; two contents under one id are versions of one dataset. A "name:..." is not a hash.
    """
    ids, names = pd.factorize(frame["dataset_id"].astype(str))
    content = _strings(frame, "dataset_fingerprint", "")
    content = np.array([None if c.startswith("name:") else c or None for c in content], object)
    hashes, _ = pd.factorize(content)  # -1 where unknown
    known = hashes >= 0
    size = len(names) + len(frame)
    links = coo_array((known[known], (ids[known], len(names) + hashes[known])), (size, size))
    _, part = connected_components(links, directed=False)
    return pd.Series(names[ids], dtype=object).groupby(part[ids]).transform("first").to_numpy()


def _numbers(frame: pd.DataFrame, name: str, default: float) -> np.ndarray:
    if name not in frame:
        return np.full(len(frame), default)
    return pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, copy=True)


def _strings(frame: pd.DataFrame, name: str, default: str) -> np.ndarray:
    if name not in frame:
        return np.full(len(frame), default, dtype=object)
    return np.array([default if is_missing(v) else str(v) for v in frame[name]], dtype=object)


def _trials(
    frame: pd.DataFrame, encoder: SpaceEncoder, configs: list[Config], group: np.ndarray
) -> np.ndarray:
    """A trial's identity: its id within the group, else the group and the configuration."""
    if "trial_id" in frame and not frame["trial_id"].isna().any():
        own = [str(t) for t in frame["trial_id"]]
    else:
        own = [repr(encoder.key(c)) for c in configs]
    return np.array([f"{g} :: {o}" for g, o in zip(group, own, strict=True)], dtype=object)
