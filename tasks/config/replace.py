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
    """Puts a folder that was just made in the place of the one of before.

    Args:
        draft: the new one, on the same disk; it is moved.
        folder: the place; what is there must be an older one of the same kind: it has no names
            in it but those of the draft.
        own: whether something with another name is of that kind nevertheless.

    Raises:
        SettingsError: the folder holds something else.
    """
    refuse_others(folder, {path.name for path in draft.iterdir()}, own)
    shutil.rmtree(folder, ignore_errors=True)
    put_in_place(draft, folder)


def refuse_others(
    folder: Path, names: set[str], own: Callable[[Path], bool] = lambda path: False
) -> None:
    """Looks whether a folder holds something that AutoPipe would not have written there.

    Raises:
        SettingsError: it does, or it is a file.
    """
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
