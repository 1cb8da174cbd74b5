"""Every way in which a trial can end, each really caused in a real worker, each told apart."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.disks import small_disk
from tests.trials.helpers import (
    CONFIG,
    SCHEDULE,
    make_spec,
    training_processes,
    trial_processes,
    write_dataset,
)
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import Compute, Limits, StoppingRules, TrialResult, TrialSpec, read_record

pytestmark = pytest.mark.slow

LONG = SCHEDULE.model_copy(update={"total_steps": 100_000, "eval_points": (1.0,)})
REWARDS = textwrap.dedent(
    """
    import re
    import time

    def raises(completion, **_):
        raise KeyError("no such answer")

    def not_a_number(completion, **_):
        return float("nan")

    def several(completion, **_):
        return [0.0, 1.0]

    def sleeps(completion, **_):
        time.sleep(3600)

    def is_slow(completion, **_):
        time.sleep(1)
        return 0.0

    def tries_all(completion, **_):
        return float(bool(re.fullmatch("(a+)+", "a" * 64 + "b")))
    """
)


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A dataset whose reward is a function of a module that only this test has."""
    module = f"rewards_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(REWARDS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return lambda name: write_dataset(tmp_path / name, f"reward: {module}:{name}\n")


def supervised(*specs: TrialSpec, **options: Any) -> list[TrialResult]:
    launcher = options.pop("launcher", Launcher())
    with Supervisor(launcher, **options) as supervisor:
        return [supervisor.run(spec) for spec in specs]


def assert_failed(spec: TrialSpec, result: TrialResult, kind: str, *words: str) -> None:
    assert (result.state, result.score, result.checkpoint) == ("failed", None, None)
    assert result.failure is not None
    assert result.failure.kind == kind
    for word in words:
        assert word in result.failure.message
    assert read_record(Path(spec.folder) / "result.json", TrialResult) == result
    assert not (Path(spec.folder) / "checkpoint" / "final").exists()


def test_completed_and_stopped_by_a_rule(tmp_path: Path, dataset_folder: Path) -> None:
    # SFT ruins the model, so that RL earns nothing, however well the bundled one does sums.
    rules = StoppingRules(zero_reward_steps=1, loss_patience=1000)
    stopped = make_spec(
        tmp_path / "stopped", dataset_folder, {"sft_learning_rate": 1.0}, stopping=rules
    )
    completed, ruled = supervised(make_spec(tmp_path / "completed", dataset_folder), stopped)
    assert (completed.state, completed.failure, completed.stop) == ("completed", None, None)
    assert (ruled.state, ruled.failure) == ("stopped", None)
    assert ruled.stop is not None
    assert ruled.stop.rule == "zero_reward"
    assert ruled.stop.values
    assert ruled.fraction == ruled.stop.step / SCHEDULE.total_steps
    assert ruled.score is not None


def test_stopped_by_the_wall_clock(tmp_path: Path, dataset_folder: Path) -> None:
    spec = make_spec(
        tmp_path / "long", dataset_folder, schedule=LONG, limits=Limits(wall_seconds=5)
    )
    [result] = supervised(spec)
    assert (result.state, result.failure) == ("stopped", None)
    assert result.stop is not None
    assert result.stop.rule == "wall_clock"
    # It ends in time to be scored and saved before the limit.
    assert result.stop.values["seconds"] < result.stop.values["limit"] == 5
    assert result.fraction == result.stop.step / LONG.total_steps
    assert result.score is not None
    assert result.cost.seconds < 15


def test_diverged(tmp_path: Path, dataset_folder: Path) -> None:
    """An adapter scaled by 1e30: its first update sends the activations beyond float32."""
    config = {
        "sft_share": 1.0,
        "adapter": "lora",
        "lora_rank": 4,
        "lora_alpha_ratio": 1e30,
        "sft_learning_rate": 0.1,
        "sft_warmup": 0.0,
    }
    spec = make_spec(
        tmp_path / "nan", dataset_folder, config, stopping=StoppingRules(enabled=False)
    )
    [result] = supervised(spec)
    assert_failed(spec, result, "diverged", "sft diverged at step")


def test_bad_data(tmp_path: Path) -> None:
    broken = write_dataset(tmp_path / "broken")
    spec = make_spec(tmp_path / "bad", broken)
    with (broken / "train.jsonl").open("a") as file:
        file.write('{"prompt": \n')
    [result] = supervised(spec)
    assert_failed(spec, result, "bad_data", "train.jsonl:41: broken JSON")


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("raises", ("KeyError", "no such answer")),
        ("not_a_number", ("nan",)),
        ("several", ("list",)),
    ],
)
def test_a_reward_that_fails(
    tmp_path: Path, user_code: Callable[[str], Path], reward: str, words: tuple[str, ...]
) -> None:
    spec = make_spec(tmp_path / "trial", user_code(reward), allow_user_code=True)
    [result] = supervised(spec)
    assert_failed(spec, result, "reward_failed", f":{reward}", *words)


def test_user_code_is_not_run_unasked(tmp_path: Path, user_code: Callable[[str], Path]) -> None:
    spec = make_spec(tmp_path / "trial", user_code("raises"))
    [result] = supervised(spec)
    assert_failed(spec, result, "bad_data", "--allow-user-code")


def test_hung(tmp_path: Path, user_code: Callable[[str], Path], dataset_folder: Path) -> None:
    """The reward never returns; the next trial gets a worker of its own and completes."""
    spec = make_spec(
        tmp_path / "hung",
        user_code("sleeps"),
        allow_user_code=True,
        limits=Limits(silent_seconds=15),
    )
    result, after = supervised(spec, make_spec(tmp_path / "after", dataset_folder))
    assert_failed(spec, result, "hung", "no event for")
    assert after.state == "completed"
    assert not trial_processes()


@pytest.mark.parametrize("reward", ["sleeps", "tries_all"])
def test_a_reward_that_never_ends(
    tmp_path: Path, user_code: Callable[[str], Path], reward: str
) -> None:
    """Also one that holds the interpreter's lock; a worker that is ended takes it along."""
    limits = Limits(silent_seconds=600, reward_seconds=3)
    spec = make_spec(tmp_path / "trial", user_code(reward), allow_user_code=True, limits=limits)
    [result] = supervised(spec)
    assert_failed(spec, result, "reward_failed", "has not returned", "validation.jsonl:")
    assert not trial_processes()


def test_timed_out(
    tmp_path: Path, user_code: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first scoring takes longer than the limit and the grace, though it shows life."""
    monkeypatch.setattr("trials.process.following.LEAST_GRACE_SECONDS", 1.0)
    spec = make_spec(
        tmp_path / "slow",
        user_code("is_slow"),
        allow_user_code=True,
        schedule=SCHEDULE.model_copy(update={"eval_batch_size": 1}),
        limits=Limits(wall_seconds=4, silent_seconds=600),
    )
    [result] = supervised(spec)
    assert_failed(spec, result, "timed_out", "after its limit")


def test_killed(tmp_path: Path, dataset_folder: Path) -> None:
    """Killed below ``accelerate launch``, as the kernel does; the next trial still runs."""
    victim = make_spec(tmp_path / "victim", dataset_folder, schedule=LONG)
    heir = make_spec(tmp_path / "heir", dataset_folder)

    def kill_when_training(spec: TrialSpec, event: dict[str, Any]) -> None:
        if spec.trial_id == "victim" and event["kind"] == "metric":
            for process in training_processes():
                os.kill(process.pid, signal.SIGKILL)

    result, after = supervised(victim, heir, on_event=kill_when_training)
    assert_failed(victim, result, "killed", "SIGKILL")
    assert after.state == "completed"


@dataclass(frozen=True)
class LimitedLauncher(Launcher):
    """Gives the training process so many bytes of data and no more."""

    data_bytes: int = 0

    def command(self, module: str, files: Sequence[Path]) -> list[str]:
        return ["prlimit", f"--data={self.data_bytes}", *super().command(module, files)]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory with prlimit")
def test_out_of_memory(tmp_path: Path, dataset_folder: Path) -> None:
    """Thousands of completions at once, in a process that may not take the memory for them."""
    greedy = {"rl_batch_size": 8192, "rl_num_generations": 8192, "sft_share": 0.0}
    spec = make_spec(tmp_path / "big", dataset_folder, greedy)
    small = make_spec(tmp_path / "small", dataset_folder)
    result, after = supervised(spec, small, launcher=LimitedLauncher(data_bytes=1_800_000_000))
    assert_failed(spec, result, "out_of_memory", "memory")
    assert after.state == "completed"


def test_what_cannot_fit_is_not_started(tmp_path: Path, dataset_folder: Path) -> None:
    spec = make_spec(tmp_path / "big", dataset_folder, compute=Compute(memory_bytes=1_000_000))
    [result] = supervised(spec)
    assert_failed(spec, result, "out_of_memory", "micro")
    assert result.cost.flops == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The tiny model alone takes half a megabyte."""
    with small_disk(tmp_path / "disk", megabytes=2) as disk:
        yield disk


def test_disk_full(disk: Path, dataset_folder: Path) -> None:
    """Checkpoints at every step with their optimizers, until nothing more can be written."""
    (disk / "ballast").write_bytes(b"0" * 1_200_000)
    spec = make_spec(disk / "trial", dataset_folder, CONFIG, limits=Limits(checkpoint_seconds=1e-9))
    [result] = supervised(spec)
    assert_failed(spec, result, "disk_full")


def test_a_disk_too_full_for_the_result_itself(disk: Path, dataset_folder: Path) -> None:
    """Then the answer is not on disk, but who waits for the trial has it."""
    spec = make_spec(disk / "trial", dataset_folder)

    def fill(_: TrialSpec, event: dict[str, Any]) -> None:
        if event.get("phase") == "sft":
            with (disk / "ballast").open("ab", buffering=0) as file:
                try:
                    while True:
                        file.write(b"0" * 4096)
                except OSError:
                    return

    [result] = supervised(spec, on_event=fill)
    assert result.state == "failed"
    assert result.failure is not None
    assert result.failure.kind == "disk_full"
