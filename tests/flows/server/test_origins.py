"""Servers that AutoPipe starts: who may use them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client as websocket
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import InvalidStatus

from deployments.try_it import free_port, wait_for
from flows.server import origins
from flows.server.origins import OwnPagesOnly, in_url, is_ours, is_same_origin, names_of

FOREIGN = (
    *("http://evil.example", "https://127.0.0.1.evil.example", "http://127.0.0.1:4201"),
    *("http://localhost:4200", "http://user@127.0.0.1:4200", "http://127.0.0.1:4200/path"),
    *("file://", "null", "", "http://[", "http://127.0.0.1:99999"),
)


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def app(host: str = "127.0.0.1") -> OwnPagesOnly:
    def settings(request: object) -> JSONResponse:
        return JSONResponse({"api_url": "http://127.0.0.1:4200/api", "flags": []})

    routes = [
        Route("/api/things", lambda request: PlainTextResponse("made"), methods=["GET", "POST"]),
        Route("/ui-settings", settings),
        WebSocketRoute("/api/events", echo),
    ]
    return OwnPagesOnly(Starlette(routes=routes), host)


def client(host: str = "127.0.0.1", called: str = "127.0.0.1:4200") -> TestClient:
    return TestClient(app(host), base_url=f"http://{called}")


def test_programs_and_own_pages_are_served() -> None:
    with client() as ours:
        assert ours.post("/api/things").text == "made"
        answer = ours.post("/api/things", headers={"Origin": "http://127.0.0.1:4200"})
        assert answer.text == "made"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        program = {"Host": "127.0.0.1:4200"}
        for headers in (program, {"Origin": "http://127.0.0.1:4200", **program}):
            with ours.websocket_connect("/api/events", headers=headers) as stream:
                assert stream.receive_text() == "hello"


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    with client() as ours:
        for ask in (ours.get, ours.post, ours.options):
            answer = ask("/api/things", headers={"Origin": origin})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        headers = {"Origin": origin, "Host": "127.0.0.1:4200"}
        with (
            pytest.raises(WebSocketDisconnect),
            ours.websocket_connect("/api/events", headers=headers),
        ):
            pass


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_is_refused_though_the_origin_is_the_same(host: str) -> None:
    with client(called=host) as theirs:
        assert theirs.get("/api/things").status_code == 403
        answer = theirs.post("/api/things", headers={"Origin": f"http://{host}"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "called",
    ["127.0.0.1:4210", "localhost:4200", "[::1]:4200", "10.1.2.3", "host.docker.internal:4200"],
)
def test_pages_use_the_address_they_came_from(called: str) -> None:
    with client(called=called) as ours:
        assert ours.get("/ui-settings").json() == {"api_url": f"http://{called}/api", "flags": []}
        assert ours.post("/api/things", headers={"Origin": f"http://{called}"}).status_code == 200


def test_a_named_address_of_the_api_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_UI_API_URL", "https://tune.example/api")
    with client() as ours:
        assert ours.get("/ui-settings").json()["api_url"] == "http://127.0.0.1:4200/api"


def test_a_proxy_is_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(origins.VARIABLE, "Tune.example, other.example")
    with client(called="tune.example") as proxied:
        own = {"Origin": "https://tune.example"}
        assert proxied.post("/api/things", headers=own).status_code == 200
        assert proxied.post("/api/things", headers={"Origin": FOREIGN[0]}).status_code == 403


def test_a_server_for_other_machines_knows_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Tuner")
    monkeypatch.setattr("socket.getfqdn", lambda: "tuner.lab.example")
    names = names_of("0.0.0.0")
    assert is_ours("tuner:4200", names)
    assert is_ours("TUNER.lab.example.", names)
    assert not is_ours("lab.example", names)
    assert "tuner" not in names_of("127.0.0.1")
    assert in_url("::") == "tuner.lab.example"
    assert in_url("::1") == "[::1]"


def test_default_ports_are_the_same_origin() -> None:
    assert is_same_origin("https://tune.example", "tune.example:443")
    assert is_same_origin("http://tune.example:80", "tune.example")
    assert not is_same_origin("https://tune.example", "tune.example:80")


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an `autopipe ui`."""
    home, port = tmp_path_factory.mktemp("ui"), free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)],
        env=env | {"AUTOPIPE_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health")
        yield port
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15)


@pytest.mark.slow
def test_the_real_server_and_its_pages(ui: int) -> None:
    own, body = f"http://127.0.0.1:{ui}", {"name": "pool", "type": "process"}
    with httpx.Client(base_url=own, follow_redirects=True) as prefect:
        foreign = prefect.post("/api/work_pools/", json=body, headers={"Origin": FOREIGN[0]})
        assert foreign.status_code == 403
        assert "access-control-allow-origin" not in foreign.headers
        rebound = prefect.post("/api/work_pools/", json=body, headers={"Host": "evil.example"})
        assert rebound.status_code == 403
        assert prefect.post("/api/work_pools/", json=body).status_code == 201
        again = prefect.post("/api/work_pools/", json=body, headers={"Origin": own})
        assert again.status_code == 409  # it is there: the pages reach the API
        assert "<html" in prefect.get("/", headers={"Accept": "text/html"}).text
        assert prefect.get("/ui-settings").json()["api_url"] == f"{own}/api"
        called = prefect.get("/ui-settings", headers={"Host": f"localhost:{ui}"}).json()
        assert called["api_url"] == f"http://localhost:{ui}/api"
    stream = f"ws://127.0.0.1:{ui}/api/events/in"
    with websocket.connect(stream, origin=own):
        pass
    with pytest.raises(InvalidStatus, match="403"):
        websocket.connect(stream, origin=FOREIGN[0])


@pytest.mark.slow
def test_the_real_reports_check_their_name(ui: int) -> None:
    reports = f"http://127.0.0.1:{ui + 1}/"
    assert httpx.get(reports).status_code == 200
    assert httpx.get(reports, headers={"Host": "evil.example"}).status_code == 403
