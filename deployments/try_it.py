"""The whole way on one machine: a server, three workers, a tune run through the API, its checks.

    python deployments/try_it.py            # about five minutes on two cores; leaves nothing behind
    python deployments/try_it.py --keep DIR # keeps the workspace, to look at
    python deployments/try_it.py --pictures docs/images   # of the pages, with an installed Chromium

One worker leads the run; two others, each one trial at a time, run its trials. Checked are the
final state, that both ran trials, the artifacts on the page of the run, and that all processes end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "dataset": "gcd",
    "model": "tiny-100k",
    "budget": {"amount": 4, "unit": "trials"},
    "parallel": 2,
    "schedule": {"total_steps": 20, "eval_rows": 32},
    "test_rows": 32,
    "use_history": False,
    "trials_on": "workers",
}
START_SECONDS, RUN_SECONDS = 120.0, 900.0
ARTIFACTS = {"budget", "trials", "recommendation", "report"}


def main() -> int:
    """Reads the options, checks, and tidies up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for the workspace; default: a temporary")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the pages")
    options = parser.parse_args()
    kept: Path | None = options.keep
    workspace = kept or Path(tempfile.mkdtemp(prefix="autopipe-try-"))
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        check(workspace.resolve(), options.pictures)
    finally:
        if kept is None:
            shutil.rmtree(workspace, ignore_errors=True)
    print("all checks passed")
    return 0


def check(workspace: Path, pictures: Path | None = None) -> None:
    """Starts everything, runs, checks; raises AssertionError with what was found instead."""
    port = free_port()
    environment(workspace, port)
    with ExitStack() as running:
        running.enter_context(process(server_command(port), workspace / "server.log"))
        wait_for(f"http://127.0.0.1:{port}/api/health")
        print(f"server on port {port}")
        # Prefect reads its settings when it is imported, so only now.
        sys.path.insert(0, str(ROOT))
        from tasks.operations.deploy import deploy

        deploy()
        print("deployed")
        running.enter_context(worker("lead", "autopipe", workspace))
        for name in ("one", "two"):
            running.enter_context(worker(name, "autopipe-trials", workspace, "--limit", "1"))
        run = start_run(workspace)
        print(f"flow run {run.name} started")
        check_run(wait_for_run(run.id), workspace)
        if pictures is not None:
            take_pictures(run.id, f"http://127.0.0.1:{port}", workspace, pictures)
    print("server and workers ended")


def environment(workspace: Path, port: int) -> None:
    """Sets the environment of this process and all that it starts."""
    os.environ |= {
        "AUTOPIPE_HOME": str(workspace),
        "PREFECT_HOME": str(workspace / ".prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "AUTOPIPE_REPORTS_URL": f"http://127.0.0.1:{port + 1}",
        "PREFECT_LOGGING_LEVEL": "INFO",  # who runs a trial is read from its log
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
    }


def server_command(port: int) -> list[str]:
    """The server of pages, API and reports, on the loopback interface only."""
    return [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)]


def prefect() -> list[str]:
    """The command of this environment."""
    return [sys.executable, "-m", "prefect"]


def worker(name: str, pool: str, workspace: Path, *options: str) -> Any:
    """A process worker of a pool, until the context is left."""
    command = [*prefect(), "worker", "start", "--pool", pool, "--name", name, *options]
    return process(command, workspace / f"worker-{name}.log")


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a group of its own; asked to end, then made to."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A worker that inherits an ignored SIGINT ignores the first request to stop.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def start_run(workspace: Path) -> Any:
    """A tune run through the API, as the form on the page would start it."""
    from prefect.deployments import run_deployment

    parameters = {"settings": SETTINGS, "history": str(workspace / "history")}
    return run_deployment("tune/autopipe", parameters=parameters, timeout=0, as_subflow=False)


def wait_for_run(id: UUID) -> Any:
    """The flow run once it has ended."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deadline, shown = time.monotonic() + RUN_SECONDS, ""
        while time.monotonic() < deadline:
            run = client.read_flow_run(id)
            if run.state is not None and run.state.name != shown:
                shown = run.state.name
                print(f"  {shown}")
            if run.state is not None and run.state.is_final():
                return run
            time.sleep(2)
    raise AssertionError(f"the run did not end within {RUN_SECONDS:.0f} s")


def check_run(run: Any, workspace: Path) -> None:
    """State, trials, workers, artifacts."""
    assert run.state.is_completed(), f"expected Completed, found {run.state!r}"
    print(f"flow run {run.name!r} completed")
    [folder] = (workspace / "runs").glob("*/summary.json")
    trials = list(folder.parent.glob("trials/*/result.json"))
    assert len(trials) == 4, f"expected 4 trials, found {len(trials)}"
    workers = workers_of_trials()
    assert workers == {"one", "two"}, f"expected trials of both workers, found {workers}"
    print(f"{len(trials)} trials, run by workers {', '.join(sorted(workers))}")
    report = f"{os.environ['AUTOPIPE_REPORTS_URL']}/{folder.parent.name}/report.html"
    with urllib.request.urlopen(report, timeout=10) as answer:
        assert folder.parent.name in answer.read().decode(), f"no report at {report}"
    names = {key.rpartition("-")[2] for key in artifacts_of(run.id)}
    assert names == ARTIFACTS, f"expected the artifacts {ARTIFACTS}, found {names}"
    print(f"artifacts: {', '.join(sorted(names))}")


def workers_of_trials() -> set[str]:
    """Names of the workers that the logs of the flow runs named "trial" speak of."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, LogFilter

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["trial"])))
        ids = [run.id for run in runs]
        logs = client.read_logs(LogFilter(flow_run_id={"any_": ids}), limit=200)
    names = ("one", "two", "lead")
    return {name for name in names for log in logs if f"Worker '{name}'" in log.message}


def artifacts_of(id: UUID) -> dict[str, UUID]:
    """Key -> id of the artifacts of a flow run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[id]))
        )
    return {str(artifact.key): artifact.id for artifact in found}


def take_pictures(id: UUID, pages: str, workspace: Path, folder: Path) -> None:
    """The run and its recommendation on Prefect's pages, and its report, in a real browser."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))
    browser = next(filter(None, found), None)
    assert browser is not None, "no Chromium or Chrome is installed"
    [shown] = [to for key, to in artifacts_of(id).items() if key.endswith("-recommendation")]
    [report] = (workspace / "runs").glob("*/report.html")
    for name, url in (
        ("ui-run", f"{pages}/runs/flow-run/{id}"),
        ("ui-recommendation", f"{pages}/artifacts/artifact/{shown}"),
        ("ui-report", f"{os.environ['AUTOPIPE_REPORTS_URL']}/{report.parent.name}/report.html"),
    ):
        target = folder.resolve() / f"{name}.png"
        subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update",
                "--virtual-time-budget=20000", "--window-size=1280,900",
                f"--screenshot={target}", url,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        print(f"picture: {target}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    """Until the address answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {url} within {START_SECONDS:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
