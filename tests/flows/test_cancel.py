"""However a run is ended, no training process is left ten seconds later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from deployments import try_it
from tests.flows.running import assert_gone, still_there, wait_for_training

pytestmark = pytest.mark.slow

# Long enough to be cancelled in the middle.
LONG = {
    **try_it.SETTINGS,
    "trials_on": "here",
    "schedule": {"total_steps": 4000, "eval_rows": 32},
    "budget": {"amount": 2, "unit": "trials"},
}


@pytest.fixture
def command(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`autopipe tune` of a long trial, in a group of its own, as a terminal would start it."""
    arguments = ["--model", "tiny-100k", "--steps", "4000", "--eval-rows", "32", "--budget", "2"]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "tune", *arguments, "--no-use-history"],
            env=os.environ | {"AUTOPIPE_HOME": str(tmp_path)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("to_group", [True, False], ids=["terminal", "process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_all_it_started(command, tmp_path, number, to_group):
    processes = wait_for_training(tmp_path)
    children = psutil.Process(command.pid).children(recursive=True)
    send = os.killpg if to_group else os.kill
    send(command.pid, number)
    took = assert_gone(processes, tmp_path)
    code = command.wait(timeout=30)
    assert code in (128 + number, -number)  # a shell shows either as 130 or 143
    assert not still_there(children)
    print(f"gone after {took:.1f} s")


def test_a_killed_command_leaves_nothing(command, tmp_path):
    processes = wait_for_training(tmp_path)
    children = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.wait()
    assert_gone(processes, tmp_path)
    assert not still_there(children)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with the deployments, in a workspace; its address is in the environment."""
    workspace = tmp_path_factory.mktemp("served")
    before = dict(os.environ)
    port = try_it.free_port()
    try_it.environment(workspace, port)
    with ExitStack() as running:
        running.enter_context(try_it.process(try_it.server_command(port), workspace / "server.log"))
        try_it.wait_for(f"http://127.0.0.1:{port}/api/health")
        subprocess.run(
            [sys.executable, "-m", "flows.cli", "deploy"], check=True, capture_output=True
        )
        yield workspace
    os.environ.clear()
    os.environ.update(before)


def flow_run(*arguments: str) -> str:
    """What the prefect command prints; it is the way of a user."""
    done = subprocess.run(
        [*try_it.prefect(), "--no-prompt", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("how", ["cancel", "worker"])
def test_a_flow_run_on_a_worker_is_ended(served: Path, how: str) -> None:
    import json

    worker = try_it.worker(f"w-{how}", "autopipe", served)
    with worker as process:
        parameters = json.dumps({"settings": LONG, "history": str(served / "history")})
        told = flow_run("deployment", "run", "tune/autopipe", "--params", parameters)
        id = next(word for word in told.replace("'", " ").split() if word.count("-") == 4)
        processes = wait_for_training(served)
        if how == "cancel":
            flow_run("flow-run", "cancel", id)
        else:
            process.send_signal(signal.SIGTERM)
        print(f"{how}: gone after {assert_gone(processes, served):.1f} s")
    for folder in (served / "runs").iterdir():
        for file in folder.rglob("events.jsonl"):
            file.unlink()
