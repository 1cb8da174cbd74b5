"""A Prefect server for the time of one command, where PREFECT_API_URL names none.

Prefect would start one by itself, as a child that gets every signal of the terminal too: then the
flow cannot report that it was interrupted, and waits; and killed, it leaves that child behind. This
one has a process group of its own and ends with whoever started it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trials.errors import AutoPipeError
from trials.watchdog import SUPERVISOR_VARIABLE, end_with_supervisor, supervisor_token

START_SECONDS, POLL_SECONDS, STOP_SECONDS = 120.0, 0.1, 10.0
PORT_TAKEN = 3  # uvicorn's exit code


@contextmanager
def prefect_server() -> Iterator[None]:
    """Flows called in this context talk to a server; the children of this process do, too.

    Raises:
        AutoPipeError: it did not start.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    process, url = _start()
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        if before is None:
            os.environ.pop("PREFECT_API_URL", None)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start() -> tuple[subprocess.Popen[bytes], str]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}/api"
        process = _launch(port, url)
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(f"{url}/health"):
                return process, url
            time.sleep(POLL_SECONDS)
        if process.poll() != PORT_TAKEN:
            break
    process.kill()
    raise AutoPipeError(
        f"Prefect's temporary server did not start within {START_SECONDS:.0f} s "
        f"(exit code {process.wait()})\n"
        "  see why: prefect server start; or name a server that runs in PREFECT_API_URL"
    )


def _launch(port: int, url: str) -> subprocess.Popen[bytes]:
    own = {
        "PREFECT_API_URL": url,
        "PREFECT_UI_ENABLED": "0",
        SUPERVISOR_VARIABLE: supervisor_token(),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flows.server", str(port)],
        env=os.environ | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def main(port: int) -> None:
    """Serves until it is told to end, or its parent is gone."""
    end_with_supervisor()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
