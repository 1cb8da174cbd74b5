from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.execution import devices
from tasks.execution.devices import (
    default_parallel,
    launchers_for,
    memory_share,
    trial_processes,
    visible_gpus,
)
from trials.io.errors import SettingsError

ROOT = Path(__file__).resolve().parents[3]
EIGHT = [str(index) for index in range(8)]


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cores", lambda: 16)


@pytest.mark.usefixtures("sixteen_cores")
def test_on_a_cpu_trials_share_the_cores() -> None:
    launchers = launchers_for(3, gpus=[])
    assert [launcher.threads for launcher in launchers] == [5, 5, 5]
    assert {(launcher.processes, launcher.devices) for launcher in launchers} == {(1, None)}
    assert [launcher.threads for launcher in launchers_for(40, gpus=[])] == [1] * 40
    assert launchers_for(2, threads=3, gpus=[])[1].threads == 3


@pytest.mark.usefixtures("sixteen_cores")
def test_gpus_are_dealt_out() -> None:
    launchers = launchers_for(4, gpus=EIGHT)
    assert [launcher.devices for launcher in launchers] == ["0,1", "2,3", "4,5", "6,7"]
    assert {(launcher.processes, launcher.threads) for launcher in launchers} == {(2, 2)}
    assert "--multi_gpu" in launchers[0].command("trials.training.run", [])
    assert launchers[3].environment()["CUDA_VISIBLE_DEVICES"] == "6,7"
    one_each = launchers_for(2, gpus_per_trial=1, gpus=["GPU-a", "MIG-b", "GPU-c"])
    assert [launcher.devices for launcher in one_each] == ["GPU-a", "MIG-b"]
    assert one_each[0].processes == 1


@given(st.integers(1, 12), st.integers(0, 12), st.none() | st.integers(1, 4))
def test_no_gpu_is_given_twice(parallel: int, count: int, each: int | None) -> None:
    gpus = [f"GPU-{index}" for index in range(count)]
    try:
        launchers = launchers_for(parallel, gpus_per_trial=each, gpus=gpus)
    except SettingsError:
        assert count < parallel * (each or 1)
        return
    given_out = [name for one in launchers for name in (one.devices or "").split(",") if name]
    assert len(launchers) == parallel
    assert len(given_out) == len(set(given_out)) <= count
    if count:
        assert {len(str(one.devices).split(",")) for one in launchers} == {
            each or count // parallel
        }


def test_too_few_gpus_are_refused_with_what_would_work() -> None:
    with pytest.raises(SettingsError, match=r"3 trials.*2 GPUs each need 6 GPUs, and 5 .*lel 2$"):
        launchers_for(3, gpus_per_trial=2, gpus=EIGHT[:5])
    with pytest.raises(SettingsError, match="the largest that works is --parallel 1"):
        launchers_for(2, gpus=["0"])
    with pytest.raises(SettingsError, match="lower --gpus-per-trial or num_processes to 1"):
        launchers_for(1, gpus_per_trial=2, gpus=["0"])
    with pytest.raises(SettingsError, match="no GPU is visible here; leave --gpus-per-trial out"):
        launchers_for(1, gpus_per_trial=1, gpus=[])


@pytest.mark.usefixtures("sixteen_cores")
def test_an_accelerate_config_says_how_many_processes(tmp_path: Path) -> None:
    file = tmp_path / "four.yaml"
    file.write_text("num_machines: 1\nnum_processes: 4\ndistributed_type: FSDP\n")
    launchers = launchers_for(2, accelerate_config=str(file), gpus=EIGHT)
    assert [launcher.devices for launcher in launchers] == ["0,1,2,3", "4,5,6,7"]
    assert {launcher.config_file for launcher in launchers} == {file}
    assert {launcher.threads for launcher in launchers} == {2}
    with pytest.raises(SettingsError, match="largest that works is --parallel 1"):
        launchers_for(2, accelerate_config=str(file), gpus=EIGHT[:6])
    with pytest.raises(SettingsError, match=r"four\.yaml has num_processes for 4"):
        launchers_for(1, accelerate_config=str(file), gpus_per_trial=2, gpus=EIGHT)
    file.write_text("num_machines: 2\nnum_processes: 8\n")  # four on each of two machines
    (launcher,) = launchers_for(1, accelerate_config=str(file), gpus=EIGHT)
    assert launcher.devices == "0,1,2,3"
    assert trial_processes(launcher) == 8
    file.write_text("use_cpu: true\nnum_processes: 2\n")
    on_cpu = launchers_for(2, accelerate_config=str(file), gpus=["0"])[0]
    assert on_cpu.threads == 4  # of 16 cores, for each of two processes of two trials
    assert on_cpu.environment()["CUDA_VISIBLE_DEVICES"] == ""  # the GPU is left alone
    assert trial_processes(on_cpu) == 2
    file.write_text("a: [")
    with pytest.raises(SettingsError, match=r"four\.yaml cannot be read.*"):
        launchers_for(1, accelerate_config=str(file), gpus=[])


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("0,2", ["0", "2"]),
        ("", []),
        ("-1", []),
        ("1,-1,2", ["1"]),
        ("GPU-4f2a, MIG-77", ["GPU-4f2a", "MIG-77"]),
    ],
)
def test_the_environment_says_which_gpus_are_visible(
    listed: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == found
    assert launchers_for(1)[0].devices == (",".join(found) or None)


def test_else_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n[ $1 = --query-gpu=index ] && printf '0\\n1\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert visible_gpus() == []
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("content", "each", "gpus", "expected"),
    [
        (None, None, 8, 8),
        (None, 2, 8, 4),
        (None, 3, 8, 2),
        (None, 16, 8, 1),
        ("num_processes: 8", None, 8, 1),
        ("num_processes: 2", None, 8, 4),
        ("num_machines: 2\nnum_processes: 8", None, 8, 2),
        ("mixed_precision: bf16", None, 8, 8),
        (None, None, 0, 2),
        ("use_cpu: true\nnum_processes: 1", None, 8, 2),
        ("use_cpu: true\nnum_processes: 4", None, 8, 1),
        ("num_processes: 2", None, 0, 1),
    ],
)
def test_by_default_as_many_trials_run_as_there_is_room_for(
    content: str | None, each: int | None, gpus: int, expected: int, tmp_path: Path
) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text(content or "")
    config = str(file) if content else None
    assert default_parallel(config, each, EIGHT[:gpus]) == expected
    if gpus >= (each or 1):  # and none of these is refused
        assert len(launchers_for(expected, None, config, each, EIGHT[:gpus])) == expected


def test_memory_is_shared_by_all_processes_on_a_cpu_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_ram_bytes", lambda: 48)
    assert memory_share(4, gpus=[]) == 12
    assert memory_share(4, gpus=["0"]) is None
    file = tmp_path / "accelerate.yaml"
    file.write_text("use_cpu: true\nnum_processes: 3\n")
    assert memory_share(4, str(file), gpus=[]) == 4
    assert memory_share(4, str(file), gpus=["0"]) == 4
    file.write_text("num_processes: 3\n")
    assert memory_share(4, str(file), gpus=["0", "1", "2"]) is None


def test_the_parent_does_not_touch_cuda() -> None:
    code = (
        "import sys; from tasks.execution.devices import launchers_for, memory_share;"
        "launchers_for(1); memory_share(1); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
