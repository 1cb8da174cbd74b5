"""Filters of logs: no traceback for errors made for people, nothing that a terminal acts on."""

from __future__ import annotations

import logging
from typing import Any

from tasks.output import escape
from trials.io.errors import AutoPipeError
from trials.io.redact import redacted

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class DropTraceback(logging.Filter):
    """Leaves of a record about an error made for people only the error's own text."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and is_for_people(error):
            record.msg, record.args = "%s", (redacted(str(error)),)
            record.exc_info = record.exc_text = None
        return True


def is_for_people(error: BaseException) -> bool:
    """True for errors whose text says all that there is to know, and False for bugs."""
    from surrogates.core.base import SurrogateError

    return isinstance(error, AutoPipeError | SurrogateError)


class EscapeControls(logging.Filter):
    """Makes control characters visible: logs quote names that come from outside."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:  # logging itself reports a broken record
            return True
        shown = escape.printable(text, lines=True)
        if shown != text:
            record.msg, record.args = shown, ()
        return True


def filter_prefect_logs() -> None:
    """Applies both filters to Prefect's messages on flows and tasks in this process."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(DropTraceback())
        logging.getLogger(name).addFilter(EscapeControls())


def escape_all_records() -> None:
    """Escapes every record that is logged in this process, whoever logs it."""
    made, controls = logging.getLogRecordFactory(), EscapeControls()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        controls.filter(record)
        return record

    logging.setLogRecordFactory(make)
