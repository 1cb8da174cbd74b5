"""A trial for a leader that may go away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tasks.execution import remote
from tasks.execution.remote import RemoteRunner
from tasks.sync.lease import Lease
from tests.trials.helpers import DirectLauncher, make_spec, write_dataset
from trials.process.supervisor import Cancelled

# Serves an inbox; a trial ends when its folder has a file "go".
PROGRAM = """
import sys, time
from pathlib import Path
from trials.spec.events import EventLog
from trials.process.inbox import Inbox
from trials.spec.records import Cost, TrialResult, TrialSpec, read_record, write_json
from trials.io.watchdog import end_with_supervisor

end_with_supervisor()
for file in Inbox(Path(sys.argv[1])).jobs():
    spec = read_record(file, TrialSpec)
    folder = Path(spec.folder)
    EventLog(folder / "events.jsonl").write("phase", phase="loading", trial_id=spec.trial_id)
    while not (folder.parent.parent / "go").exists():
        time.sleep(0.05)
    write_json(folder / "result.json", TrialResult(
        trial_id=spec.trial_id, state="completed", fraction=1.0, score=0.5, cost=Cost(seconds=1.0)))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launchers = [DirectLauncher(program=PROGRAM)]
    monkeypatch.setattr(remote, "launchers_for", lambda *_: launchers)
    return tmp_path / "run"


def spec_of(run: Path, name: str = "000"):
    dataset = write_dataset(run.parent / f"data-{name}")
    return make_spec(run / "trials" / name, dataset)


def test_a_trial_is_run_while_its_leader_lives(run: Path) -> None:
    run.mkdir()
    (run / "go").touch()
    with Lease(run, 0.2):
        assert RemoteRunner().run(spec_of(run)).score == 0.5
        assert RemoteRunner().run(spec_of(run, "001")).score == 0.5


def test_it_is_ended_when_the_leader_goes(run: Path) -> None:
    lease, caught = Lease(run, 0.2), []

    def work() -> None:
        try:
            RemoteRunner().run(spec_of(run))
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    with lease:
        thread.start()
        file = run / "trials" / "000" / "events.jsonl"
        waited = threading.Event()
        for _ in range(300):
            if file.exists():
                break
            waited.wait(0.1)
        assert file.exists()
    thread.join(timeout=15)
    assert not thread.is_alive()
    assert caught
    assert not (run / "trials" / "000" / "result.json").exists()


def test_a_trial_has_as_many_gpus_as_its_accelerate_config_has_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "e-0,e-1,e-2,e-3")
    config = tmp_path / "two.yaml"
    config.write_text("num_processes: 2\n")
    seen = []

    class Seen(remote.Supervisor):
        def __init__(self, launchers, **others):
            seen.append((launchers[0].devices, launchers[0].config_file))
            super().__init__(launchers, **others)

    monkeypatch.setattr(remote, "Supervisor", Seen)
    run = tmp_path / "run"
    run.mkdir()
    supervisors = remote._Supervisors()
    with Lease(run, 0.2):
        supervisors.get(RemoteRunner(accelerate_config=str(config)), run)
        supervisors.get(RemoteRunner(), run)
        supervisors.close_all()
    assert seen == [("e-0,e-1", config), ("e-2", None)]


def test_a_run_that_waits_for_a_gpu_lets_the_one_before_it_give_its_own_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # review fault 4: the lock that closing needs was held for as long as a GPU was waited for.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "s-0")
    supervisors, runner = remote._Supervisors(), RemoteRunner()
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        run.mkdir()
    with Lease(second, 0.2):
        try:
            with Lease(first, 0.2):
                supervisors.get(runner, first)
                opened: list[object] = []
                waiting = threading.Thread(
                    target=lambda: opened.append(supervisors.get(runner, second))
                )
                waiting.start()
                waiting.join(0.7)
                assert waiting.is_alive()
            # The lease of the first is over: it is closed, and its GPU is free.
            waiting.join(20.0)
            assert not waiting.is_alive()
            assert opened
            assert supervisors.get(runner, second) is opened[0]
        finally:
            supervisors.close_all()
