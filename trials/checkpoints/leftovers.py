"""What an interrupted attempt at a trial leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from trials.checkpoints.entries import Checkpoint, problems, read_checkpoint


def clear_leftovers(folder: Path) -> None:
    """Removes events and checkpoints from the folder of a trial that has no result."""
    (folder / "events.jsonl").unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The furthest whole checkpoint in a trial's own folder; None without any."""
    entries = [read_checkpoint(path) for path in (folder / "checkpoint").glob("step-*")]
    whole = [entry for entry in entries if entry and not problems(entry)]
    return max(whole, key=lambda entry: entry.manifest.step, default=None)
