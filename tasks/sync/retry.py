"""Retries while a server is restarted or storage is away for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from tasks.sync.store import StoreError

log = logging.getLogger(__name__)
RETRY_SECONDS = 900.0
PAUSE_SECONDS = 2.0

Outcome = TypeVar("Outcome")


def call_with_retries(
    action: Callable[[], Outcome],
    description: str,
    stop: threading.Event | None = None,
    seconds: float = RETRY_SECONDS,
) -> Outcome:
    """The outcome of an action that is repeated while server or storage do not answer.

    It changes nothing, or the same again. Once ``stop`` is set, the next failure is the last one.

    Raises:
        StoreError, httpx.HTTPError: of the last attempt, or one that is not transient.
    """
    deadline, warned, stop = time.monotonic() + seconds, False, stop or threading.Event()
    while True:
        try:
            return action()
        except (StoreError, httpx.HTTPError) as error:
            if not _is_transient(error) or stop.is_set() or time.monotonic() > deadline:
                raise
            if not warned:
                log.warning("%s: %s; trying again, for %.0f s at most", description, error, seconds)
                warned = True
        stop.wait(PAUSE_SECONDS)


def _is_transient(error: StoreError | httpx.HTTPError) -> bool:
    """True if it may be over in a moment; a request that is refused will be refused again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return not isinstance(error, StoreError) or error.transient
