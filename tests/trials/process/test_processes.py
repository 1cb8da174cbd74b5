"""Both stages on two processes, as on two GPUs, here with gloo on the CPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import (
    LORA,
    SCHEDULE,
    make_spec,
    training_processes,
    trial_processes,
    write_dataset,
)
from tests.trials.runs import assert_same_run, checkpoint_at, run
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import Limits

pytestmark = pytest.mark.slow

TWO = Launcher(processes=2)


def test_two_processes_train_both_stages(tmp_path: Path, dataset_folder: Path) -> None:
    """Warm as cold and twice the same; two workers; the clock stops both at one step."""
    long = SCHEDULE.model_copy(update={"total_steps": 100_000, "eval_points": (1.0,)})
    specs = [
        make_spec(tmp_path / "one", dataset_folder),
        make_spec(tmp_path / "two", dataset_folder),
        make_spec(tmp_path / "lora", dataset_folder, LORA),
        make_spec(tmp_path / "late", dataset_folder, schedule=long, limits=Limits(wall_seconds=8)),
    ]
    most, done = 0, threading.Event()

    def count() -> None:
        nonlocal most
        while not done.wait(0.3):
            most = max(most, len(list(training_processes())))

    counter = threading.Thread(target=count)
    counter.start()
    try:
        one, two, lora, late = run(*specs, launcher=TWO)
    finally:
        done.set()
        counter.join()
    assert most >= 2  # a process that forks is seen twice for a moment
    assert [one.state, two.state, lora.state] == ["completed"] * 3
    assert_same_run((specs[0], one), (specs[1], two))
    assert {point.stage for point in one.curve} == {"sft", "rl"}
    assert late.stop is not None
    assert late.stop.rule == "wall_clock"
    assert not trial_processes()
    cold = make_spec(tmp_path / "cold", dataset_folder)
    [cold_result] = run(cold, launcher=TWO, trials_per_worker=1)
    assert_same_run((specs[1], two), (cold, cold_result))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rl_curriculum": "sec", "rl_flat_groups": "resample", "sft_schedule": "rex"},
        {"rl_curriculum": "thompson", "rl_allocation": "knapsack", "rl_flat_groups": "mask"},
        {"rl_train_generations": 2, "rl_schedule": "infinite"},
    ],
    ids=["plain", "resample", "knapsack", "selected"],
)
def test_a_continuation_on_two_processes_is_exact(
    tmp_path: Path, dataset_folder: Path, config: dict[str, Any]
) -> None:
    straight = make_spec(tmp_path / "straight", dataset_folder, config)
    parts = [
        make_spec(tmp_path / f"part{s}", dataset_folder, config, fraction=s / 8) for s in (2, 6)
    ]
    rests = [
        make_spec(
            tmp_path / f"rest{s}",
            dataset_folder,
            config,
            continue_from=checkpoint_at(part.folder, s),
        )
        for s, part in zip((2, 6), parts, strict=True)
    ]
    straight_result, *_, first, second = run(straight, *parts, *rests, launcher=TWO)
    assert_same_run((straight, straight_result), (rests[0], first))
    assert_same_run((straight, straight_result), (rests[1], second))


def test_a_checkpoint_of_one_process_is_not_continued_by_two(
    tmp_path: Path, dataset_folder: Path
) -> None:
    """It would be another run; so the trial starts from the model."""
    part = make_spec(tmp_path / "part", dataset_folder, fraction=0.5)
    run(part)
    rest = make_spec(tmp_path / "rest", dataset_folder, continue_from=checkpoint_at(part.folder, 4))
    straight = make_spec(tmp_path / "straight", dataset_folder)
    results = run(rest, straight, launcher=TWO)
    assert_same_run((rest, results[0]), (straight, results[1]))


def test_one_process_of_two_that_fails_ends_both(tmp_path: Path) -> None:
    """Else the other would wait for it until it is found to be silent."""
    broken = write_dataset(tmp_path / "broken")
    spec = make_spec(tmp_path / "bad", broken, limits=Limits(silent_seconds=300))
    with (broken / "train.jsonl").open("a") as file:
        file.write('{"prompt": \n')
    after = make_spec(tmp_path / "after", write_dataset(tmp_path / "good"))
    with Supervisor(TWO) as supervisor:
        bad, good = (supervisor.run(each) for each in (spec, after))
    assert bad.failure is not None
    assert bad.failure.kind == "bad_data"
    assert "train.jsonl:41" in bad.failure.message
    assert bad.cost.seconds < 60
    assert good.state == "completed"


def test_two_trials_of_two_processes_do_not_meet(tmp_path: Path, dataset_folder: Path) -> None:
    """Launched at the same moment, they must not take the same port."""
    specs = [make_spec(tmp_path / name, dataset_folder) for name in ("one", "two")]
    with Supervisor([TWO, TWO]) as supervisor, ThreadPoolExecutor(2) as threads:
        results = list(threads.map(supervisor.run, specs))
    assert [(result.state, result.failure) for result in results] == [("completed", None)] * 2
