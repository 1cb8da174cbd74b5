"""Errors that are meant for people are one entry of Prefect's log, without a traceback."""

from __future__ import annotations

import logging

from trials.errors import AutoPipeError

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class PlainErrors(logging.Filter):
    """Leaves of a record about such an error what the error says."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and _is_for_people(error):
            record.msg, record.args = "%s", (str(error),)
            record.exc_info = record.exc_text = None
        return True


def _is_for_people(error: BaseException) -> bool:
    from surrogates.base import SurrogateError
    from tasks.catalog import CatalogError

    return isinstance(error, (AutoPipeError, CatalogError, SurrogateError))


def plain_errors() -> None:
    """Applies it to what Prefect says of flows and tasks in this process."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(PlainErrors())
