"""SIGKILL at random moments, thirty times and more: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tasks.run_folder import RunFolder
from tests.flows.running import begin, outcome, printed, results, still_there, tune

pytestmark = pytest.mark.slow

KILLS = 30
# The early predictor needs signals: with these trials as its past, runs stop and continue trials.
BUDGET = ["--budget", "8", "--parallel", "2"]
LONGEST_SECONDS = 45.0  # of one life; an undisturbed run takes about twice as long


def again(home: Path, seed: int) -> subprocess.Popen[bytes]:
    """Begins the run of a seed, or goes on with it."""
    begun = sorted((home / "runs").glob(f"*-s{seed}-*/run.json"))
    if begun:
        history = str(home / "history")
        return begin(home, "tune", "--history", history, "--resume", begun[0].parent.name)
    return begin(home, *tune(home, *BUDGET, "--seed", str(seed)))


def outcome_of(home: Path, seed: int) -> tuple[object, ...]:
    """What the finished run of a seed proposed, scored and recommended."""
    [file] = (home / "runs").glob(f"*-s{seed}-*/summary.json")
    return outcome(RunFolder(file.parent))


def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    disturbed, quiet = tmp_path / "disturbed", tmp_path / "quiet"
    for home in (disturbed, quiet):
        home.mkdir()
    kills = during_trials = 0
    seed, finished = 0, []
    while kills < KILLS:
        process = again(disturbed, seed)
        try:
            process.wait(timeout=rng.uniform(2.0, LONGEST_SECONDS))
        except subprocess.TimeoutExpired:
            before = results(disturbed)
            children = psutil.Process(process.pid).children(recursive=True)
            during_trials += any("trials.worker" in " ".join(cmdline(c)) for c in children)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert not still_there(children)
            after = results(disturbed)
            # A trial may have ended between the two looks, and none that had may change.
            assert before.items() <= after.items()
        else:
            assert process.returncode == 0, printed(disturbed)[-3000:]
            finished.append(seed)
            seed += 1
    while not any(disturbed.glob(f"runs/*-s{seed}-*/summary.json")):
        assert again(disturbed, seed).wait() == 0, printed(disturbed)[-3000:]
    finished.append(seed)
    assert during_trials >= KILLS // 4
    for one in finished:
        assert again(quiet, one).wait() == 0
        assert outcome_of(disturbed, one) == outcome_of(quiet, one)
    print(f"{kills} kills, {during_trials} with trials running, {len(finished)} runs compared")


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_finished_trial_is_not_touched_by_any_later_life(tmp_path: Path) -> None:
    process = again(tmp_path, 3)
    deadline = time.monotonic() + 300
    while not results(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.wait()
    kept = results(tmp_path)
    assert kept
    assert again(tmp_path, 3).wait() == 0
    assert kept.items() <= results(tmp_path).items()
