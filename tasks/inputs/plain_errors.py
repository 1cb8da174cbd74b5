"""What logs show: errors for people without a traceback, and nothing that a terminal acts on."""

from __future__ import annotations

import logging
from typing import Any

from tasks.output import escape
from trials.io.errors import AutoPipeError
from trials.io.redact import redacted

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class PlainErrors(logging.Filter):
    """Leaves of a record about such an error what the error says."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and is_for_people(error):
            record.msg, record.args = "%s", (redacted(str(error)),)
            record.exc_info = record.exc_text = None
        return True


def is_for_people(error: BaseException) -> bool:
    """True of errors whose text says all that there is to know, and False of bugs."""
    from surrogates.core.base import SurrogateError

    return isinstance(error, AutoPipeError | SurrogateError)


class PlainText(logging.Filter):
    """Makes control characters visible: what is logged has names from outside in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:  # logging itself says what is wrong with the record
            return True
        shown = escape.printable(text, lines=True)
        if shown != text:
            record.msg, record.args = shown, ()
        return True


def plain_errors() -> None:
    """Applies both to what Prefect says of flows and tasks in this process."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(PlainErrors())
        logging.getLogger(name).addFilter(PlainText())


def plain_records() -> None:
    """Has all that is logged in a process of AutoPipe's own made plain, whoever logs it."""
    made, plain = logging.getLogRecordFactory(), PlainText()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        plain.filter(record)
        return record

    logging.setLogRecordFactory(make)
