"""Whoever works for a run on another machine learns within seconds that its leader is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tasks.lease import LEADER_FILE, Lease, LeaseWatch, is_led
from tasks.store import Store, Stored

LEAD = """
import sys, time
from pathlib import Path
from tasks.lease import Lease
with Lease(Path(sys.argv[1]), 0.2):
    print("leading", flush=True)
    time.sleep(600)
"""


def lost_within(seconds: float, folder: Path, lost_seconds: float = 1.5) -> bool:
    lost = threading.Event()
    with LeaseWatch(folder, lost.set, lost_seconds):
        return lost.wait(seconds)


def test_while_it_beats_it_is_not_lost(tmp_path: Path) -> None:
    with Lease(tmp_path, 0.2):
        assert not lost_within(3.0, tmp_path)


def test_a_leader_that_ends_is_noticed_at_once(tmp_path: Path) -> None:
    lost = threading.Event()
    with LeaseWatch(tmp_path, lost.set, 600.0):
        with Lease(tmp_path, 0.2):
            assert not lost.wait(1.5)
        assert lost.wait(3.0)


def test_a_killed_leader_is_noticed(tmp_path: Path) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEAD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    assert leader.stdout.readline().strip() == "leading"
    lost = threading.Event()
    with LeaseWatch(tmp_path, lost.set, 1.5):
        assert not lost.wait(2.0)
        leader.kill()
        leader.wait()
        start = time.monotonic()
        assert lost.wait(10.0)
        assert time.monotonic() - start < 4.0


def test_another_leader_is_no_leader_of_this_trial(tmp_path: Path) -> None:
    lost = threading.Event()
    first = Lease(tmp_path, 600.0)
    with LeaseWatch(tmp_path, lost.set, 600.0), first:
        assert not lost.wait(1.5)
        with Lease(tmp_path, 0.2):
            assert lost.wait(3.0)


def test_a_run_that_nobody_leads_is_lost(tmp_path: Path) -> None:
    assert lost_within(5.0, tmp_path)


def test_the_watch_may_be_left_from_its_own_call(tmp_path: Path) -> None:
    left = threading.Event()
    watch = LeaseWatch(tmp_path, lambda: (watch.__exit__(None, None, None), left.set()), 0.5)
    with watch:
        assert left.wait(5.0)


def test_a_stored_run_is_led_while_its_leader_beats(tmp_path: Path) -> None:
    run = Stored(Store(tmp_path.as_uri()), "run")
    assert not is_led(run, 1.5)
    with Lease(run, 0.2, LEADER_FILE):
        assert is_led(run, 1.5)
    assert not is_led(run, 1.5)
    # As a leader leaves it that was killed: it stands still.
    run.store.write('{"beat": 7, "holder": "x"}', "run", LEADER_FILE)
    start = time.monotonic()
    assert not is_led(run, 1.5)
    assert time.monotonic() - start >= 1.5


def test_a_lease_on_storage_is_watched_there(tmp_path: Path) -> None:
    run, lost = Stored(Store(tmp_path.as_uri()), "run"), threading.Event()
    with LeaseWatch(run, lost.set, 600.0):
        with Lease(run, 0.2):
            assert not lost.wait(1.5)
        assert lost.wait(3.0)
