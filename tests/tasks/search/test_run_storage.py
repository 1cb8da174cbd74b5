"""A run on shared storage: one leader, only what was decided, fetched whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.settings import TuneSettings
from tasks.monitoring.observers import CheckpointsRemoved, RunStarted, TrialFinished
from tasks.runs.folder import RunFolder
from tasks.search.naming import new_run_folder
from tasks.search.run_storage import RunUploader, open_run, view_run
from tasks.sync.lease import LEADER_FILE, Lease
from tasks.sync.store import Store, StoredFolder
from tests.tasks.conftest import MakeRun
from trials.io.errors import SettingsError
from trials.spec.records import Cost, Failure, TrialResult, TrialSpec, write_json

FETCH = """
import sys
from pathlib import Path
from tasks.search.run_storage import open_run
print("fetching", flush=True)
open_run(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    return Store((tmp_path / "storage").as_uri())


def result_of(spec: TrialSpec, kind: str | None = None) -> TrialResult:
    failure = Failure(kind=kind, message="gone", log_tail="") if kind else None
    state = "failed" if kind else "completed"
    return TrialResult(
        trial_id=spec.trial_id, state=state, fraction=1.0, cost=Cost(seconds=1), failure=failure
    )


def begun(make_run: MakeRun) -> tuple[RunFolder, TrialSpec]:
    """A run, and a trial of it that has no result yet."""
    run = make_run()
    spec = run.trials()[0].spec
    for name in ("result.json", "log.txt"):
        (Path(spec.folder) / name).unlink(missing_ok=True)
    (Path(spec.folder) / "log.txt").write_text("a secret, perhaps")
    return run, spec


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


@pytest.mark.parametrize("kind", ["killed", "disk_full"])
@pytest.mark.parametrize("whole", [True, False], ids=["here", "workers"])
def test_a_failure_that_may_be_tried_again_is_no_result_there(
    store: Store, make_run: MakeRun, kind: str, whole: bool
) -> None:
    run, spec = begun(make_run)
    file = Path(spec.folder) / "result.json"
    write_json(file, result_of(spec, kind))
    parts = run.run_id, "trials", spec.trial_id
    with RunUploader(run, store, whole) as kept:
        kept.notify(RunStarted(run.info()))
        wait_until(lambda: store.text(*parts, "spec.json") is not None)
        # Another attempt at it, whose result is told.
        file.rename(file.with_name("result.attempt-1.json"))
        kept.notify(RunStarted(run.info()))
        wait_until(lambda: store.text(*parts, "result.attempt-1.json") is not None)
        assert store.text(*parts, "result.json") is None
        assert store.text(*parts, "log.txt") is None
        write_json(file, result_of(spec, kind))
        kept.notify(TrialFinished(spec, result_of(spec, kind)))
        wait_until(lambda: store.text(*parts, "result.json") is not None)
    assert store.text(*parts, "result.json") == file.read_text()
    assert (store.text(*parts, "log.txt") is not None) == whole  # a worker sends its own


def test_a_trial_that_has_ended_is_kept_before_it_is_told(store: Store, make_run: MakeRun) -> None:
    run, spec = begun(make_run)
    write_json(Path(spec.folder) / "result.json", result_of(spec))
    with RunUploader(run, store, whole=True):
        pass
    assert store.text(run.run_id, "trials", spec.trial_id, "result.json") is not None


def test_a_checkpoint_that_was_removed_for_want_of_space_goes_there_too(
    store: Store, make_run: MakeRun
) -> None:
    run, spec = begun(make_run)
    checkpoint = Path(spec.folder) / "checkpoint" / "rl-000010"
    for place in (checkpoint, checkpoint.with_name("final")):
        place.mkdir(parents=True, exist_ok=True)
        (place / "weights").write_text("large")
    write_json(Path(spec.folder) / "result.json", result_of(spec))
    there = run.run_id, "trials", spec.trial_id, "checkpoint"
    with RunUploader(run, store, whole=True) as kept:
        kept.notify(RunStarted(run.info()))
        wait_until(lambda: store.text(*there, "rl-000010", "weights") == "large")
        shutil.rmtree(checkpoint)
        kept.notify(CheckpointsRemoved([checkpoint]))
    assert store.text(*there, "rl-000010", "weights") is None
    assert store.text(*there, "final", "weights") == "large"


def test_a_run_has_one_leader(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with RunUploader(run, store, whole=True):
        with pytest.raises(SettingsError, match="led by process"):
            RunUploader(run, Store(store.url), whole=True).__enter__()
        with pytest.raises(SettingsError, match="led by process"):
            open_run(f"{store.url}/{run.run_id}", tmp_path / "runs-of-another")
        assert not (tmp_path / "runs-of-another" / run.run_id).exists()
    fetched = open_run(f"{store.url}/{run.run_id}", tmp_path / "runs-of-another")
    assert len(fetched.trials()) == len(run.trials())
    assert not (fetched.path / LEADER_FILE).exists()


def test_a_run_that_is_led_can_be_looked_at(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    checkpoint = run.path / "trials" / "t000" / "checkpoint" / "final"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "weights").write_text("large")
    url, root = f"{store.url}/{run.run_id}", tmp_path / "runs-of-another"
    with RunUploader(run, store, whole=True) as kept:
        kept.notify(RunStarted(run.info()))
        wait_until(lambda: store.text(run.run_id, "run.json") is not None)
        seen = view_run(url, root)
        assert seen.info() == run.info()
    trials = len(run.trials())
    assert len(view_run(url, root).trials()) == trials
    assert not list(seen.path.rglob("weights"))
    assert not root.exists()
    assert view_run(run.run_id, run.path.parent).path == run.path
    with pytest.raises(SettingsError, match="no run\\.json there"):
        view_run(f"{store.url}/another", root)


def test_a_leader_that_was_killed_is_replaced(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    store.push(run.path, run.run_id)
    store.write('{"beat": 7, "holder": "x"}', run.run_id, LEADER_FILE)
    assert open_run(f"{store.url}/{run.run_id}", tmp_path / "there").run_id == run.run_id


def test_a_run_is_kept_where_it_was_fetched_from(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    info = run.info()
    settings = info.settings.model_copy(update={"store": "file:///where/it/was"})
    run.write_info(info.model_copy(update={"settings": settings}))
    store.push(run.path, run.run_id)
    fetched = open_run(f"{store.url}/{run.run_id}", tmp_path / "there").info()
    assert fetched.settings.store == store.url
    assert fetched.model_copy(update={"settings": settings}) == run.info()


def test_a_run_that_is_here_is_not_fetched_over(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    store.push(run.path, run.run_id)
    with pytest.raises(SettingsError, match="--resume"):
        open_run(f"{store.url}/{run.run_id}", run.path.parent)
    with pytest.raises(SettingsError, match="no run\\.json there"):
        open_run(f"{store.url}/another", tmp_path / "runs")
    assert not (tmp_path / "runs" / "another").exists()


def test_a_fetch_that_is_killed_leaves_nothing_that_is_taken_for_a_run(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    run, root = make_run(), tmp_path / "runs-here"
    # Enough that it can be killed in the middle.
    for number in range(3000):
        file = run.path / "trials" / "t000" / "checkpoint" / f"{number:04d}"
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    store.push(run.path, run.run_id)
    url = f"{store.url}/{run.run_id}"
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, url, str(root)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    draft = tmp_path / "home" / ".cache" / "autopipe" / "fetched" / run.run_id / "run"
    wait_until(lambda: len(list(draft.glob("trials/t000/checkpoint/*"))) > 10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / run.run_id).exists()
    # What the fetch left may be outdated by then.
    (draft / "ledger.json").write_text("of another day")
    fetched = open_run(url, root)
    assert len(list(fetched.path.glob("trials/t000/checkpoint/*"))) == 3000
    assert not (fetched.path / "ledger.json").exists()


def test_storage_that_is_away_does_not_end_a_run(
    store: Store, make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, spec = begun(make_run)
    with RunUploader(run, store, whole=True) as kept:
        kept.notify(RunStarted(run.info()))
        wait_until(lambda: store.text(run.run_id, "run.json") is not None)
        (tmp_path / "storage").rename(tmp_path / "away")
        (tmp_path / "storage").write_text("no folder")
        write_json(Path(spec.folder) / "result.json", result_of(spec))
        kept.notify(TrialFinished(spec, result_of(spec)))
        wait_until(lambda: "what is missing there is sent" in caplog.text)
        (tmp_path / "storage").unlink()
        (tmp_path / "away").rename(tmp_path / "storage")
    assert store.text(run.run_id, "trials", spec.trial_id, "result.json") is not None


def test_names_on_shared_storage_are_of_one_machine(store: Store) -> None:
    settings = TuneSettings(dataset="gcd", model="tiny-1m", store=store.url)
    names = {new_run_folder(settings).name for _ in range(3)}
    assert {name.rpartition("-")[0] for name in names} == {"gcd-tiny-1m-s0-001"}
    assert len(names) == 3
    local = settings.model_copy(update={"store": None})
    assert new_run_folder(local).name == "gcd-tiny-1m-s0-001"


def test_a_lease_survives_storage_that_is_away(store: Store, tmp_path: Path) -> None:
    with Lease(StoredFolder(store, "run"), 0.1, LEADER_FILE):
        (tmp_path / "storage").rename(tmp_path / "away")
        (tmp_path / "storage").write_text("no folder")
        threading.Event().wait(0.5)
