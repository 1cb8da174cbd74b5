"""Reports over HTTP: those of the workspace, and nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.reports import Server


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    for run in ("gcd-001", "naïve & <odd>"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "report.html").write_text(f"report of {run}")
        (tmp_path / "runs" / run / "run.json").write_text("secret")
    (tmp_path / "report.html").write_text("outside")
    docs = tmp_path / "runs" / "gcd-001" / "data_docs"
    (docs / "expectations").mkdir(parents=True)
    (docs / "index.html").write_text("the dataset")
    (docs / "expectations" / "a b.html").write_text("one page")
    (docs / "state.json").write_text("secret")
    server = Server(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status != 200 or "connect-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.status, answer.read().decode()


def test_a_report_is_served_and_listed(port: int) -> None:
    assert get(port, "/gcd-001/report.html") == (200, "report of gcd-001")
    assert get(port, "/na%C3%AFve%20%26%20%3Codd%3E/report.html")[0] == 200
    status, listed = get(port, "/")
    assert status == 200
    assert 'href="/gcd-001/report.html"' in listed
    assert "<odd>" not in listed


def test_so_are_the_data_docs_that_a_report_links_to(port: int) -> None:
    assert get(port, "/gcd-001/data_docs/index.html") == (200, "the dataset")
    assert get(port, "/gcd-001/data_docs/expectations/a%20b.html") == (200, "one page")


@pytest.mark.parametrize(
    "path",
    [
        "/gcd-001/run.json",
        "/gcd-002/report.html",
        "/../report.html",
        "/%2e%2e/report.html",
        "/..%2freport.html",
        "/gcd-001/../../report.html",
        "/gcd-001",
        "/gcd-001/",
        "/gcd-001/data_docs",
        "/gcd-001/data_docs/../run.json",
        "/gcd-001/data_docs/state.json",
        "/gcd-001//data_docs/index.html",
        "report.html",
    ],
)
def test_nothing_else_is(port: int, path: str) -> None:
    status, text = get(port, path)
    assert status == 404
    assert "secret" not in text
    assert "outside" not in text


def test_a_name_that_somebody_else_points_here_is_refused(port: int) -> None:
    assert get(port, "/", Host=f"localhost:{port}")[0] == 200
    for name in ("rebound.example", "127.0.0.1.rebound.example", f"rebound.example:{port}", ""):
        status, text = get(port, "/gcd-001/report.html", Host=name)
        assert status == 403
        assert "report of" not in text
