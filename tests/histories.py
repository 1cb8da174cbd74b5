"""Small parts of the bundled history, for tests that read or train on real rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files, read_history


def bundled_files() -> list[Path]:
    """The files that came with the checkout; its own runs may have joined them in the folder."""
    return [file for file in history_files(BUNDLED_HISTORY) if file.name.startswith("bundled-")]


def bundled(dataset: str, model: str = "tiny-1m", trials: int = 20) -> pd.DataFrame:
    """The first completed trials of a dataset and model; fails where there are fewer."""
    rows = read_history(bundled_files())
    mine = (rows["dataset_id"] == dataset) & (rows["model_id"] == model)
    chosen = rows[mine & (rows["state"] == "completed") & (rows["seed"] == 0)].head(trials)
    assert len(chosen) == trials
    return chosen.reset_index(drop=True)
