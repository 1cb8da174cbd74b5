"""Small parts of the bundled history, for tests that read or train on real rows."""

from __future__ import annotations

import pandas as pd

from tasks.history import history_files, read_history
from tasks.paths import BUNDLED_HISTORY


def bundled(dataset: str, model: str = "tiny-1m", trials: int = 20) -> pd.DataFrame:
    """The first completed trials of a dataset and model; fails where there are fewer."""
    rows = read_history(history_files(BUNDLED_HISTORY))
    mine = (rows["dataset_id"] == dataset) & (rows["model_id"] == model)
    chosen = rows[mine & (rows["state"] == "completed") & (rows["seed"] == 0)].head(trials)
    assert len(chosen) == trials
    return chosen.reset_index(drop=True)
