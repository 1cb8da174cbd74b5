"""Notes which completion is scored at the moment, for a supervisor to see one that never ends.

A reward in an endless loop, or in a regular expression that holds the interpreter's lock, writes no
event and answers no signal. What it is at stands in a small file that is there before it begins.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trials.data.dataset import Row
from trials.scoring.rewards import Reward

NOTE_PREFIX = ".scoring."
NOTE_BYTES = 512  # written over and over, so of one size
SHOWN_CHARACTERS = 80


class WatchedReward:
    """A reward that leaves a note in the folder of a trial or measurement while it scores."""

    def __init__(self, reward: Reward, folder: Path, process: int = 0):
        self._reward, self._calls = reward, 0
        self._file = (folder / f"{NOTE_PREFIX}{process}").open("wb", buffering=0)
        self._note("")  # the room is there, however full the disk may be later

    def __call__(self, completion: str, row: Row) -> float:
        self._calls += 1
        shown = completion[:SHOWN_CHARACTERS]
        self._note(f"{self._calls} {row.file or 'row'}:{row.line}, for the completion {shown!r}")
        try:
            return self._reward(completion, row)
        finally:
            self._note("")

    def _note(self, text: str) -> None:
        with suppress(OSError):
            note = text.encode("utf-8", "replace")[:NOTE_BYTES].ljust(NOTE_BYTES)
            os.pwrite(self._file.fileno(), note, 0)


def clear_notes(folder: Path) -> None:
    """Removes what processes left that were killed while they scored."""
    for file in folder.glob(f"{NOTE_PREFIX}*"):
        file.unlink(missing_ok=True)


def current_notes(folder: Path) -> str:
    """The completions that processes of a folder score now, each call by its number; or nothing."""
    notes = []
    for file in sorted(folder.glob(f"{NOTE_PREFIX}*")):
        with suppress(OSError):
            notes.append(file.read_bytes().decode("utf-8", "replace").strip())
    return "\n".join(filter(None, notes))
