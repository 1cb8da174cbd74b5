"""A trial that is stopped and continued is the straight one, bit for bit, in other processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import (
    CONFIG,
    LORA,
    SCHEDULE,
    make_spec,
    training_processes,
    write_dataset,
    write_preferences,
)
from tests.trials.runs import assert_same_run, checkpoint_at, run, weights
from trials.checkpoints.registry import CheckpointRegistry
from trials.process.launch import Launcher
from trials.process.supervisor import Cancelled, Supervisor
from trials.spec.events import read_events
from trials.spec.hyperparameters import validate
from trials.spec.plan import StagePlan
from trials.spec.records import (
    Limits,
    StoppingRules,
    TrialSpec,
)

pytestmark = pytest.mark.slow

STEPS = SCHEDULE.total_steps
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "dpo": {"sft_share": 0.375, "dpo_share": 0.25, "dpo_batch_size": 4, "dpo_learning_rate": 1e-3},
    "dpo_lora": {**LORA, "sft_share": 0.25, "dpo_share": 0.375, "dpo_batch_size": 4},
    # Two updates from a buffer, each completion used twice: a buffer lasts four steps.
    "buffer": {"sft_share": 0.0, "rl_updates_per_generation": 2, "rl_num_iterations": 2},
    "greedy": {"sft_share": 1.0, "sft_schedule": "greedy"},
    "wsd": {"sft_schedule": "wsd", "rl_schedule": "wsd", "neftune_alpha": 5.0},
    "wsd_shapes": {
        "sft_schedule": "wsd",
        "sft_decay_shape": "1-sqrt",
        "rl_schedule": "wsd",
        "rl_decay_shape": "linear",
    },
    "rex": {**LORA, "sft_schedule": "rex", "rl_schedule": "uba"},
    "cycle": {"sft_schedule": "one_cycle", "rl_schedule": "infinite"},
    "power": {
        "sft_share": 0.375,
        "sft_schedule": "power",
        "sft_warmup": 0.3,
        "dpo_share": 0.25,
        "dpo_batch_size": 4,
        "dpo_schedule": "infinite",
        "rl_schedule": "wsd",
        "rl_decay_shape": "exponential",
    },
    "packed": {"sft_packing": True},
    "half": {"sft_rows_share": 0.5},
    "thompson": {"rl_curriculum": "thompson", "rl_flat_groups": "mask"},
    "sec": {**LORA, "rl_curriculum": "sec", "rl_train_generations": 2},
    "adarft": {"rl_curriculum": "adarft", "rl_flat_groups": "resample"},
    "knapsack": {"rl_curriculum": "cures", "rl_allocation": "knapsack", "rl_flat_groups": "mask"},
    "dump": {"sft_share": 0.25, "rl_curriculum": "dump", "rl_batch_size": 8},
    "offline": {"sft_share": 0.0, "rl_curriculum": "offline", "rl_train_generations": 3},
    "resample": {"rl_flat_groups": "resample", "rl_train_generations": 2},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preferences(write_dataset(tmp_path_factory.mktemp("pairs") / "sums"))


@pytest.mark.parametrize("kind", KINDS)
def test_continued_from_anywhere_is_the_straight_run(
    tmp_path: Path, dataset: Path, kind: str
) -> None:
    """Stopped inside stages and between them, and twice; continued in a process of its own."""

    def spec(name: str, **changes: Any) -> TrialSpec:
        return make_spec(tmp_path / name, dataset, KINDS[kind], **changes)

    steps = (4,) if kind == "buffer" else (2, 4, 6)
    straight = spec("straight")
    parts = [spec(f"part{step}", fraction=step / STEPS) for step in steps]
    first = run(straight, *parts)
    assert [(result.state, result.failure) for result in first] == [("completed", None)] * len(
        first
    )
    rest = [
        spec(f"rest{step}", continue_from=checkpoint_at(part.folder, step))
        for step, part in zip(steps, parts, strict=True)
    ]
    results = run(*rest)
    if len(steps) > 1:
        twice = spec("twice", continue_from=checkpoint_at(parts[0].folder, 2), fraction=0.75)
        thrice = spec("thrice", continue_from=checkpoint_at(twice.folder, 6))
        rest, results = [*rest, thrice], [*results, run(twice, thrice)[1]]
    for continued, result in zip(rest, results, strict=True):
        assert_same_run((straight, first[0]), (continued, result))
        begun = [
            e
            for e in read_events(Path(continued.folder) / "events.jsonl")
            if e.get("phase") == "loading"
        ]
        assert begun[-1]["continued_from"] == continued.continue_from


ACROSS_EPOCHS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    # 40 rows: an SFT epoch is 10 steps, one of RL 20; 16 pairs: one of DPO is 4 steps.
    "full": ({"sft_steps": 22, "rl_steps": 24}, (12, 20, 43)),
    "dpo": (
        KINDS["dpo"] | {"sft_share": 0.0, "dpo_share": 0.0, "dpo_steps": 10, "rl_steps": 2},
        (6,),
    ),
    "buffer": (KINDS["buffer"] | {"rl_steps": 48}, (44,)),
    "packed": ({"sft_steps": 30, "sft_packing": True, "rl_steps": 2}, (26,)),
}


@pytest.mark.parametrize("kind", ACROSS_EPOCHS)
def test_continued_after_some_epochs_is_the_straight_run(
    tmp_path: Path, dataset: Path, kind: str
) -> None:
    """The order of the rows in a later epoch is that of the straight run, not of the first."""
    config, steps = ACROSS_EPOCHS[kind]
    config = {key: value for key, value in config.items() if key not in ("sft_share", "dpo_share")}
    lengths = {"sft_steps": 0, "dpo_steps": 0, "rl_steps": 0}
    config = lengths | config
    total = sum(config[name] for name in lengths)
    base = {k: v for k, v in CONFIG.items() if k != "sft_share"}

    def spec(name: str, **changes: Any) -> TrialSpec:
        made = make_spec(tmp_path / name, dataset, **changes)
        return made.model_copy(update={"config": {**base, **config}})

    straight = spec("straight")
    parts = [spec(f"part{step}", fraction=step / total) for step in steps]
    rest = [
        spec(f"rest{step}", continue_from=checkpoint_at(part.folder, step))
        for step, part in zip(steps, parts, strict=True)
    ]
    results = run(straight, *parts, *rest)
    assert {result.state for result in results} == {"completed"}
    for continued, result in zip(rest, results[-len(rest) :], strict=True):
        assert_same_run((straight, results[0]), (continued, result))


def test_a_trial_stops_only_where_the_buffer_of_completions_is_used_up(
    tmp_path: Path, dataset: Path
) -> None:
    spec = make_spec(tmp_path / "part", dataset, KINDS["buffer"], fraction=0.25)
    [result] = run(spec)
    assert max(point.step for point in result.curve) == 4
    assert Path(checkpoint_at(spec.folder, 4)).is_dir()


@pytest.mark.parametrize("kind", ["full", "lora", "dpo", "adarft", "power"])
def test_a_warm_worker_is_a_cold_one(tmp_path: Path, dataset: Path, kind: str) -> None:
    """After other trials, one that failed among them, a trial is what it is in a new process."""

    def spec(name: str, config: dict[str, Any] | None = None, **changes: Any) -> TrialSpec:
        return make_spec(tmp_path / name, dataset, config or KINDS[kind], **changes)

    before = [
        spec("lora", LORA),
        spec("other", {"sft_share": 0.0, "rl_beta": 0.0}, seed=5),
        spec("bad", {"rl_batch_size": 9}),
        spec("again"),
    ]
    warm, cold = spec("warm"), spec("cold")
    warm_result = run(*before, warm)[-1]
    [cold_result] = run(cold, trials_per_worker=1)
    assert_same_run((warm, warm_result), (cold, cold_result))


def test_trials_that_differ_in_rl_only_share_the_sft_stage(tmp_path: Path, dataset: Path) -> None:
    one = make_spec(tmp_path / "one", dataset)
    other = make_spec(tmp_path / "other", dataset, {"rl_learning_rate": 1e-4, "rl_beta": 0.0})
    straight = other.model_copy(
        update={"folder": str(tmp_path / "straight"), "trial_id": "straight"}
    )
    first, straight_result = run(one, straight)
    found = CheckpointRegistry(tmp_path).furthest(
        other, validate(other.config), StagePlan(4, 0, 4), among={"one"}
    )
    assert found is not None
    assert (found.manifest.kind, found.manifest.step) == ("weights", 4)
    shared = other.model_copy(update={"continue_from": str(found.path)})
    [result] = run(shared)
    assert_same_run((shared, result), (straight, straight_result))
    assert result.cost.tokens < straight_result.cost.tokens
    inherited = [point for point in first.curve if point.step <= 4]
    assert [point for point in result.curve if point.step <= 4] == inherited


def test_a_damaged_checkpoint_is_skipped_for_an_earlier_one(tmp_path: Path, dataset: Path) -> None:
    part = make_spec(tmp_path / "part", dataset, fraction=0.75)
    whole = make_spec(tmp_path / "whole", dataset)
    straight = make_spec(tmp_path / "straight", dataset)
    straight_result = run(part, straight)[1]
    optimizer = Path(checkpoint_at(part.folder, 6)) / "trainer" / "optimizer.pt"
    content = bytearray(optimizer.read_bytes())
    content[len(content) // 2] ^= 1
    optimizer.write_bytes(content)
    found = CheckpointRegistry(tmp_path).furthest(
        whole, validate(whole.config), StagePlan(4, 0, 4), among={"part"}
    )
    assert found is not None
    assert found.manifest.step == 4
    whole = whole.model_copy(update={"continue_from": str(found.path)})
    [result] = run(whole)
    assert_same_run((whole, result), (straight, straight_result))


def test_a_killed_trial_goes_on_from_its_own_last_checkpoint(tmp_path: Path, dataset: Path) -> None:
    """Saved at every step, killed in RL: the second attempt repeats little and ends the same."""
    longer = SCHEDULE.model_copy(update={"total_steps": 60})
    often = Limits(checkpoint_seconds=1e-9)

    def spec(name: str) -> TrialSpec:
        return make_spec(tmp_path / name, dataset, schedule=longer, limits=often)

    killed: list[int] = []

    def kill_in_rl(trial: TrialSpec, event: dict[str, Any]) -> None:
        if trial.trial_id == "killed" and event.get("stage") == "rl" and event["step"] >= 40:
            for process in training_processes():
                killed.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)

    trial = spec("killed")
    with Supervisor(Launcher(), kill_in_rl) as supervisor:
        first = supervisor.run(trial)
    assert killed
    assert first.failure is not None
    assert first.failure.kind == "killed"
    file = Path(trial.folder) / "result.json"
    file.rename(file.with_name("result.attempt-1.json"))
    straight = spec("straight")
    second, straight_result = run(trial, straight)
    assert_same_run((trial, second), (straight, straight_result))
    assert second.cost.tokens == straight_result.cost.tokens
    begun = [
        event
        for event in map(json.loads, (Path(trial.folder) / "events.jsonl").open())
        if event.get("phase") == "loading"
    ]
    assert len(begun) == 2
    assert "step-00003" in begun[1]["continued_from"] or "step-00004" in begun[1]["continued_from"]


def test_a_cancelled_trial_is_run_again_to_the_same_end(tmp_path: Path, dataset: Path) -> None:
    """Nothing that the interrupted attempt left behind changes the result."""
    longer = SCHEDULE.model_copy(update={"total_steps": 60})
    spec = make_spec(tmp_path / "interrupted", dataset, schedule=longer)
    straight = make_spec(tmp_path / "straight", dataset, schedule=longer)

    def stop_in_rl(_: TrialSpec, event: dict[str, Any]) -> None:
        if event.get("stage") == "rl":
            supervisor.cancel.set()

    with Supervisor(Launcher(), stop_in_rl) as supervisor, pytest.raises(Cancelled):
        supervisor.run(spec)
    assert not (Path(spec.folder) / "result.json").exists()
    # As if it had been killed in the middle of a line.
    with (Path(spec.folder) / "events.jsonl").open("a") as file:
        file.write('{"kind": "metric", "sta')
    first, second = run(spec, straight)
    assert_same_run((spec, first), (straight, second))


def test_a_trial_stopped_by_the_clock_can_be_continued(tmp_path: Path, dataset: Path) -> None:
    longer = SCHEDULE.model_copy(update={"total_steps": 400, "eval_points": (1.0,)})
    short = make_spec(tmp_path / "short", dataset, schedule=longer, limits=Limits(wall_seconds=2))
    straight = make_spec(tmp_path / "straight", dataset, schedule=longer)
    stopped, straight_result = run(short, straight)
    assert stopped.stop is not None
    assert stopped.stop.rule == "wall_clock"
    assert weights(short)
    rest = make_spec(
        tmp_path / "rest",
        dataset,
        schedule=longer,
        continue_from=checkpoint_at(short.folder, stopped.stop.step),
    )
    [result] = run(rest)
    assert_same_run((rest, result), (straight, straight_result))
    assert result.cost.tokens < straight_result.cost.tokens


def test_both_stages_train_a_lora_adapter(tmp_path: Path, dataset: Path) -> None:
    whole = make_spec(tmp_path / "whole", dataset, LORA)
    assert [result.state for result in run(whole)] == ["completed"]
    after_sft, after_rl = weights(whole, "step-000004/weights"), weights(whole)
    assert after_sft.keys() == after_rl.keys()
    for name, tensor in after_sft.items():
        assert tensor.abs().sum() > 0
        assert not tensor.equal(after_rl[name]), name


def test_a_rule_remembers_what_came_before_the_continuation(tmp_path: Path) -> None:
    """Steps without reward before the cut and after it are counted together."""
    config = {"sft_share": 0.0, "rl_learning_rate": 1e-9}
    write_dataset(tmp_path / "data", "reward: exact_match\nanswer_marker: impossible\n")
    rules = StoppingRules(zero_reward_steps=4, no_spread_steps=100)
    for split in ("train", "validation", "test"):
        file = tmp_path / "data" / f"{split}.jsonl"
        file.write_text(file.read_text().replace('"answer": "', '"answer": "never '))

    def spec(name: str, **changes: Any) -> TrialSpec:
        return make_spec(tmp_path / name, tmp_path / "data", config, stopping=rules, **changes)

    part = spec("part", fraction=0.25)
    rest = spec("rest", continue_from=checkpoint_at(part.folder, 2))
    straight, _, rest_result = run(spec("straight"), part, rest)
    assert straight.state == "stopped"
    assert straight.stop is not None
    assert (straight.stop.rule, straight.stop.step) == ("zero_reward", 4)
    assert rest_result.stop == straight.stop


def test_a_trial_that_ends_where_another_one_left_its_weights_is_scored_there(
    tmp_path: Path, dataset: Path
) -> None:
    """The other one took no score at that step."""
    sparse = SCHEDULE.model_copy(update={"eval_points": (0.25, 1.0)})
    whole = make_spec(tmp_path / "whole", dataset, schedule=sparse)
    straight = make_spec(tmp_path / "straight", dataset, schedule=sparse, fraction=0.5)
    adopting = make_spec(
        tmp_path / "adopting",
        dataset,
        {"rl_beta": 0.5},
        schedule=sparse,
        fraction=0.5,
        continue_from=checkpoint_at(tmp_path / "whole", 4),
    )
    _, expected, found = run(whole, straight, adopting)
    assert found.state == "completed"
    assert found.outcomes == expected.outcomes
    assert [point for point in found.curve if point.metric == "score"] == [
        point for point in expected.curve if point.metric == "score"
    ]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path, dataset: Path) -> None:
    part = make_spec(tmp_path / "part", dataset, fraction=0.25)
    other = make_spec(
        tmp_path / "other",
        dataset,
        {"sft_learning_rate": 1e-2},
        continue_from=checkpoint_at(part.folder, 2),
    )
    result = run(part, other)[1]
    assert result.failure is not None
    assert result.failure.kind == "bad_data"
    assert "another configuration" in result.failure.message
