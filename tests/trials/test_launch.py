"""The supervisor is what is tested here: tiny programs stand in for the trials it supervises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.trials.helpers import ROOT, make_spec
from trials.errors import SettingsError
from trials.launch import Cancelled, Launcher, Supervisor, log_tail
from trials.records import Limits, TrialResult, TrialSpec, read_record
from trials.watchdog import SUPERVISOR_VARIABLE

# Writes the result of every spec, as the trial program does, unless the spec's seed says to fail.
PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
from trials.events import EventLog
from trials.records import TrialResult, TrialSpec, read_record, write_json

for file in sys.argv[1:]:
    spec = read_record(Path(file), TrialSpec)
    log = EventLog(Path(spec.folder) / "events.jsonl")
    log.write("phase", phase="loading")
    print("running", spec.trial_id, flush=True)
    if spec.seed == 1:
        sys.exit("no luck today")
    if spec.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == 3:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
    if spec.seed == 4:  # hangs, deaf to SIGTERM, and so does its child
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
        time.sleep(600)
    if spec.seed == 5:  # says something now and then, for ever
        while True:
            log.write("metric", stage="sft", step=1, values={"loss": 1.0})
            time.sleep(0.2)
    if spec.seed == 6:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                                 start_new_session=True)
        print("child", child.pid, flush=True)
        time.sleep(600)
    write_json(Path(spec.folder) / "result.json",
               TrialResult(trial_id=spec.trial_id, state="completed", fraction=1.0, score=0.5))
"""


@dataclass(frozen=True)
class DirectLauncher(Launcher):
    """Runs a program without the seconds that Accelerate's own start-up takes."""

    program: str = PROGRAM

    def command(self, module: str, files: Sequence[Path]) -> list[str]:
        return [sys.executable, "-c", self.program, *map(str, files)]


Specs = Callable[..., list[TrialSpec]]


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.launch.TERMINATE_GRACE_SECONDS", 0.5)


@pytest.fixture
def specs(tmp_path: Path, dataset_folder: Path) -> Specs:
    """Specs whose seeds choose how the program ends; see PROGRAM."""

    def build(*seeds: int, **changes: object) -> list[TrialSpec]:
        return [
            make_spec(tmp_path / f"t{number}", dataset_folder, seed=seed, **changes)
            for number, seed in enumerate(seeds)
        ]

    return build


def supervise(specs: list[TrialSpec]) -> list[TrialResult]:
    return Supervisor(DirectLauncher()).run_all(specs)


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def wait_for_child(log: Path, within: float = 30) -> int:
    """Process id that the program printed after the word ``child``."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for line in log_tail(log).splitlines():
            if line.startswith("child "):
                return int(line.split()[1])
        time.sleep(0.05)
    raise AssertionError(f"no child within {within} s: {log_tail(log)}")


# Command and environment


def test_the_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    left_over = ["ACCELERATE_USE_FSDP", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE"]
    left_over += ["LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID"]
    for name in left_over:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setenv("HF_HOME", "/kept")
    environment = Launcher(threads=3, devices="0,1").environment()
    assert not set(left_over) & environment.keys()
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert environment["HF_HOME"] == "/kept"
    assert environment[SUPERVISOR_VARIABLE].startswith(f"{os.getpid()}:")


def test_all_devices_are_visible_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in Launcher().environment()


def test_the_command_line(tmp_path: Path) -> None:
    one = Launcher().command("trials.run", [tmp_path / "spec.json"])
    assert one[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert one[-3:] == ["-m", "trials.run", str(tmp_path / "spec.json")]
    assert "--multi_gpu" not in one
    assert "--multi_gpu" in Launcher(processes=2).command("trials.run", [])
    configured = Launcher(config_file=Path("eight.yaml"), processes=2).command("trials.run", [])
    assert configured[3:5] == ["--config_file", "eight.yaml"]
    assert "--num_processes" not in configured


# How trials end


def test_every_end_has_a_result_and_the_rest_are_run(specs: Specs) -> None:
    """Exit code, signal and memory, with good trials before, between and after."""
    all_specs = specs(0, 1, 0, 2, 3, 0)
    results = supervise(all_specs)
    assert [result.trial_id for result in results] == [spec.trial_id for spec in all_specs]
    assert [result.failure.kind if result.failure else result.state for result in results] == [
        *("completed", "crashed", "completed", "crashed", "out_of_memory", "completed")
    ]
    exited, killed, memory = (result.failure for result in results if result.failure)
    assert "code 1" in exited.message
    assert "no luck today" in exited.log_tail
    assert "SIGKILL" in killed.message
    assert "CUDA out of memory" in memory.log_tail
    for spec, result in zip(all_specs, results, strict=True):
        assert read_record(Path(spec.folder) / "result.json", TrialResult) == result
        if result.state == "failed":
            assert result.score is None
            assert result.cost.seconds > 0
            assert result.provenance is not None


def test_the_log_of_an_earlier_trial_is_not_held_against_a_later_one(specs: Specs) -> None:
    good, bad = specs(0, 1)
    Path(good.folder).mkdir(parents=True)
    (Path(good.folder) / "log.txt").write_text("RuntimeError: CUDA out of memory\n")
    failed = supervise([good, bad])[1].failure
    assert failed is not None
    assert failed.kind == "crashed"


def test_a_silent_trial_is_ended_with_all_it_started(specs: Specs) -> None:
    """Even one that ignores SIGTERM."""
    [spec] = specs(4, limits=Limits(silent_seconds=2))
    [result] = supervise([spec])
    assert result.failure is not None
    assert result.failure.kind == "timed_out"
    assert "no event for" in result.failure.message
    assert gone(wait_for_child(Path(spec.folder) / "log.txt"), within=1)


def test_a_trial_that_outlives_its_limit_is_ended(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.launch.WALL_GRACE_SECONDS", 1.0)
    [result] = supervise(specs(5, limits=Limits(wall_seconds=1, silent_seconds=60)))
    assert result.failure is not None
    assert result.failure.kind == "timed_out"
    assert "after its limit" in result.failure.message
    assert 2 <= result.cost.seconds < 10


@pytest.mark.parametrize("seed", [4, 6])
def test_cancel_leaves_no_process_and_no_result(specs: Specs, seed: int) -> None:
    """Seed 6 starts a child in a session of its own, as a distributed launcher does."""
    [spec] = specs(seed)
    supervisor = Supervisor(DirectLauncher())
    children: list[int] = []

    def cancel_when_started() -> None:
        children.append(wait_for_child(Path(spec.folder) / "log.txt"))
        supervisor.cancel.set()

    thread = threading.Thread(target=cancel_when_started)
    thread.start()
    with pytest.raises(Cancelled, match=spec.trial_id):
        supervisor.run(spec)
    thread.join()
    assert gone(children[0], within=1)
    assert not psutil.Process().children(recursive=True)
    assert not (Path(spec.folder) / "result.json").exists()


def test_results_are_not_computed_twice(specs: Specs) -> None:
    before = supervise(specs(0, 1))
    again = Supervisor(DirectLauncher(program="raise SystemExit('must not run')"))
    assert again.run_all(specs(0, 1)) == before


def test_events_are_passed_on_as_they_happen(specs: Specs) -> None:
    seen: list[tuple[str, str]] = []
    supervisor = Supervisor(
        DirectLauncher(), on_event=lambda spec, event: seen.append((spec.trial_id, event["kind"]))
    )
    supervisor.run_all(specs(0, 0))
    assert seen == [("t0", "phase"), ("t1", "phase")]


def test_a_folder_of_another_trial_is_refused(specs: Specs, tmp_path: Path) -> None:
    supervise(specs(0))
    with pytest.raises(SettingsError, match="other settings"):
        supervise(specs(9))
    assert read_record(tmp_path / "t0" / "spec.json", TrialSpec).seed == 0


def test_an_unset_value_is_the_same_trial_again(specs: Specs) -> None:
    [first] = specs(0)
    unset = first.model_copy(update={"config": {**first.config, "lora_rank": float("nan")}})
    assert supervise([unset]) == supervise([unset])


# What happens without a supervisor

WATCHED = """
import subprocess, sys, time
from trials.watchdog import end_with_supervisor
end_with_supervisor()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""
SUPERVISING = """
import sys
from pathlib import Path
from tests.trials.test_launch import WATCHED, DirectLauncher
launcher = DirectLauncher(program=WATCHED)
process = launcher.start("unused", [], Path(sys.argv[1]))
print(process.pid, flush=True)
process.wait()
"""


def test_a_killed_supervisor_takes_its_trials_along(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, str(tmp_path / "log.txt")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    trial = int(supervisor.stdout.readline())
    grandchild = wait_for_child(tmp_path / "log.txt")
    assert psutil.pid_exists(trial)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    assert gone(trial, within=3)
    assert gone(grandchild, within=1)


LAUNCHER_BETWEEN = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print("worker", child.pid, flush=True)
child.wait()
"""


def test_a_killed_launcher_takes_its_workers_along(tmp_path: Path) -> None:
    """The supervisor lives on, but the worker's session is out of reach of the group's signals."""
    log = tmp_path / "log.txt"
    process = DirectLauncher(program=LAUNCHER_BETWEEN).start("unused", [Path(WATCHED)], log)
    grandchild = wait_for_child(log)
    worker = int(log.read_text().split()[1])
    process.kill()
    process.wait()
    assert gone(worker, within=3)
    assert gone(grandchild, within=1)
