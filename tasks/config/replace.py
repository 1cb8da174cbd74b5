"""Folders that are replaced as a whole, where people say which: nothing else in them is deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from trials.io.atomic import put_in_place
from trials.io.errors import SettingsError

SHOWN = 3


def replace_folder(
    draft: Path, folder: Path, own: Callable[[Path], bool] = lambda path: False
) -> None:
    """Moves a draft, on the same disk, to the place of an older folder of the same kind.

    ``own`` says whether something that the draft does not have is of that kind nevertheless.

    Raises:
        SettingsError: the folder holds something else.
    """
    refuse_others(folder, {path.name for path in draft.iterdir()}, own)
    shutil.rmtree(folder, ignore_errors=True)
    put_in_place(draft, folder)


def refuse_others(
    folder: Path, names: set[str], own: Callable[[Path], bool] = lambda path: False
) -> None:
    """Refuses, with a SettingsError, a file, or a folder with what AutoPipe did not write there."""
    if not folder.exists():
        return
    found = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    others = [path.name for path in found if path.name not in names and not own(path)]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise SettingsError(
            f"{folder} would be replaced as a whole, and holds {', '.join(others[:SHOWN])}{more}\n"
            "  name another folder, or move away what is in it"
        )
