"""Earlier trials of the same data on the proxies of a run: what they showed costs nothing now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from surrogates.space.encoding import PREFIX
from tasks.history.checks import check_history
from tasks.history.rows import read_history
from tasks.inputs.prepare import Inputs
from tasks.runs.formatting import pluralize

SAME = ("dataset_fingerprint", "model_fingerprint", "total_steps")  # or the trial is another one


def past_on_proxies(files: Sequence[Path], proxies: Sequence[Inputs]) -> pd.DataFrame | None:
    """Full-length trials of the history that a proxy of this run would repeat, if it made them.

    That is: on the same data, from the same weights, with as many steps. Rows that do not pass the
    checks are left out.

    Returns:
        Rows of the history whose ``model_id`` is the name of the proxy in this run; None without.
    """
    rows = read_history(files) if proxies else pd.DataFrame()
    if any(column not in rows for column in (*SAME, "state", "fraction")):
        return None
    finished = (rows["state"] == "completed") & (rows["fraction"] >= 1.0)
    parts = [
        rows[finished & _made_by(rows, proxy)].assign(model_id=proxy.model_id)
        for proxy in proxies
        if proxy.model_fingerprint is not None
    ]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    found, _ = check_history(found)
    if len(found):  # a run that was repeated measured nothing new
        own = [*(c for c in found if str(c).startswith(PREFIX)), "model_id", "seed"]
        found = found.drop_duplicates(own, ignore_index=True)
    return found if len(found) else None


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
