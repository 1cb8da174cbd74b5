"""What people read in Prefect's log of a flow that was given something wrong."""

from __future__ import annotations

import logging

import pytest
from prefect import flow, task

from tasks.inputs.catalog import CatalogError
from tasks.output.log_filters import LOGGERS, escape_all_records
from trials.io.errors import SettingsError


@pytest.mark.parametrize("error", [SettingsError("no\n  such"), CatalogError("unknown: gcdd")])
def test_errors_for_people_come_without_a_traceback(
    prefect_harness, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    @task
    def refuse() -> None:
        raise error

    @flow
    def refused() -> None:
        refuse()

    with caplog.at_level(logging.ERROR, "prefect"), pytest.raises(type(error)):
        refused()
    told = [r for r in caplog.records if r.name in LOGGERS and str(error) in r.getMessage()]
    assert {record.name for record in told} == set(LOGGERS)
    assert any(record.getMessage() == str(error) for record in told)
    assert not any(record.exc_info or record.exc_text for record in told)


def test_bugs_keep_theirs(prefect_harness, caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def broken() -> None:
        raise KeyError("bug")

    with caplog.at_level(logging.ERROR, "prefect"), pytest.raises(KeyError):
        broken()
    assert any(record.exc_info for record in caplog.records if record.name in LOGGERS)


def test_no_name_acts_on_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    factory = logging.getLogRecordFactory()
    escape_all_records()
    try:
        logging.getLogger("tasks.monitoring.prefect_pages").warning(
            "run %s", "\x1b]0;title\x07 100 %s\nnext"
        )
    finally:
        logging.setLogRecordFactory(factory)
    assert caplog.records[-1].getMessage() == "run \\x1b]0;title\\x07 100 %s\nnext"


def test_nor_in_the_log_of_a_flow_on_a_worker() -> None:
    for name in LOGGERS:
        record = logging.LogRecord(name, logging.INFO, "", 1, "%s", ("\x1b[2J",), None)
        assert logging.getLogger(name).filter(record)
        assert record.getMessage() == "\\x1b[2J"
