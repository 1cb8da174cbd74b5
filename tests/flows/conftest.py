"""Run folders as for the tests of tasks, and no notes that another test's command left."""

from __future__ import annotations

import pytest

from flows.terminal.interrupts import interrupts
from tests.tasks.conftest import make_run

__all__ = ["make_run"]


@pytest.fixture(autouse=True)
def no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "notes", [])
    monkeypatch.setattr(interrupts, "kept", False)
    monkeypatch.setattr(interrupts, "as_json", False)
