"""A notification through a real webhook block, to a server of this test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from tasks.monitoring.notify import notify_on_exit
from trials.io.errors import SettingsError


@pytest.fixture
def inbox(prefect_harness) -> Iterator[list[dict[str, str]]]:
    received: list[dict[str, str]] = []

    class Inbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    block = CustomWebhookNotificationBlock(
        name="team",
        url=f"http://127.0.0.1:{server.server_port}/",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    block.save("team", overwrite=True)
    yield received
    server.shutdown()


NAME = "custom-webhook/team"


def test_the_end_is_told_with_what_was_said(inbox):
    with notify_on_exit(NAME, "AutoPipe: gcd") as news:
        news.append("promoted")
    assert inbox == [{"subject": "AutoPipe: gcd", "body": "promoted"}]


def test_a_failure_is_told_with_its_reason_and_stays_a_failure(inbox, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret-of-mine")
    with pytest.raises(RuntimeError), notify_on_exit(NAME, "AutoPipe: gcd"):
        raise RuntimeError("no disk for secret-of-mine\nand more")
    assert inbox[0]["subject"] == "AutoPipe: gcd: failed"
    assert "no disk" in inbox[0]["body"]
    assert "secret-of-mine" not in inbox[0]["body"]


def test_an_unknown_block_is_refused_before_any_work(prefect_harness):
    with (
        pytest.raises(SettingsError, match="prefect block ls"),
        notify_on_exit("slack-webhook/nobody", "x"),
    ):
        raise AssertionError("the work was begun")


def test_nobody_has_to_be_told():
    with notify_on_exit(None, "x") as news:
        news.append("nothing is sent")
