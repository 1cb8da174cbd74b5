"""Launching: the command line, its environment, and the end of what a launcher left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.trials.helpers import ROOT, DirectLauncher, gone, wait_for_child
from trials.io.watchdog import SUPERVISOR_VARIABLE
from trials.process.launch import Launcher

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
    one = Launcher().command("trials.training.run", [tmp_path / "spec.json"])
    assert one[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert one[-3:] == ["-m", "trials.training.run", str(tmp_path / "spec.json")]
    assert "--multi_gpu" not in one
    assert "--multi_gpu" in Launcher(processes=2).command("trials.training.run", [])
    configured = Launcher(config_file=Path("eight.yaml"), processes=2).command(
        "trials.training.run", []
    )
    assert configured[3:5] == ["--config_file", "eight.yaml"]
    assert "--num_processes" not in configured


# What the home of whoever runs it says of other programs

SEEN = """
import json, os, sys
from accelerate import PartialState
state = PartialState()
told = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("ACCELERATE_", "FSDP_", "PARALLELISM_CONFIG_"))
}
told |= {"processes": state.num_processes, "kind": str(state.distributed_type)}
open(sys.argv[1], "w").write(json.dumps(told))
"""
DEFAULT_CONFIGS = {
    "fsdp": "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2, fsdp_offload_params: true}\n",
    "precision": "distributed_type: 'NO'\nmixed_precision: fp16\n"
    "dynamo_config: {dynamo_backend: INDUCTOR}\n",
    "broken": "distributed_type: [",
}


# A file that cannot be parsed shows most: whoever opens it fails.
@pytest.mark.parametrize(
    "kind",
    ["broken", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("fsdp", "precision"))],
)
def test_the_users_own_accelerate_config_is_not_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "home" / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    file.parent.mkdir(parents=True)
    common = "compute_environment: LOCAL_MACHINE\nnum_processes: 3\nnum_machines: 1\n"
    file.write_text(common + DEFAULT_CONFIGS[kind])
    (tmp_path / "seen.py").write_text(SEEN)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ACCELERATE_MIXED_PRECISION", "FSDP_VERSION", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "log.txt"
    process = Launcher().start("seen", [tmp_path / "seen.json"], log)
    assert process.wait() == 0, log.read_text()
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen.pop("processes") == 1
    assert seen.pop("kind") == "DistributedType.NO"
    assert seen.pop("ACCELERATE_MIXED_PRECISION") == "no"
    assert seen.pop("ACCELERATE_DYNAMO_BACKEND").lower() == "no"
    assert not [name for name, value in seen.items() if value.lower() in ("true", "2", "3")], seen


# Whose code is imported

SHADOWS = ("autopipe", "flows", "tasks", "trials", "surrogates", "random", "yaml", "accelerate")
IMPORTS = """
import sys
import random, yaml, trials.spec.records, trials.io.imports
try:
    trials.io.imports.user_module("tasks")
except ImportError as error:
    print(error)
print(trials.io.imports.user_module("my_reward").score)
"""


@pytest.mark.parametrize(
    "path", [":", *(pytest.param(path, marks=pytest.mark.slow) for path in ("", "."))]
)
def test_files_in_the_current_folder_shadow_nothing_in_a_trial(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, programs = tmp_path / "project", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    # With "." in PYTHONPATH ours still come first; a library's names are then the user's own doing.
    for name in SHADOWS[:5] if path == "." else SHADOWS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was run')\n")
    (folder / "my_reward.py").write_text("import my_words\nscore = len(my_words.WORDS)\n")
    (folder / "my_words.py").write_text("WORDS = ['one', 'two']\n")
    (programs / "imports_of_a_trial.py").write_text(IMPORTS)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f"{programs}:{path}")
    log = tmp_path / "log.txt"
    assert Launcher().start("imports_of_a_trial", [], log).wait() == 0, log.read_text()
    assert log.read_text().splitlines()[-2:] == [
        "tasks is a package of AutoPipe's own; give yours another name",
        "2",
    ]


# What happens without a supervisor

WATCHED = """
import subprocess, sys, time
from trials.io.watchdog import end_with_supervisor
end_with_supervisor()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""
SUPERVISING = """
import sys
from pathlib import Path
from tests.trials.helpers import DirectLauncher
from tests.trials.process.test_launch import WATCHED
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
    assert gone(trial, within=10)
    assert gone(grandchild, within=5)


# Neither a regular expression nor a power of integers gives the interpreter's lock back.
ENDLESS = """
import re, sys
from trials.io.watchdog import end_with_supervisor
end_with_supervisor()
print("child", __import__("os").getpid(), flush=True)
re.match("(a+)+$", "a" * 64 + "b")
"""


def test_a_regular_expression_that_never_ends_dies_with_its_supervisor(tmp_path: Path) -> None:
    """A thread that watched would wait for the interpreter's lock for ever."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING.replace("WATCHED", "ENDLESS"), str(tmp_path / "log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    trial = int(supervisor.stdout.readline())
    assert wait_for_child(tmp_path / "log") == trial
    assert not gone(trial, within=1)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    assert gone(trial, within=10)


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
    assert gone(worker, within=10)
    assert gone(grandchild, within=5)
