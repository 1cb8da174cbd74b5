"""The real command in a workspace of a test: begun, waited for, looked into."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments import try_it
from tasks.runs.folder import RunFolder

# A real trial takes seconds with these.
TINY = ("--model", "tiny-100k", "--steps", "20", "--eval-rows", "32", "--test-rows", "32")
GONE_SECONDS = 10.0  # after which nothing that trains may be left


def begin(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`autopipe ...` in a workspace; what it prints is appended to log.txt there."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=os.environ | {"AUTOPIPE_HOME": str(home)} | dict(environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def tune(home: Path, *arguments: str) -> list[str]:
    """Arguments of a small run that learns from, and adds to, a history of its own."""
    return ["tune", *TINY, "--history", str(home / "history"), *arguments]


def printed(home: Path) -> str:
    """All that was printed so far."""
    return (home / "log.txt").read_text(encoding="utf-8", errors="replace")


def results(home: Path) -> dict[str, tuple[int, bytes]]:
    """Results on disk: when they were written, and what they say."""
    files = home.glob("runs/*/trials/*/result.json")
    return {str(f.relative_to(home)): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}


def wait_for_results(home: Path, count: int = 1, seconds: float = 300.0) -> None:
    """Until so many trials have ended."""
    deadline = time.monotonic() + seconds
    while len(results(home)) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"no {count} trials within {seconds:.0f} s:\n{printed(home)}")
        time.sleep(0.2)


def only_run(home: Path) -> RunFolder:
    """The run of a workspace that has one."""
    [folder] = (home / "runs").iterdir()
    return RunFolder(folder)


def outcome(run: RunFolder) -> tuple[object, ...]:
    """What a finished run proposed, scored and recommended."""
    summary = run.summary()
    assert summary is not None
    scores = {t.spec.trial_id: t.result and t.result.score for t in run.trials()}
    proposals = [(p.order, p.trial_id, p.fraction) for p in run.proposals()]
    best = summary.best.config, summary.best.validation, summary.best.test
    return proposals, scores, best


@contextmanager
def serving(port: int, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect server that answers, until the context is left."""
    server = subprocess.Popen(
        try_it.server_command(port),
        env=os.environ | dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        try_it.wait_for(f"http://127.0.0.1:{port}/api/health")
        yield server
    finally:
        server.terminate()
        server.wait(timeout=60)


def training(home: Path) -> list[psutil.Process]:
    """Training processes of a workspace: their inbox lies in it."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "trials.process.worker" in command and str(home) in command:
            found.append(process)
    return found


def wait_for_training(home: Path, seconds: float = 240.0) -> list[psutil.Process]:
    """The training processes, once a trial of the workspace makes steps."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events = home.rglob("trials/*/events.jsonl")
        if any('"metric"' in file.read_text() for file in events) and training(home):
            return training(home)
        time.sleep(0.2)
    raise AssertionError("no trial began")


def still_there(processes: list[psutil.Process]) -> list[list[str]]:
    """Commands of those that run ten seconds later; what nobody has collected yet does not run."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [process.cmdline() for process in left]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(processes: list[psutil.Process], home: Path) -> float:
    """Checks that they end, and no other takes their place; the seconds that it took."""
    start = time.monotonic()
    assert not still_there(processes)
    assert not training(home)
    return time.monotonic() - start
