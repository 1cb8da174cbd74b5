"""The offline models: trained on the history once, kept by the fingerprint of what they saw."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ConfigSpace import ConfigurationSpace
from prefect import task
from prefect.cache_policies import NO_CACHE

from surrogates.search import OfflineModels
from tasks.feature_groups import learned_features
from tasks.features import read_features, with_features
from tasks.history import search_history
from tasks.history_checks import learnable_history
from tasks.paths import cache_folder
from tasks.spaces import space_text

# Part of the key: models made by other code are not reused.
FORMAT = "6"


@task(cache_policy=NO_CACHE)
def offline_models(
    files: list[Path],
    space: ConfigurationSpace,
    exclude_dataset: str | None,
    seed: int = 0,
    features: Path | None = None,
) -> OfflineModels | None:
    """Loads the offline models for this history and space, or trains and keeps them.

    Args:
        files: history files; none gives None, and the search starts from nothing. Rows that do not
            pass the checks are put aside and not learned from.
        space: that is searched.
        exclude_dataset: a dataset to leave out, for honest comparisons; None uses all.
        seed: of every model.
        features: table of meta-features, which describes old rows as the dataset at hand is
            described; None or no file leaves rows as they are.
    """
    if not files:
        return None
    digest = hashlib.sha256(f"{FORMAT}{exclude_dataset}{seed}{space_text(space)}".encode())
    table = features if features is not None and features.exists() else None
    for file in [*files, *([table] if table else [])]:
        digest.update(file.read_bytes())
    folder = cache_folder() / "offline" / digest.hexdigest()[:16]
    if not (folder / "complete").exists():
        rows = learnable_history(files)
        if table:
            rows = with_features(rows, read_features(table))
        rows = search_history(learned_features(rows))
        if exclude_dataset is not None:
            rows = rows[rows["dataset_id"] != exclude_dataset].reset_index(drop=True)
        models = OfflineModels.fit(rows, space, seed)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        models.save(partial)
        (partial / "complete").touch()
        try:
            partial.rename(folder)
        except OSError:  # another run was faster, and made the same
            shutil.rmtree(partial)
    return OfflineModels.load(folder)
