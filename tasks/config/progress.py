"""Callbacks by which steps report progress, whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


def quiet(done: int, total: int) -> None:
    """Reports nothing."""


def silent(what: str, done: int, total: int) -> None:
    """Reports nothing."""
