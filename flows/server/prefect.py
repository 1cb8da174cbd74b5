"""The Prefect server of a command: the one that is named, the one that is there, or one of its own.

Prefect would start the last one by itself, as a child that gets every signal of the terminal, so
that the flow cannot report its interruption, and that is left behind when the flow is killed. Ours
has a process group of its own and ends with whoever started it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.server.origins import OwnPagesOnly, in_url
from flows.terminal.interrupts import LASTING_SECONDS, interrupts
from tasks.config.paths import workspace
from tasks.output.report_url import REPORTS_URL_VARIABLE
from trials.io.errors import AutoPipeError, SettingsError
from trials.io.imports import child_environment
from trials.io.watchdog import SUPERVISOR_VARIABLE, end_with_supervisor, is_alive, supervisor_token
from trials.spec.records import Record, read_record, write_json

LOOPBACK = "127.0.0.1"
START_SECONDS, POLL_SECONDS, STOP_SECONDS = 120.0, 0.1, 10.0
PORT_TAKEN = 3  # uvicorn's exit code
LEAST_BYTES = 16_000_000  # of the workspace: for Prefect's database, logs, records and a report
AWAY = (
    "the Prefect server {} does not answer\n"
    "  start it (autopipe ui), or do without it (unset PREFECT_API_URL)\n"
    "  a run that was under way is resumed with: autopipe tune --resume RUN"
)


@contextmanager
def prefect_server(
    lasting: bool = False, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Flows called in this context talk to a server; the children of this process do, too.

    It is that of PREFECT_API_URL, else the one that `autopipe ui` serves for this workspace, else
    one that ends with the context.

    Args:
        lasting: workers on other machines talk to it, so one that ends will not do.
        meanwhile: what can be done while one of its own starts, which takes seconds.

    Raises:
        SettingsError: a lasting one is needed, and there is none.
        AutoPipeError: it does not answer, or did not start.
    """
    from prefect.settings import PREFECT_API_URL

    if url := PREFECT_API_URL.value():
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:  # which knows of keys and certificates
            if client.api_healthcheck() is not None:
                raise AutoPipeError(AWAY.format(url))
        interrupts.seconds = LASTING_SECONDS
        yield
    elif served := served_here():
        os.environ.setdefault(REPORTS_URL_VARIABLE, served.reports)
        interrupts.seconds = LASTING_SECONDS
        with _talking_to(served.api):
            yield
    elif lasting:
        raise SettingsError(
            "workers need a Prefect server that lasts, and PREFECT_API_URL is not set\n"
            "  start one with: autopipe ui\n"
            "  then: export PREFECT_API_URL=http://127.0.0.1:4200/api, here and for the workers"
        )
    else:
        with _own_server(meanwhile) as url, _talking_to(url):
            yield


def refuse_taken(host: str, *ports: int) -> None:
    """Refuses, with a SettingsError, to listen on a port that is in use."""
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise SettingsError(
                    f"cannot listen on port {port} of {host}: {error.strerror or error}\n"
                    "  is `autopipe ui` running already? for a second one: autopipe ui --port "
                    f"{ports[0] + 10}"
                ) from None


class Served(Record):
    """Addresses that `autopipe ui` serves, and who serves them."""

    api: str
    reports: str
    host: str
    process: str

    @classmethod
    def here(cls, api: str, reports: str) -> Served:
        """Served by this process."""
        return cls(api=api, reports=reports, host=socket.gethostname(), process=supervisor_token())


def note_served(served: Served) -> None:
    """Notes what is served for commands of the same workspace."""
    write_json(_note_of_server(), served)


def served_here() -> Served | None:
    """The addresses that `autopipe ui` serves for this workspace on this machine, if it runs.

    Two servers on one database would be in each other's way, so one that is starting is waited for.
    """
    try:
        served = read_record(_note_of_server(), Served)
    except (OSError, AutoPipeError):
        return None
    deadline, here = time.monotonic() + START_SECONDS, served.host == socket.gethostname()
    while here and is_alive(served.process) and time.monotonic() < deadline:
        if _answers(f"{served.api}/health"):
            return served
        time.sleep(POLL_SECONDS)
    return None


def _note_of_server() -> Path:
    return workspace() / ".prefect" / "served.json"


@contextmanager
def _talking_to(url: str) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        if before is not None:
            os.environ["PREFECT_API_URL"] = before


@contextmanager
def _own_server(meanwhile: Callable[[], object]) -> Iterator[str]:
    _refuse_full(workspace())
    process, url = _start(meanwhile)
    try:
        yield url
    except KeyboardInterrupt:  # its database is nobody's, and somebody waits
        process.kill()
        raise
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _refuse_full(folder: Path) -> None:
    """Refuses a full workspace: Prefect would try for a long time to write to its database."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < LEAST_BYTES:
        raise SettingsError(
            f"{free / 1e6:.0f} MB are free where {folder} lies; expected: {LEAST_BYTES / 1e6:.0f} "
            "MB for a run's records, and as much again as the weights of a few trials\n"
            "  make space there, or name another workspace: export AUTOPIPE_HOME=/a/folder/of/yours"
        )


def _start(meanwhile: Callable[[], object]) -> tuple[subprocess.Popen[bytes], str]:
    deadline = time.monotonic() + START_SECONDS
    process, url = _launch()
    try:
        meanwhile()
        while True:
            while process.poll() is None and time.monotonic() < deadline:
                if _answers(f"{url}/health"):
                    return process, url
                time.sleep(POLL_SECONDS)
            if process.poll() != PORT_TAKEN:
                break
            process, url = _launch()
    except BaseException:
        process.kill()
        raise
    process.kill()
    raise AutoPipeError(
        f"Prefect's temporary server did not start within {START_SECONDS:.0f} s "
        f"(exit code {process.wait()})\n"
        "  see why: autopipe ui; or name a server that runs in PREFECT_API_URL"
    )


def _launch() -> tuple[subprocess.Popen[bytes], str]:
    """Starts a server on a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    url = f"http://{LOOPBACK}:{port}/api"
    own = {
        "PREFECT_API_URL": url,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        SUPERVISOR_VARIABLE: supervisor_token(),
    }
    process = subprocess.Popen(
        serving_command(port),
        env=child_environment(own),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return process, url


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def serving_command(port: int, host: str = LOOPBACK) -> list[str]:
    """The program that serves Prefect's API and pages there, guarded, until it is told to end."""
    return [sys.executable, "-m", "flows.server.prefect", str(port), host]


def main(port: int, host: str) -> None:
    """Serves until it is told to end, or its parent is gone if the environment names one."""
    end_with_supervisor()
    # Prefect lets the pages of every site use its API unless it is told otherwise.
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{in_url(host)}:{port}"
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_SERVER_LOGGING_LEVEL

    uvicorn.run(
        OwnPagesOnly(create_app(final=True), host),
        host=host,
        port=port,
        log_level=PREFECT_SERVER_LOGGING_LEVEL.value().lower(),
        lifespan="on",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
