"""What an interrupted attempt at a trial leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path


def clear_leftovers(folder: Path) -> None:
    """Removes events and checkpoints from the folder of a trial that has no result."""
    (folder / "events.jsonl").unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
