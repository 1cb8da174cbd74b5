"""What happens to machines: full disks, clocks set back, servers restarted, two at once."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import try_it
from tasks.history.rows import history_files, read_history
from tasks.runs.folder import RunFolder
from tests.disks import small_disk
from tests.flows.running import (
    begin,
    only_run,
    outcome,
    printed,
    results,
    serving,
    tune,
    wait_for_results,
)

pytestmark = pytest.mark.slow
A_DAY = 86_400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Enough for a trial or two, and for no more."""
    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        yield disk


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(disk: Path) -> None:
    home = disk / "home"
    process = begin(home, *tune(home, "--budget", "4", "--parallel", "1"))
    wait_for_results(home)
    fill(disk / "ballast")
    assert process.wait(timeout=300) != 0
    assert "space" in printed(home) or "disk" in printed(home)
    (disk / "ballast").unlink()
    kept = {name: state for name, state in results(home).items() if b'"completed"' in state[1]}
    assert kept
    subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
    resume = ["--resume", only_run(home).run_id]
    assert begin(home, "tune", *resume).wait(timeout=600) == 0, printed(home)
    assert kept.items() <= results(home).items()
    summary = only_run(home).summary()
    assert summary is not None
    assert summary.trials == 4
    assert summary.failed == 0


def fill(ballast: Path) -> None:
    """Until nothing more can be written."""
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 65536)
        except OSError:
            return


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file whose eight bytes set the clock of programs in that environment, in seconds."""
    compiler = shutil.which("cc")
    assert compiler, "a clock of its own takes a C compiler: apt-get install gcc"
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    set_clock(offset, 0)
    return offset, {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}


def set_clock(offset: Path, seconds: int) -> None:
    if not offset.exists():
        offset.write_bytes(struct.pack("q", 0))
    with offset.open("r+b") as file:
        file.write(struct.pack("q", seconds))


def test_a_clock_set_back_changes_nothing(tmp_path: Path, clock) -> None:
    offset, environment = clock
    set_back, quiet = tmp_path / "set-back", tmp_path / "quiet"
    arguments = ("--budget", "4", "--parallel", "2")
    process = begin(set_back, *tune(set_back, *arguments), environment=environment)
    wait_for_results(set_back)
    set_clock(offset, -A_DAY)
    assert process.wait(timeout=600) == 0, printed(set_back)
    assert begin(quiet, *tune(quiet, *arguments)).wait(timeout=600) == 0
    assert outcome(only_run(set_back)) == outcome(only_run(quiet))
    costs = [t.result.cost.seconds for t in only_run(set_back).trials() if t.result]
    assert all(0 < seconds < 600 for seconds in costs)


def test_two_tunes_of_one_dataset_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    both = [
        begin(home, *tune(home, "--budget", "6", "--parallel", "1", "--seed", "5"))
        for _ in range(2)
    ]
    wait_for_results(home)
    [first, *_] = [RunFolder(path) for path in sorted((home / "runs").iterdir())]
    third = begin(home, "tune", "--resume", first.run_id)
    assert third.wait(timeout=120) == 2
    assert "is in use by process" in printed(home)
    assert [process.wait(timeout=600) for process in both] == [0, 0], printed(home)
    runs = [RunFolder(path) for path in sorted((home / "runs").iterdir())]
    assert len(runs) == 2
    assert outcome(runs[0])[1:] == outcome(runs[1])[1:]
    rows = read_history(history_files(home / "history"))
    assert {name.split("/")[0] for name in rows["trial_id"]} == {run.run_id for run in runs}


def test_a_truncated_history_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    home = tmp_path / "home"
    begun = tune(home, "--budget", "2", "--parallel", "1")
    assert begin(home, *begun).wait(timeout=600) == 0
    before = results(home)
    [file] = history_files(home / "history")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert begin(home, *begun, "--seed", "1").wait(timeout=300) == 2
    assert file.name in printed(home)
    assert results(home) == before
    file.write_bytes(whole)
    assert begin(home, *begun, "--seed", "1").wait(timeout=600) == 0


def test_a_server_restarted_in_the_middle_of_a_run(tmp_path: Path) -> None:
    home, port = tmp_path / "home", try_it.free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {"PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "prefect")}
    with serving(port, environment) as server:
        arguments = tune(home, "--budget", "4", "--parallel", "1")
        process = begin(home, *arguments, environment=environment)
        wait_for_results(home)
        server.kill()
        server.wait()
    wait_for_results(home, 2)  # trials go on while nobody answers
    with serving(port, environment):
        assert process.wait(timeout=600) == 0, printed(home)
    summary = only_run(home).summary()
    assert summary is not None
    assert summary.trials == 4
