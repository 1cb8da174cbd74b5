"""The folder of the history; one outside of the checkout begins as a copy of the bundled one."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from tasks.config.paths import (
    BUNDLED_HISTORY,
    BUNDLED_OFFLINE,
    HISTORY_VARIABLE,
    history_folder,
    offline_folder,
)
from trials.io.atomic import new_folder
from trials.io.errors import SettingsError

log = logging.getLogger(__name__)


def resolve_history_dir(given: Path | None = None) -> Path:
    """The folder of the history: the one that was given, else the project's, filled when empty.

    Raises:
        SettingsError: its folder cannot be made.
    """
    own = history_folder()
    if given is not None and given.resolve() != own:
        if not given.exists():
            log.warning(
                "there is no history at %s yet: nothing is learned from earlier runs, and what is "
                "run now begins it",
                given,
            )
        return given
    if own == BUNDLED_HISTORY:
        return own
    for bundled, folder in ((BUNDLED_OFFLINE, offline_folder().path), (BUNDLED_HISTORY, own)):
        try:
            copy_bundled(bundled, folder)
        except OSError as error:
            raise SettingsError(
                f"{folder} cannot be filled with {bundled}: {error}\n"
                f"  choose a folder that can be written to with {HISTORY_VARIABLE} or AUTOPIPE_HOME"
            ) from None
    return own


def copy_bundled(bundled: Path, folder: Path) -> None:
    """Copies a folder to where there is none, or an empty one: whole, or not at all."""
    if folder.exists() and any(folder.iterdir()):
        return
    with new_folder(folder) as draft:
        shutil.copytree(bundled, draft, dirs_exist_ok=True, ignore=_not_bundled)
        draft.chmod(0o755)  # the bundled one may be read-only


def _not_bundled(folder: str, names: list[str]) -> set[str]:
    """Names that only a checkout has: rows of its own runs, models that are trained again."""
    own = {name for name in names if name.endswith(".parquet") and not name.startswith("bundled")}
    return own | ({"models", "data_docs", "quarantine", ".lock", ".lock.holder.json"} & set(names))
