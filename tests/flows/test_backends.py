"""Wherever trials run, a run proposes and scores the same; and nothing of it is lost or left."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deployments import try_it
from tasks.runs.folder import RunFolder
from tests.flows.running import (
    assert_gone,
    begin,
    only_run,
    outcome,
    printed,
    results,
    serving,
    training,
    tune,
    wait_for_training,
)
from trials.spec.records import TrialResult, read_record

pytestmark = pytest.mark.slow
# One thread a trial, wherever it runs: sums of floats depend on their number.
SMALL = ("--budget", "3", "--parallel", "2", "--threads", "1", "--no-use-history")
LONG = ("--model", "tiny-100k", "--steps", "4000", "--eval-rows", "32", "--no-use-history")
RUN_SECONDS = 400


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """What came of the run whose trials were processes of this machine."""
    home = tmp_path_factory.mktemp("here")
    assert begin(home, *tune(home, *SMALL)).wait(timeout=RUN_SECONDS) == 0, printed(home)
    return outcome(only_run(home))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with the deployments; the environment of whoever talks to it."""
    home, port = tmp_path_factory.mktemp("server"), try_it.free_port()
    environment = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PYTHONPATH": str(try_it.ROOT),
    }
    with serving(port, environment):
        assert begin(home, "deploy", environment=environment).wait(timeout=120) == 0, printed(home)
        yield environment


@contextmanager
def worker(home: Path, environment: dict[str, str], limit: int = 2) -> Iterator[None]:
    """A worker of the pool for trials, with a workspace of its own."""
    home.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.update(environment | {"AUTOPIPE_HOME": str(home)})
    with ExitStack() as started:
        try:
            options = ("--limit", str(limit))
            started.enter_context(try_it.worker("w", "autopipe-trials", home, *options))
        finally:
            os.environ.clear()
            os.environ.update(before)
        yield


def test_on_dask(tmp_path: Path, here: tuple[object, ...]) -> None:
    arguments = tune(tmp_path, *SMALL, "--trials-on", "dask")
    assert begin(tmp_path, *arguments).wait(timeout=RUN_SECONDS) == 0, printed(tmp_path)
    assert outcome(only_run(tmp_path)) == here


def test_on_a_worker_that_shares_nothing_but_storage(
    tmp_path: Path, here: tuple[object, ...], server: dict[str, str]
) -> None:
    lead, other, storage = tmp_path / "lead", tmp_path / "other", tmp_path / "storage"
    arguments = tune(lead, *SMALL, "--trials-on", "workers", "--store", storage.as_uri())
    with worker(other, server):
        leader = begin(lead, *arguments, environment=server)
        kill_one(other)
        assert leader.wait(timeout=RUN_SECONDS) == 0, printed(lead)
    run = only_run(lead)
    assert outcome(run) == here
    # The attempt that was killed is kept, and did not count as the trial's result.
    [killed] = run.path.glob("trials/*/result.attempt-1.json")
    assert read_record(killed, TrialResult).failure is not None
    again = read_record(killed.with_name("result.json"), TrialResult)
    assert again.state == "completed" or again.stop is not None
    # All of it is on the storage, as the leader has it; and nobody trained where it led.
    kept = RunFolder(storage / run.run_id)
    assert outcome(kept) == here
    assert [trial.result for trial in kept.trials()] == [trial.result for trial in run.trials()]
    assert not list((other / "runs").glob("*"))


def kill_one(home: Path, seconds: float = 240.0) -> None:
    """Kills the first training process of a workspace."""
    deadline = time.monotonic() + seconds
    while not (found := training(home)):
        assert time.monotonic() < deadline, "no trial began"
        time.sleep(0.1)
    found[0].kill()


def test_a_stored_run_goes_on_where_its_folder_is_lost(tmp_path: Path) -> None:
    home, storage = tmp_path / "home", tmp_path / "storage"
    arguments = ("--budget", "4", "--parallel", "1", "--no-use-history")
    process = begin(home, *tune(home, *arguments, "--store", storage.as_uri()))
    deadline = time.monotonic() + RUN_SECONDS
    while len(finished := list(storage.glob("*/trials/*/result.json"))) < 2:
        assert time.monotonic() < deadline, printed(home)
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {file.parent.name: file.read_bytes() for file in finished}
    shutil.rmtree(home / "runs")
    [run] = [folder for folder in storage.iterdir() if (folder / "run.json").exists()]
    resumed = begin(home, "tune", "--resume", run.as_uri())
    assert resumed.wait(timeout=RUN_SECONDS) == 0, printed(home)
    after = {Path(name).parent.name: content for name, (_, content) in results(home).items()}
    assert kept.items() <= after.items()  # their seconds, too: none was run again
    assert len(after) == 4
    summary = RunFolder(run).summary()
    assert summary is not None
    assert summary == only_run(home).summary()


@pytest.mark.parametrize("stored", [False, True], ids=["shared", "stored"])
def test_cancelled_it_leaves_nothing_on_workers(
    tmp_path: Path, server: dict[str, str], stored: bool
) -> None:
    lead = tmp_path / "lead"
    other = tmp_path / "other" if stored else lead
    store = ("--store", (tmp_path / "storage").as_uri()) if stored else ()
    with worker(other, server):
        arguments = ("--budget", "2", "--trials-on", "workers", "--parallel", "2", *store)
        leader = begin(lead, "tune", *LONG, *arguments, environment=server)
        processes = wait_for_training(other)
        leader.terminate()
        took = assert_gone(processes, tmp_path)
        code = leader.wait(timeout=60)
        assert code in (128 + signal.SIGTERM, -signal.SIGTERM), printed(lead)
    print(f"gone after {took:.1f} s")
    assert not list(only_run(lead).path.glob("trials/*/result.json"))
