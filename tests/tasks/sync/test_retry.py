"""What passes is waited for; what is refused is not asked again."""

from __future__ import annotations

import threading

import httpx
import pytest

from tasks.sync import retry as patience
from tasks.sync.retry import call_with_retries
from tasks.sync.store import StoreError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)


def failing(*errors: Exception):
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://x")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code))


def test_it_goes_on_once_somebody_answers(caplog: pytest.LogCaptureFixture) -> None:
    errors = (StoreError("away"), httpx.ConnectError("refused"), status(503))
    assert call_with_retries(failing(*errors), "looking") == "done"
    assert [record.getMessage() for record in caplog.records] == [
        "looking: away; trying again, for 900 s at most"
    ]


def test_a_refusal_is_final() -> None:
    with pytest.raises(httpx.HTTPStatusError):
        call_with_retries(failing(status(422)), "looking")
    with pytest.raises(KeyError):
        call_with_retries(failing(KeyError("x")), "looking")


def test_it_has_an_end() -> None:
    with pytest.raises(StoreError):
        call_with_retries(failing(*[StoreError("away")] * 10_000), "looking", seconds=0.05)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreError):
        call_with_retries(failing(StoreError("away")), "looking", stop)
