"""Which server a command talks to, and what it says where there is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server.prefect import Served, note_served, prefect_server, refuse_taken, served_here
from tasks.output.report_url import REPORTS_URL_VARIABLE, report_url
from trials.io.errors import AutoPipeError, SettingsError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace for which nobody serves anything."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv(REPORTS_URL_VARIABLE, "")  # is put back, whatever a command sets
    monkeypatch.delenv(REPORTS_URL_VARIABLE)
    return tmp_path


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_named_server_has_to_answer(port: int) -> None:
    url = f"http://127.0.0.1:{port}/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(AutoPipeError, match=f"{url} does not answer"),
        prefect_server(),
    ):
        pass


def test_a_disk_without_room_is_named_before_a_server_tries_to_write_to_it(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.server.prefect.LEAST_BYTES", 1 << 62)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SettingsError, match=rf"MB are free where {nowhere} lies(?s:.)*make space"),
        prefect_server(),
    ):
        pass


def test_workers_need_one_that_stays(nowhere: Path) -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SettingsError, match="autopipe ui"),
        prefect_server(lasting=True),
    ):
        pass


@pytest.mark.slow
def test_the_server_of_the_workspace_is_found_as_long_as_it_runs(nowhere: Path) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), prefect_server():
        own = str(PREFECT_API_URL.value())
        foreign = {"Origin": "http://evil.example"}
        pool = {"name": "theirs", "type": "process"}
        assert httpx.post(f"{own}/work_pools/", json=pool, headers=foreign).status_code == 403
        assert httpx.get(f"{own}/health", headers={"Host": "evil.example"}).status_code == 403
        assert served_here() is None
        note_served(served := Served.here(own, "http://127.0.0.1:9999"))
        assert served_here() == served
        with temporary_settings(restore_defaults={PREFECT_API_URL}), prefect_server(lasting=True):
            assert PREFECT_API_URL.value() == os.environ["PREFECT_API_URL"] == own
            assert report_url("run") == "http://127.0.0.1:9999/run/report.html"

    file = nowhere / ".prefect" / "served.json"
    note = json.loads(file.read_text())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for change in ({"process": f"{ended.pid}:1"}, {"host": "another"}, {"process": "x"}):
        file.write_text(json.dumps(note | change))
        assert served_here() is None
    file.write_text("half a no")
    assert served_here() is None


def test_a_port_that_is_taken_is_named(port: int) -> None:
    refuse_taken("127.0.0.1", port)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1.*(?s:.)*--port"):
            refuse_taken("127.0.0.1", port)
