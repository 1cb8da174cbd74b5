"""Real trials through ``accelerate launch``; one launch runs many, as its start-up costs most."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.trials.helpers import LORA, SCHEDULE, TINY, make_spec, write_dataset
from trials.context import load_model
from trials.dataset import fingerprint
from trials.launch import Cancelled, Launcher, Supervisor
from trials.records import Limits, StoppingRules, TrialResult, TrialSpec, read_record
from trials.signals import signals_at

STEPS = SCHEDULE.total_steps
DIVERGING: dict[str, Any] = {
    "sft_learning_rate": 1.0,
    "sft_schedule": "constant",
    "sft_warmup": 0.0,
    "max_grad_norm": 1e9,
}


def run(*specs: TrialSpec, launcher: Launcher | None = None) -> list[TrialResult]:
    return Supervisor(launcher or Launcher()).run_all(specs)


def weights(spec: TrialSpec, name: str = "final") -> dict[str, torch.Tensor]:
    folder = Path(spec.folder) / "checkpoint" / name
    adapter = folder / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else folder / "model.safetensors")


def assert_same_run(
    one: tuple[TrialSpec, TrialResult], other: tuple[TrialSpec, TrialResult]
) -> None:
    """Bit for bit: weights, curve, score and signals."""
    (spec, result), (other_spec, other_result) = one, other
    assert (result.state, result.failure) == (other_result.state, other_result.failure)
    assert result.curve == other_result.curve
    assert (result.score, result.score_se) == (other_result.score, other_result.score_se)
    assert result.signals == other_result.signals
    ours, theirs = weights(spec), weights(other_spec)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def metric(result: TrialResult, stage: str, name: str) -> list[float]:
    return [p.value for p in result.curve if (p.stage, p.metric) == (stage, name)]


# The fast suite: one launch


@pytest.fixture(scope="module")
def batch(
    tmp_path_factory: pytest.TempPathFactory, dataset_folder: Path
) -> dict[str, tuple[TrialSpec, TrialResult]]:
    root = tmp_path_factory.mktemp("batch")
    broken = write_dataset(root / "broken")
    broken_fingerprint = fingerprint(broken)
    with (broken / "train.jsonl").open("a") as file:
        file.write('{"prompt": \n')

    def spec(name: str, config: dict[str, Any] | None = None, **changes: Any) -> TrialSpec:
        return make_spec(root / name, dataset_folder, config, **changes)

    specs = [
        spec("full"),
        make_spec(root / "bad", broken, dataset_fingerprint=broken_fingerprint),
        spec("changed", dataset_fingerprint="0" * 16),
        spec("no_model", fidelity={"model": str(root / "nowhere"), "fraction": 1.0}),
        spec("bad_config", {"rl_batch_size": 9}),
        spec("orphan", continue_from=str(root / "nowhere")),
        spec("lora", LORA),
        spec("sft_only", {"sft_share": 1.0}),
        spec("rl_only", {"sft_share": 0.0, "rl_beta": 0.0}),
        spec("diverging", DIVERGING, stopping=StoppingRules(loss_patience=1)),
        spec("diverging_unruled", DIVERGING, stopping=StoppingRules(enabled=False)),
        spec("part", fraction=0.75),
        spec("continued", continue_from=str(root / "part")),
        spec("unkept", keep_checkpoint=False, fraction=0.25),
    ]
    results = run(*specs)
    return {one.trial_id: (one, result) for one, result in zip(specs, results, strict=True)}


Batch = dict[str, tuple[TrialSpec, TrialResult]]


def test_a_completed_trial_has_everything(batch: Batch) -> None:
    spec, result = batch["full"]
    assert (result.state, result.fraction, result.failure) == ("completed", 1.0, None)
    assert result.score is not None
    assert 0 <= result.score <= 1
    assert result.score_se is not None
    assert 0 < result.score_se < 1
    assert result.checkpoint == "checkpoint"
    assert {path.name for path in (Path(spec.folder) / "checkpoint").iterdir()} == {"final"}
    assert read_record(Path(spec.folder) / "result.json", TrialResult) == result


def test_the_curve_has_every_step_of_both_stages(batch: Batch) -> None:
    _, result = batch["full"]
    steps = {(p.stage, p.metric): [] for p in result.curve}
    for point in result.curve:
        steps[point.stage, point.metric].append(point.step)
    assert steps["sft", "loss"] == [1, 2, 3, 4]
    assert steps["rl", "reward"] == steps["rl", "kl"] == [5, 6, 7, 8]
    assert (steps["sft", "score"], steps["rl", "score"]) == ([2, 4], [6, 8])
    assert result.score == metric(result, "rl", "score")[-1]
    assert all(math.isfinite(point.value) for point in result.curve)


def test_signals_cost_and_provenance(batch: Batch) -> None:
    spec, result = batch["full"]
    assert result.signals == signals_at(result.curve, STEPS, STEPS // 2, STEPS)
    assert {"sft_loss", "rl_reward", "rl_kl", "score"} <= result.signals.keys()
    cost, parameters = result.cost, load_model(TINY).num_parameters()
    assert cost.seconds > 0
    assert cost.peak_memory_bytes > 10**7
    assert 2 * parameters * cost.tokens < cost.flops < 10 * parameters * cost.tokens
    assert result.provenance is not None
    assert result.provenance.dataset_fingerprint == spec.dataset_fingerprint
    assert {"python", "torch", "trl", "transformers"} <= result.provenance.versions.keys()


def test_the_final_weights_are_trained_and_can_be_loaded(batch: Batch) -> None:
    spec, _ = batch["full"]
    final, start = weights(spec), load_file(TINY / "model.safetensors")
    assert final.keys() == start.keys()
    assert all(not torch.equal(final[name], start[name]) for name in final)
    loaded = load_model(Path(spec.folder) / "checkpoint" / "final").state_dict()
    assert all(torch.equal(loaded[name], final[name]) for name in final)


def test_a_lora_trial_keeps_an_adapter(batch: Batch) -> None:
    spec, result = batch["lora"]
    assert result.state == "completed"
    final = weights(spec)
    assert final
    assert all("lora_" in name for name in final)
    # B starts at zero: only training moves it.
    assert all(tensor.abs().sum() > 0 for name, tensor in final.items() if "lora_B" in name)
    assert max(metric(result, "rl", "kl")) > 0
    loaded = load_model(Path(spec.folder) / "checkpoint" / "final")
    assert loaded.peft_config["default"].r == LORA["lora_rank"]


def test_sft_only_and_rl_only(batch: Batch) -> None:
    for name, stage in (("sft_only", "sft"), ("rl_only", "rl")):
        spec, result = batch[name]
        assert (result.state, result.failure) == ("completed", None)
        assert {point.stage for point in result.curve} == {stage}
        assert len(metric(result, stage, "loss")) == STEPS
        assert weights(spec)
    assert metric(batch["rl_only"][1], "rl", "kl") == []


def test_a_rule_without_its_metric_is_reported(batch: Batch) -> None:
    spec, _ = batch["rl_only"]
    log = (Path(spec.folder) / "events.jsonl").read_text()
    assert '"kind": "inactive_rules"' in log
    assert '"rules": ["kl_growth"]' in log
    assert "inactive_rules" not in (Path(batch["full"][0].folder) / "events.jsonl").read_text()


def test_a_diverging_trial_is_stopped_or_failed(batch: Batch) -> None:
    _, result = batch["diverging"]
    assert result.state in ("stopped", "failed")
    if result.stop:
        assert result.stop.rule == "loss_explosion"
        assert result.fraction == result.stop.step / STEPS
        assert result.score is not None
    else:
        assert result.failure is not None
        assert result.failure.kind == "diverged"
    _, unruled = batch["diverging_unruled"]
    if unruled.state == "completed":
        assert unruled.score is not None
        assert math.isfinite(unruled.score)
    else:
        assert unruled.failure is not None
        assert unruled.failure.kind == "diverged"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad", "train.jsonl:41: broken JSON"),
        ("changed", "the data changed since the run began"),
        ("no_model", "no tokenizer for"),
        ("bad_config", "rl_batch_size=9 is not a multiple"),
        ("orphan", "nothing to continue from"),
    ],
)
def test_bad_input_is_refused_with_its_reason(batch: Batch, name: str, message: str) -> None:
    """And the trials after it are run as if nothing had happened."""
    spec, result = batch[name]
    assert (result.state, result.score, result.checkpoint) == ("failed", None, None)
    assert result.failure is not None
    assert result.failure.kind == "bad_data"
    assert message in result.failure.message
    assert "Traceback" in result.failure.log_tail
    assert not (Path(spec.folder) / "checkpoint").exists()


def test_a_continued_trial_is_the_straight_one(batch: Batch) -> None:
    part_spec, part = batch["part"]
    assert (part.state, part.fraction) == ("completed", 0.75)
    assert max(point.step for point in part.curve) == 6
    assert (Path(part_spec.folder) / "checkpoint" / "sft_final").is_dir()
    assert_same_run(batch["full"], batch["continued"])


def test_a_continued_trial_pays_its_own_part_only(batch: Batch) -> None:
    full, part, rest = (batch[name][1].cost for name in ("full", "part", "continued"))
    assert full.tokens == part.tokens + rest.tokens
    assert full.flops == pytest.approx(part.flops + rest.flops)


def test_a_checkpoint_is_kept_only_if_asked(batch: Batch) -> None:
    spec, result = batch["unkept"]
    assert (result.state, result.checkpoint) == ("completed", None)
    assert not (Path(spec.folder) / "checkpoint").exists()


# Slow: more ways to stop and continue, and more processes


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_continued_from_anywhere_is_the_straight_run(
    tmp_path: Path, dataset_folder: Path, adapter: dict[str, Any]
) -> None:
    """Stopped inside SFT, at its end, inside RL, and twice; continued in other processes."""

    def spec(name: str, **changes: Any) -> TrialSpec:
        return make_spec(tmp_path / name, dataset_folder, adapter, **changes)

    fractions = (0.25, 0.5, 0.75)
    straight = spec("straight")
    parts = [spec(f"part{fraction}", fraction=fraction) for fraction in fractions]
    first = run(straight, *parts)
    assert [result.state for result in first] == ["completed"] * 4
    rest = [
        spec(f"rest{fraction}", continue_from=part.folder)
        for fraction, part in zip(fractions, parts, strict=True)
    ]
    twice = spec("twice", continue_from=parts[0].folder, fraction=0.75)
    thrice = spec("thrice", continue_from=twice.folder)
    results = run(*rest, twice, thrice)
    for continued, result in zip([*rest, thrice], [*results[:3], results[4]], strict=True):
        assert_same_run((straight, first[0]), (continued, result))


@pytest.mark.slow
def test_both_stages_train_a_lora_adapter(tmp_path: Path, dataset_folder: Path) -> None:
    half = make_spec(tmp_path / "half", dataset_folder, LORA, fraction=0.5)
    whole = make_spec(tmp_path / "whole", dataset_folder, LORA, continue_from=half.folder)
    assert [result.state for result in run(half, whole)] == ["completed"] * 2
    after_sft, after_rl = weights(half, "sft_final"), weights(whole)
    assert after_sft.keys() == after_rl.keys()
    for name, tensor in after_sft.items():
        assert tensor.abs().sum() > 0
        assert not torch.equal(tensor, after_rl[name]), name


@pytest.mark.slow
def test_a_rule_remembers_what_came_before_the_continuation(
    tmp_path: Path, dataset_folder: Path
) -> None:
    """Three steps without spread or reward before the cut and one after it make four."""
    config = {"sft_share": 0.0, "rl_learning_rate": 1e-9}
    write_dataset(tmp_path / "data", "reward: exact_match\nanswer_marker: impossible\n")
    rules = StoppingRules(zero_reward_steps=4, no_spread_steps=100)
    for split in ("train", "validation", "test"):
        file = tmp_path / "data" / f"{split}.jsonl"
        file.write_text(file.read_text().replace('"answer": "', '"answer": "never '))

    def spec(name: str, **changes: Any) -> TrialSpec:
        return make_spec(tmp_path / name, tmp_path / "data", config, stopping=rules, **changes)

    part = spec("part", fraction=0.25)
    straight, _, rest = run(spec("straight"), part, spec("rest", continue_from=part.folder))
    assert straight.state == "stopped"
    assert straight.stop is not None
    assert (straight.stop.rule, straight.stop.step) == ("zero_reward", 4)
    assert rest.stop == straight.stop


@pytest.mark.slow
def test_trials_in_one_process_are_as_in_their_own(tmp_path: Path, dataset_folder: Path) -> None:
    configs: list[dict[str, Any]] = [LORA, {}, {"sft_share": 0.0, "rl_beta": 0.0}]

    def specs(name: str) -> list[TrialSpec]:
        return [
            make_spec(tmp_path / f"{name}{number}", dataset_folder, config)
            for number, config in enumerate(configs)
        ]

    together, alone = specs("together"), specs("alone")
    pairs = zip(together, run(*together), alone, [run(spec)[0] for spec in alone], strict=True)
    for one, result, other, other_result in pairs:
        assert result.state == "completed"
        assert_same_run((one, result), (other, other_result))


def training_processes(root: psutil.Process) -> Iterator[psutil.Process]:
    for child in root.children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        if "trials.run" in command and not any("accelerate" in part for part in command):
            yield child


@pytest.mark.slow
def test_two_processes_on_the_cpu(tmp_path: Path, dataset_folder: Path) -> None:
    """Both stages, twice the same; two workers; the wall-clock limit stops both at one step."""
    long = SCHEDULE.model_copy(update={"total_steps": 100_000, "eval_points": (1.0,)})
    specs = [
        make_spec(tmp_path / "one", dataset_folder),
        make_spec(tmp_path / "two", dataset_folder),
        make_spec(tmp_path / "lora", dataset_folder, LORA),
        make_spec(tmp_path / "late", dataset_folder, schedule=long, limits=Limits(wall_seconds=8)),
    ]
    most = 0
    done = threading.Event()

    def count() -> None:
        nonlocal most
        while not done.wait(0.3):
            most = max(most, len(list(training_processes(psutil.Process()))))

    counter = threading.Thread(target=count)
    counter.start()
    try:
        one, two, lora, late = run(*specs, launcher=Launcher(processes=2))
    finally:
        done.set()
        counter.join()
    assert most == 2
    assert [one.state, two.state, lora.state] == ["completed"] * 3
    assert_same_run((specs[0], one), (specs[1], two))
    assert {point.stage for point in one.curve} == {"sft", "rl"}
    assert late.state == "stopped"
    assert late.stop is not None
    assert late.stop.rule == "wall_clock"
    assert not psutil.Process().children(recursive=True)


@pytest.mark.slow
def test_the_wall_clock_limit_stops_gracefully(tmp_path: Path, dataset_folder: Path) -> None:
    long = SCHEDULE.model_copy(update={"total_steps": 100_000, "eval_points": (1.0,)})
    spec = make_spec(
        tmp_path / "long", dataset_folder, schedule=long, limits=Limits(wall_seconds=5)
    )
    [result] = run(spec)
    assert (result.state, result.failure) == ("stopped", None)
    assert result.stop is not None
    assert result.stop.rule == "wall_clock"
    assert result.stop.values["seconds"] >= result.stop.values["limit"] == 5
    assert result.fraction == result.stop.step / 100_000
    assert result.score is not None
    assert result.cost.seconds < 15
    assert weights(spec)


@pytest.mark.slow
def test_a_killed_training_process_is_a_crash(tmp_path: Path, dataset_folder: Path) -> None:
    """Killed below ``accelerate launch``, as the kernel does; the next trial still runs."""
    long = SCHEDULE.model_copy(update={"total_steps": 100_000, "eval_points": (1.0,)})
    victim = make_spec(tmp_path / "victim", dataset_folder, schedule=long)
    heir = make_spec(tmp_path / "heir", dataset_folder)

    def kill_when_training(spec: TrialSpec, event: dict[str, Any]) -> None:
        if spec.trial_id == "victim" and event["kind"] == "metric":
            for process in training_processes(psutil.Process()):
                os.kill(process.pid, signal.SIGKILL)

    crashed, completed = Supervisor(Launcher(), kill_when_training).run_all([victim, heir])
    assert crashed.failure is not None
    assert crashed.failure.kind == "crashed"
    assert "SIGKILL" in crashed.failure.message
    assert completed.state == "completed"


@pytest.mark.slow
def test_a_trial_whose_supervisor_was_killed_is_run_again_to_the_same_end(
    tmp_path: Path, dataset_folder: Path
) -> None:
    """Nothing that the killed attempt left behind changes the result."""
    longer = SCHEDULE.model_copy(update={"total_steps": 60})
    spec = make_spec(tmp_path / "interrupted", dataset_folder, schedule=longer)
    straight = make_spec(tmp_path / "straight", dataset_folder, schedule=longer)
    supervisor = Supervisor(Launcher())

    def stop_in_rl(_: TrialSpec, event: dict[str, Any]) -> None:
        if event.get("stage") == "rl":
            supervisor.cancel.set()

    supervisor.on_event = stop_in_rl
    with pytest.raises(Cancelled):
        supervisor.run(spec)
    assert not (Path(spec.folder) / "result.json").exists()
    # As if it had been killed in the middle of a line.
    with (Path(spec.folder) / "events.jsonl").open("a") as file:
        file.write('{"kind": "metric", "sta')
    first, second = run(spec, straight)
    assert_same_run((spec, first), (straight, second))
