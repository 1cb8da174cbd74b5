"""SIGKILL at random moments, thirty times and more: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tasks.runs.folder import RunFolder
from tests.flows.running import begin, outcome, printed, results, still_there, tune

pytestmark = pytest.mark.slow

KILLS = 30
# The early predictor needs signals: with these trials as its past, runs stop and continue trials.
BUDGET = ["--budget", "8", "--parallel", "2"]
LONGEST_SECONDS = 45.0  # of one life; an undisturbed run takes somewhat longer
TRIALS_SECONDS = 8.0  # a part of that, and the part in which most can be lost


def again(home: Path, seed: int) -> subprocess.Popen[bytes]:
    """Begins the run of a seed, or goes on with it."""
    begun = sorted((home / "runs").glob(f"*-s{seed}-*/run.json"))
    if begun:
        return begin(home, "tune", "--resume", begun[0].parent.name)
    return begin(home, *tune(home, *BUDGET, "--seed", str(seed)))


def of_seed(home: Path, seed: int) -> RunFolder:
    """The finished run of a seed."""
    [file] = (home / "runs").glob(f"*-s{seed}-*/summary.json")
    return RunFolder(file.parent)


def undisturbed(home: Path, like: RunFolder, seed: int) -> RunFolder:
    """The same run without a kill, on the very history: another one would hold other seconds."""
    (home / "history").mkdir(parents=True)
    for file in like.info().history.files:
        shutil.copy(file, home / "history")
    assert again(home, seed).wait() == 0, printed(home)[-3000:]
    return of_seed(home, seed)


def end_at(process: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Waits for the moment of a kill: half of them at any time, half while trials are run.

    Raises:
        subprocess.TimeoutExpired: it has come, and the run has not ended by itself.
    """
    if rng.random() < 0.5:
        process.wait(timeout=rng.uniform(2.0, LONGEST_SECONDS))
        return
    while process.poll() is None and not trains(children_of(process)):
        time.sleep(0.1)
    process.wait(timeout=rng.uniform(0.0, TRIALS_SECONDS))


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def trains(processes: list[psutil.Process]) -> bool:
    return any("trials.process.worker" in " ".join(cmdline(one)) for one in processes)


def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    disturbed = tmp_path / "disturbed"
    kills = during_trials = 0
    seed, finished = 0, []
    while kills < KILLS:
        process = again(disturbed, seed)
        try:
            end_at(process, rng)
        except subprocess.TimeoutExpired:
            before = results(disturbed)
            children = children_of(process)
            during_trials += trains(children)
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
        killed = of_seed(disturbed, one)
        assert outcome(killed) == outcome(undisturbed(tmp_path / f"quiet-{one}", killed, one))
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
