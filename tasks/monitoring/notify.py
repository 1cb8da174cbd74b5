"""Notifies people how a recurring run ended, through a notification block of Prefect's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.notifications import NotificationBlock

from tasks.output.escape import printable
from trials.io.errors import SettingsError
from trials.io.redact import redacted

log = logging.getLogger(__name__)


@contextmanager
def notify_on_exit(block: str | None, subject: str) -> Iterator[list[str]]:
    """Sends the lines that were added when the work is over, and why it failed if it did.

    The block is the type and name of a saved one (Slack, e-mail, a webhook, any of Apprise's); None
    sends nothing.

    Raises:
        SettingsError: there is no such block; raised before any work is done.
    """
    target = _load(block) if block else None
    lines: list[str] = []
    try:
        yield lines
    except BaseException as error:
        if target is not None:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            _send(target, f"{subject}: failed", "\n".join([*lines, reason]))
        raise
    if target is not None:
        _send(target, subject, "\n".join(lines) or "done")


def _load(name: str) -> NotificationBlock:
    try:
        block = Block.load(name)
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"there is no notification block {name!r}: {error}\n"
            "  create one on Prefect's page Blocks, or list them with: prefect block ls"
        ) from None
    if not isinstance(block, NotificationBlock):
        raise SettingsError(
            f"the block {name!r} is a {type(block).__name__} rather than a notification"
        )
    return block


def _send(block: NotificationBlock, subject: str, body: str) -> None:
    try:
        # Sent before it returns: a coroutine is what it gives only where a loop runs.
        text, head = printable(redacted(body), lines=True), printable(redacted(subject))
        sent: Any = block.notify(text, head)
        del sent
    except Exception as error:  # the work is done, whether anybody hears of it or not
        log.warning("the notification could not be sent: %s", redacted(str(error)))
