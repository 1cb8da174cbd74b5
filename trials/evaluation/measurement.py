"""The files of a measurement: a request, and its answer, its refusal, or why there is neither."""

from __future__ import annotations

from pathlib import Path

REQUEST, ANSWER, REFUSAL = "request.json", "answer.json", "refusal.txt"
FAILURES = "failure.*.json"


def is_finished(folder: Path) -> bool:
    """True when a measurement is over, however it ended."""
    over = (folder / ANSWER).exists() or (folder / REFUSAL).exists()
    return over or any(folder.glob(FAILURES))


def clear_measurement(folder: Path) -> None:
    """Removes what an earlier attempt left that got no answer."""
    for file in (folder / REFUSAL, folder / "events.jsonl", *folder.glob(FAILURES)):
        file.unlink(missing_ok=True)
