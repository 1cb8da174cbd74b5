"""Run folders as for the tests of tasks."""

from __future__ import annotations

from tests.tasks.conftest import make_run

__all__ = ["make_run"]
