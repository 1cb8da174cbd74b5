"""What the tests of running trials share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def gpu_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are locked for a whole machine: another test process would take those of this one."""
    monkeypatch.setattr("tasks.execution.gpus.LOCKS", tmp_path)
