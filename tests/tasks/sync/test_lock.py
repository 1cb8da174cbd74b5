"""One writer at a time, and a lock that its holder cannot take to the grave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.sync.lease import LEADER_FILE, Lease, current_leader
from tasks.sync.lock import Locked, locked, run_lock

HOLD = """
import sys, time
from pathlib import Path
from tasks.sync.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline().strip() == "held"
    return started


def test_a_second_process_is_told_who_holds_it_until_that_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = holder(run)
    try:
        with (
            pytest.raises(Locked, match=rf"run run is in use by process {other.pid} on "),
            run_lock(run),
        ):
            pass
        start = time.monotonic()
        with pytest.raises(Locked, match="try later"), locked(run, "it", "try later", 0.3):
            pass
        assert time.monotonic() - start >= 0.3
    finally:
        other.kill()
        other.wait()
    with run_lock(run):
        pass


def test_it_can_be_taken_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    with run_lock(tmp_path):
        pass


def test_a_run_that_was_refused_leaves_no_folder_and_one_with_content_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), run_lock(tmp_path / "run"):
        raise ValueError("refused")
    assert not (tmp_path / "run").exists()
    with run_lock(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
    assert (tmp_path / "run" / "run.json").exists()
    with run_lock(tmp_path / "run"):
        pass


RECORDS = ("run.json", "trials/[0-9]*")


def test_what_was_prepared_for_a_run_that_never_began_is_not_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def prepare() -> None:
        (run / "warm-up" / "small").mkdir(parents=True)
        (run / "warm-up" / "small" / "events.jsonl").touch()
        (run / "plan.json").touch()
        (run / "trials" / ".worker-a1").mkdir(parents=True)  # measures what trials cost

    with run_lock(run, records=RECORDS):
        prepare()
    assert not run.exists()
    with run_lock(run, records=RECORDS):
        prepare()
        (run / "run.json").touch()
    assert (run / "plan.json").exists()
    with run_lock(run):  # a run of another kind has other records
        pass
    assert (run / "plan.json").exists()


def test_who_ends_without_leaving_removes_what_never_began(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_lock(run, records=RECORDS) as tidy:
        (run / "features.csv").touch()
        tidy()
        assert not run.exists()
        run.mkdir()
        (run / "run.json").touch()
        tidy()
        assert (run / "run.json").exists()


def test_a_run_that_began_is_kept_whatever_is_removed_meanwhile(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_lock(run, records=RECORDS):
        (run / "trials" / "000").mkdir(parents=True)
        (run / "run.json").touch()
        (run / "run.json").unlink()
    assert (run / "trials" / "000").is_dir()
    (run / "run.json").touch()
    (run / "trials" / "000").rmdir()
    (run / "trials").rmdir()
    with run_lock(run, records=RECORDS):  # goes on, and loses what said that it is a run
        (run / "notes.txt").touch()
        (run / "run.json").unlink()
    assert (run / "notes.txt").exists()


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


@pytest.mark.parametrize("removed", [(".lock",), (".lock", ".lock.holder.json", LEADER_FILE)])
def test_without_its_lock_file_a_run_still_has_one_leader(
    tmp_path: Path, removed: tuple[str, ...]
) -> None:
    other = holder(tmp_path / "run")
    try:
        remove(tmp_path / "run", *removed)
        for _ in range(2):  # a refusal frees nothing
            with pytest.raises(Locked, match="run run is"), run_lock(tmp_path / "run"):
                pass
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(Locked), run_lock(tmp_path / "moved"):
            pass
    finally:
        other.kill()
        other.wait()
    start = time.monotonic()
    with run_lock(tmp_path / "moved"):
        assert time.monotonic() - start < 2.0  # one that was killed is not waited for


def test_a_leader_on_another_machine_is_seen_by_its_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock passes between the machines, and their clocks and process numbers differ."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr("tasks.sync.lease.machine_id", lambda: "another")
    with Lease(run, 0.2, LEADER_FILE):
        monkeypatch.setattr("tasks.sync.lease.machine_id", lambda: "this one")
        with pytest.raises(Locked, match=f"led by process {os.getpid()} on"), run_lock(run):
            pass
    with run_lock(run):
        pass


def test_a_leader_on_another_machine_that_was_killed_is_replaced_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sync.lock.current_leader", lambda run: current_leader(run, 1.0))
    content = {"beat": 3, "holder": "x", "machine": "another", "process": "1:1", "host": "tuner"}
    (tmp_path / LEADER_FILE).write_text(json.dumps(content))
    (tmp_path / "run.json").touch()
    start = time.monotonic()
    with run_lock(tmp_path):
        assert 0.5 < time.monotonic() - start < 10.0
        assert json.loads((tmp_path / LEADER_FILE).read_text())["holder"] != "x"
    assert not (tmp_path / LEADER_FILE).exists()
