"""The supervisor is what is tested here: tiny programs stand in for the workers it supervises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trials.helpers import DirectLauncher, gone, make_spec, trial_processes, wait_for_child
from trials.io.errors import SettingsError
from trials.process.supervisor import Cancelled, Supervisor
from trials.spec.records import Limits, TrialResult, TrialSpec, read_record

# Serves an inbox and writes the result of every spec, as a worker does, unless the spec's seed says
# to fail. Importing what a real one needs would take seconds.
PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
from trials.data.dataset import Row
from trials.spec.events import EventLog
from trials.spec.hyperparameters import Hyperparameters
from trials.process.inbox import Inbox
from trials.outcomes.outcome import facts
from trials.spec.plan import StagePlan
from trials.scoring.reward_watch import WatchedReward
from trials.spec.records import TrialResult, TrialSpec, read_record, write_json
from trials.io.watchdog import end_with_supervisor
from trials.io.output import output_to

def serve(spec):
    if spec.seed == 8:  # takes a while to start, and then none
        time.sleep(2)
    log = EventLog(Path(spec.folder) / "events.jsonl")
    log.write("phase", phase="loading")
    print("running", spec.trial_id, os.environ.get("HF_TOKEN"), flush=True)
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
    if spec.seed == 9:  # is scored at step 4 of 8, saves, and goes on too long
        plan = StagePlan(sft=8, dpo=0, rl=0)
        told = facts(plan, 1000, Hyperparameters())
        log.write("facts", inherited_step=0, **told)
        for step in range(1, 9):
            log.write("metric", stage="sft", step=step, values={"loss": 1.0}, tokens=10)
            if step == 4:
                log.write("score", stage="sft", step=4, values={"score": 0.25}, score_se=0.1,
                          outcomes=[0.0, 1.0, 0.0, 0.0], tokens=8, took=0.1)
        final = Path(spec.folder) / "checkpoint" / "final"
        final.mkdir(parents=True)
        while True:
            log.write("evaluating", stage="sft", step=8, done=1, rows=4)
            time.sleep(0.2)
    if spec.seed == 10:  # a reward that never ends
        row = Row([], [], "", {}, Path("rows.jsonl"), 7)
        WatchedReward(lambda *_: time.sleep(600), Path(spec.folder))("a text", row)
    if spec.seed == 6:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                                 start_new_session=True)
        print("child", child.pid, flush=True)
        time.sleep(600)
    if spec.seed == 7:  # ends by itself with words that launchers use for a killed child
        print("died with <Signals.SIGKILL: 9>.", flush=True)
        sys.exit(1)
    write_json(Path(spec.folder) / "result.json",
               TrialResult(trial_id=spec.trial_id, state="completed", fraction=1.0, score=0.5,
                           signals={"pid": os.getpid()}))

end_with_supervisor()
for file in Inbox(Path(sys.argv[1])).jobs():
    spec = read_record(file, TrialSpec)
    with output_to(Path(spec.folder) / "log.txt"):
        serve(spec)
"""


Specs = Callable[..., list[TrialSpec]]


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.process.launch.TERMINATE_GRACE_SECONDS", 0.5)


@pytest.fixture
def specs(tmp_path: Path, dataset_folder: Path) -> Specs:
    """Specs whose seeds choose how the program ends; see PROGRAM."""

    def build(*seeds: int, **changes: object) -> list[TrialSpec]:
        return [
            make_spec(tmp_path / f"t{number}", dataset_folder, seed=seed, **changes)
            for number, seed in enumerate(seeds)
        ]

    return build


def supervise(specs: list[TrialSpec], **options: object) -> list[TrialResult]:
    with Supervisor(DirectLauncher(program=PROGRAM), **options) as supervisor:
        return [supervisor.run(spec) for spec in specs]


# How trials end


def test_every_end_has_a_result_and_the_rest_are_run(specs: Specs) -> None:
    """Exit code, signal and memory, with good trials before, between and after."""
    all_specs = specs(0, 1, 0, 2, 3, 7, 0)
    results = supervise(all_specs)
    assert [result.trial_id for result in results] == [spec.trial_id for spec in all_specs]
    assert [result.failure.kind if result.failure else result.state for result in results] == [
        *("completed", "crashed", "completed", "killed", "out_of_memory", "killed", "completed")
    ]
    exited, killed, memory, below = (result.failure for result in results if result.failure)
    assert "code 1" in exited.message
    assert "no luck today" in exited.log_tail
    assert "SIGKILL" in killed.message
    assert "CUDA out of memory" in memory.log_tail
    assert "SIGKILL" in below.message
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
    assert result.failure.kind == "hung"
    assert "no event for" in result.failure.message
    assert gone(wait_for_child(Path(spec.folder) / "log.txt"), within=1)


def test_a_trial_that_outlives_its_limit_is_ended(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.process.following.LEAST_GRACE_SECONDS", 1.0)
    [result] = supervise(specs(5, limits=Limits(wall_seconds=1, silent_seconds=60)))
    assert result.failure is not None
    assert result.failure.kind == "timed_out"
    assert "after its limit" in result.failure.message
    assert 2 <= result.cost.seconds < 10


# review fault 8
def test_the_limit_counts_from_the_beginning_of_the_trial(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has to be started first, which may take longer than the limit of a small trial."""
    monkeypatch.setattr("trials.process.following.LEAST_GRACE_SECONDS", 0.5)
    [result] = supervise(specs(8, limits=Limits(wall_seconds=1)))
    assert (result.state, result.failure) == ("completed", None)


# review fault 8
def test_what_was_trained_and_scored_before_the_limit_is_kept(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended in the middle of its last scoring: it is told as what it is, and can go on."""
    monkeypatch.setattr("trials.process.following.LEAST_GRACE_SECONDS", 0.5)
    [spec] = specs(9, limits=Limits(wall_seconds=1))
    [result] = supervise([spec])
    assert (result.state, result.failure) == ("stopped", None)
    assert result.out_of_time
    assert (result.fraction, result.score, result.outcomes) == (0.5, 0.25, [0.0, 1.0, 0.0, 0.0])
    assert result.stop is not None
    assert result.stop.step == 4
    assert result.checkpoint == "checkpoint"
    assert (Path(spec.folder) / "checkpoint" / "final").is_dir()
    assert result.cost.flops == 8 * 10 * 6000 + 8 * 2000  # also of what came after the score
    assert result.signals["score"] == 0.25


def test_a_reward_that_never_ends_is_named(specs: Specs) -> None:
    [spec] = specs(10, limits=Limits(reward_seconds=1))
    [result] = supervise([spec])
    assert result.failure is not None
    assert result.failure.kind == "reward_failed"
    assert "has not returned" in result.failure.message
    assert "rows.jsonl:7, for the completion 'a text'" in result.failure.message


def test_what_an_attempt_was_killed_at_is_not_held_against_the_next_one(specs: Specs) -> None:
    """It was scoring, perhaps with more processes; what takes long now is loading."""
    [spec] = specs(8, limits=Limits(reward_seconds=1))
    Path(spec.folder).mkdir()
    for process in (0, 3):
        note = Path(spec.folder) / f".scoring.{process}"
        note.write_text("12 rows.jsonl:7, for the completion 'a text'")
    [result] = supervise([spec])
    assert result.state == "completed"


@pytest.mark.parametrize("seed", [4, 6])
def test_cancel_leaves_no_process_no_result_and_no_secret(
    specs: Specs, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 6 starts a child in a session of its own, as a distributed launcher does."""
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef123456")
    [spec] = specs(seed)
    supervisor = Supervisor(DirectLauncher(program=PROGRAM))
    children: list[int] = []

    def cancel_when_started() -> None:
        children.append(wait_for_child(Path(spec.folder) / "log.txt"))
        supervisor.cancel.set()

    thread = threading.Thread(target=cancel_when_started)
    thread.start()
    with pytest.raises(Cancelled, match=spec.trial_id):
        supervisor.run(spec)
    thread.join()
    supervisor.close()
    assert gone(children[0], within=1)
    assert not trial_processes()
    assert not (Path(spec.folder) / "result.json").exists()
    assert "hf_abcdef" not in (Path(spec.folder) / "log.txt").read_text()


# Warm workers


def pid(result: TrialResult) -> float:
    return result.signals["pid"]


def test_one_worker_serves_many_trials(specs: Specs) -> None:
    results = supervise(specs(0, 0, 0, 0))
    assert len({pid(result) for result in results}) == 1


def test_a_worker_is_replaced_after_a_number_of_trials(specs: Specs) -> None:
    pids = [pid(result) for result in supervise(specs(0, 0, 0, 0, 0), trials_per_worker=2)]
    assert pids[0] == pids[1]
    assert pids[2] == pids[3]
    assert len(set(pids)) == 3


def test_a_worker_is_replaced_after_a_crash(specs: Specs) -> None:
    before, _, after, last = supervise(specs(0, 1, 0, 0))
    assert pid(before) != pid(after) == pid(last)


def test_a_trial_with_code_of_the_user_has_a_worker_for_itself(specs: Specs) -> None:
    """What a module of the user's keeps between calls would otherwise reach the next trial."""
    pids = [pid(result) for result in supervise(specs(0, 0, allow_user_code=True))]
    assert pids[0] != pids[1]


def test_every_launcher_has_its_worker_and_none_is_left(specs: Specs, tmp_path: Path) -> None:
    results: list[TrialResult] = []
    with Supervisor([DirectLauncher(program=PROGRAM)] * 2) as supervisor:
        threads = [
            threading.Thread(target=lambda spec=spec: results.append(supervisor.run(spec)))
            for spec in specs(0, 0, 0, 0, 0, 0)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 6
    assert 1 <= len({pid(result) for result in results}) <= 2
    assert not trial_processes()
    assert not list(tmp_path.glob(".worker-*"))


def test_a_closed_supervisor_runs_nothing_more(specs: Specs) -> None:
    with Supervisor(DirectLauncher(program=PROGRAM)) as supervisor:
        pass
    with pytest.raises(Cancelled):
        supervisor.run(specs(0)[0])


def test_results_are_not_computed_twice(specs: Specs) -> None:
    before = supervise(specs(0, 1))
    with Supervisor(DirectLauncher(program="raise SystemExit('must not run')")) as again:
        assert [again.run(spec) for spec in specs(0, 1)] == before


def test_events_are_passed_on_as_they_happen(specs: Specs) -> None:
    seen: list[tuple[str, str]] = []
    with Supervisor(
        DirectLauncher(program=PROGRAM),
        on_event=lambda spec, event: seen.append((spec.trial_id, event["kind"])),
    ) as supervisor:
        [supervisor.run(spec) for spec in specs(0, 0)]
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
