"""Earlier trials of the same data on the proxies of a run: what they showed costs nothing now."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.space.axes import is_missing
from surrogates.space.encoding import PREFIX, SpaceEncoder
from tasks.history.checks import check_history
from tasks.history.rows import DEFAULTS, read_history
from tasks.inputs.prepare import Inputs
from tasks.runs.formatting import pluralize
from trials.spec.hyperparameters import Hyperparameters

SAME = ("dataset_fingerprint", "model_fingerprint", "total_steps")  # or the trial is another one


def past_on_proxies(
    files: Sequence[Path], proxies: Sequence[Inputs], space: ConfigurationSpace
) -> pd.DataFrame | None:
    """Full-length trials of the history that a proxy of this run would repeat, if it made them.

    That is: on the same data, from the same weights, with as many steps, and with a configuration
    of this space. Rows that do not pass the checks are left out.

    Returns:
        Rows of the history whose ``model_id`` is the name of the proxy in this run; None without.
    """
    rows = read_history(files) if proxies else pd.DataFrame()
    if any(column not in rows for column in SAME):
        return None
    parts = [
        rows[_made_by(rows, proxy)].assign(model_id=proxy.model_id)
        for proxy in proxies
        if proxy.model_fingerprint is not None
    ]
    if not parts:
        return None
    # Checked before anything is compared: a file that was edited may hold text for a number.
    found, _ = check_history(pd.concat(parts, ignore_index=True))
    if found.empty:
        return None
    state, fraction = (_filled(found, column) for column in ("state", "fraction"))
    found = found[(state == "completed") & (fraction >= 1.0)]
    # A run that was repeated measured nothing new.
    own = [c for c in found if str(c).startswith(PREFIX) or c in ("model_id", "seed")]
    found = found.drop_duplicates(own, ignore_index=True)
    found = found[_in_space(found, SpaceEncoder(space))].reset_index(drop=True)
    return found if len(found) else None


def _filled(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column with what rows mean that leave it out."""
    empty = pd.Series(None, index=rows.index, dtype=object)
    values = rows.get(column, empty)
    return values.where(values.notna(), DEFAULTS[column])


def _in_space(rows: pd.DataFrame, encoder: SpaceEncoder) -> list[bool]:
    """Whether each row has a configuration of the space, and sets nothing else."""
    configs = encoder.from_frame(rows)
    return [
        encoder.is_legal(config) and _same(row, config)
        for row, config in zip(rows.to_dict("records"), configs, strict=True)
    ]


def _same(row: Mapping[Hashable, Any], config: Mapping[str, Any]) -> bool:
    """True if a row sets what the configuration does, and all else as a trial would by itself."""
    given = {
        str(name).removeprefix(PREFIX): value
        for name, value in row.items()
        if str(name).startswith(PREFIX) and not is_missing(value)
    }
    usual = Hyperparameters.model_fields
    return config.keys() <= given.keys() and all(
        value == config.get(name, usual[name].default if name in usual else None)
        for name, value in given.items()
    )


def _made_by(rows: pd.DataFrame, proxy: Inputs) -> pd.Series:
    of_this = (proxy.dataset.fingerprint, proxy.model_fingerprint, proxy.schedule.total_steps)
    same = pd.Series(True, index=rows.index)
    for column, value in zip(SAME, of_this, strict=True):
        same &= rows[column] == value
    return same


def past_text(past: pd.DataFrame | None) -> str:
    """How many there are, for people; empty without any."""
    if past is None:
        return ""
    counts = past["model_id"].value_counts().sort_index()
    known = (f"{pluralize(count, 'trial')} on {name}" for name, count in counts.items())
    return f"known from the history: {', '.join(known)}, on this data"
