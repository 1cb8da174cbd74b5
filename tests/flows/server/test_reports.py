"""Reports over HTTP: those of the workspace, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from flows.server.reports import reports_app

HOME = "http://127.0.0.1:4201"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    for run in ("gcd-001", "naïve & <odd>"):
        (home / "runs" / run).mkdir(parents=True)
        (home / "runs" / run / "report.html").write_text(f"report of {run}")
        (home / "runs" / run / "run.json").write_text("secret")
    (home / "report.html").write_text("outside")
    docs = home / "runs" / "gcd-001" / "data_docs"
    (docs / "expectations").mkdir(parents=True)
    (docs / "index.html").write_text("the dataset")
    (docs / "expectations" / "a b.html").write_text("one page")
    (docs / "state.json").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOPIPE_HOME", str(home))
        yield TestClient(reports_app("127.0.0.1"), base_url=HOME, follow_redirects=False)


def get(client: TestClient, path: str, **headers: str) -> tuple[int, str]:
    answer = client.get(path, headers=headers)
    policy = answer.headers.get("Content-Security-Policy", "")
    assert answer.status_code != 200 or "connect-src 'none'" in policy
    return answer.status_code, answer.text


def test_a_report_is_served_and_listed(client: TestClient) -> None:
    assert get(client, "/gcd-001/report.html") == (200, "report of gcd-001")
    assert get(client, "/na%C3%AFve%20%26%20%3Codd%3E/report.html")[0] == 200
    status, listed = get(client, "/")
    assert status == 200
    assert 'href="/gcd-001/report.html"' in listed
    assert "<odd>" not in listed


def test_so_are_the_data_docs_that_a_report_links_to(client: TestClient) -> None:
    assert get(client, "/gcd-001/data_docs/index.html") == (200, "the dataset")
    assert get(client, "/gcd-001/data_docs/expectations/a%20b.html") == (200, "one page")


@pytest.mark.parametrize(
    "path",
    [
        *("/gcd-001/run.json", "/gcd-002/report.html", "/../report.html", "/%2e%2e/report.html"),
        *("/..%2freport.html", "/gcd-001/../../report.html", "/gcd-001", "/gcd-001/"),
        *("/gcd-001/data_docs", "/gcd-001/data_docs/../run.json", "/gcd-001/data_docs/state.json"),
        "/gcd-001//data_docs/index.html",
    ],
)
def test_nothing_else_is(client: TestClient, path: str) -> None:
    status, text = get(client, path)
    assert status == 404
    assert "secret" not in text
    assert "outside" not in text


def test_a_name_that_somebody_else_points_here_is_refused(client: TestClient) -> None:
    assert get(client, "/", Host="localhost:4201")[0] == 200
    for name in ("rebound.example", "127.0.0.1.rebound.example", "rebound.example:4201", ""):
        status, text = get(client, "/gcd-001/report.html", Host=name)
        assert status == 403
        assert "report of" not in text
