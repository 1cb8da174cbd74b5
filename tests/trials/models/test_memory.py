from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from tests.trials.helpers import ROOT, SCHEDULE, TINY, make_spec, sums, write_rows
from trials.models.loading import count_parameters
from trials.models.memory import (
    MemoryEstimate,
    TooLargeForMemory,
    available_memory_bytes,
    available_ram_bytes,
    check_fits,
    estimate_memory,
    oom_kills,
    peak_memory_bytes,
    reset_peak_memory,
)
from trials.models.tokenizer import load_config
from trials.spec.arguments import Execution
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import Compute, Fidelity, TrialResult, read_record, write_json

MEBIBYTE = 2**20
CPU = Execution(seed=0, processes=1, on_cpu=True, bf16=False)
BF16_GPU = Execution(seed=0, processes=1, on_cpu=False, bf16=True)
SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)

# What was taken


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone resets it")
def test_each_trial_has_a_peak_of_its_own() -> None:
    """In a process of its own: what other tests left in the heap would blur the picture."""
    code = """
import json
from trials.models.memory import peak_memory_bytes, reset_peak_memory
def trial(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
reset_peak_memory()
before = peak_memory_bytes()
trial(200 * 2**20)
first = peak_memory_bytes()
reset_peak_memory()
after = peak_memory_bytes()
trial(50 * 2**20)
print(json.dumps([first - before, after - before, peak_memory_bytes() - before]))
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, after, second = (size / MEBIBYTE for size in json.loads(done.stdout))
    assert first == pytest.approx(200, abs=10)
    assert after == pytest.approx(0, abs=10)
    assert second == pytest.approx(50, abs=10)


def test_small_tensors_of_the_last_trial_do_not_count_for_the_next() -> None:
    """Freed blocks below glibc's threshold stay in the heap until they are given back."""
    code = """
from trials.models.memory import peak_memory_bytes, reset_peak_memory
reset_peak_memory()
before = peak_memory_bytes()
blocks = [bytes(100_000) for _ in range(2_000)]
pin = bytes(50_000)
del blocks
reset_peak_memory()
print((peak_memory_bytes() - before) / 2**20)
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 30


# What there is


def test_some_memory_is_available() -> None:
    assert 0 < available_ram_bytes() < 2**50
    assert 0 < available_memory_bytes() < 2**50
    reset_peak_memory()
    assert peak_memory_bytes() > 0


def write_group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def test_a_container_limits_what_is_available_version_2(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/jobs/trial\n")
    mount = tmp_path / "sys/fs/cgroup"
    write_group(mount / "jobs/trial", {"memory.max": "max", "memory.current": 50})
    write_group(
        mount / "jobs",
        {
            "memory.max": 900,
            "memory.current": 400,
            "memory.stat": "anon 300\ninactive_file 100",
        },
    )
    assert available_ram_bytes(tmp_path) == 600  # file cache is given up when it is wanted
    (mount / "jobs/memory.max").write_text("max\n")
    assert available_ram_bytes(tmp_path) == pytest.approx(available_ram_bytes(), rel=0.1)
    write_group(mount, {"memory.max": 100, "memory.current": 200})
    assert available_ram_bytes(tmp_path) == 0


def test_a_container_limits_what_is_available_version_1(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("8:pids:/\n4:memory:/docker/abc\n0::/\n")
    # Inside a container its own group is mounted at the top, and its path does not exist.
    write_group(
        tmp_path / "sys/fs/cgroup/memory",
        {
            "memory.limit_in_bytes": 700,
            "memory.usage_in_bytes": 300,
            "memory.stat": "total_inactive_file 50",
        },
    )
    assert available_ram_bytes(tmp_path) == 450


# What a trial needs


def estimate(
    config: Any = SMOLLM2, execution: Execution = CPU, batch: int = 4, **changes: Any
) -> MemoryEstimate:
    sizes = dict.fromkeys(("sft_batch_size", "dpo_batch_size", "rl_batch_size"), 8 * batch)
    h = Hyperparameters(**{"rl_beta": 0.0, **sizes, **changes.pop("h", {})})
    plan = changes.pop("plan", StagePlan(sft=6, dpo=0, rl=0))
    lengths = {"max_length": 128, "max_completion_tokens": 32}
    schedule = SCHEDULE.model_copy(update={**lengths, "micro_batch_size": batch})
    parameters = count_parameters(config)
    return estimate_memory(config, parameters, h, plan, schedule, execution, **changes)


def test_full_weights_take_sixteen_bytes_a_parameter() -> None:
    parameters = count_parameters(SMOLLM2)
    found = estimate(batch=1)
    assert found.weights == found.gradients == 4 * parameters
    assert found.optimizer == 8 * parameters
    assert found.reference == 0
    assert found.total == 16 * parameters  # so few activations are less than the gradients


def test_lora_trains_what_peft_trains() -> None:
    for config in (SMOLLM2, load_config(str(TINY))):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
            settings = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
            trained, _ = get_peft_model(model, settings).get_nb_trainable_parameters()
        found = estimate(config, h={"adapter": "lora", "lora_rank": 8})
        assert found.gradients == 4 * trained
        assert found.optimizer == 8 * trained
    attention, mlp = (
        estimate(h={"adapter": "lora", "lora_rank": 8, "lora_targets": targets}).gradients
        for targets in ("attention", "mlp")
    )
    assert attention + mlp == estimate(h={"adapter": "lora", "lora_rank": 8}).gradients


def test_frozen_weights_are_held_in_bfloat16_where_it_is_used() -> None:
    lora = {"adapter": "lora", "lora_rank": 8}
    parameters = count_parameters(SMOLLM2)
    adapter = estimate(h=lora).gradients
    assert estimate(h=lora, execution=BF16_GPU).weights == 2 * parameters + adapter
    assert estimate(execution=BF16_GPU).weights == 4 * parameters


@pytest.mark.parametrize(
    ("plan", "h", "copies"),
    [
        (StagePlan(sft=2, dpo=0, rl=0), {"rl_beta": 0.1}, 0),
        (StagePlan(sft=0, dpo=2, rl=0), {}, 1),
        (StagePlan(sft=0, dpo=0, rl=2), {"rl_beta": 0.1}, 1),
        (StagePlan(sft=0, dpo=0, rl=2), {"rl_beta": 0.0}, 0),
        (StagePlan(sft=0, dpo=2, rl=2), {"rl_beta": 0.1, "adapter": "lora"}, 0),
    ],
)
def test_the_reference_model_counts_where_there_is_one(
    plan: StagePlan, h: dict[str, Any], copies: int
) -> None:
    found = estimate(plan=plan, h=h)
    assert found.reference == copies * 4 * count_parameters(SMOLLM2)


def test_the_estimate_is_that_of_the_largest_stage() -> None:
    plan = StagePlan(sft=2, dpo=2, rl=2)
    assert estimate(plan=plan, h={"rl_beta": 0.1}).stage == "dpo"  # two rows for each pair
    assert estimate(plan=StagePlan(sft=2, dpo=0, rl=2), h={"rl_beta": 0.1}).stage == "rl"
    assert estimate(plan=StagePlan(sft=2, dpo=0, rl=2), h={"rl_beta": 0}, batch=64).stage == "sft"


def test_gated_and_plain_mlps_are_told_apart() -> None:
    plain = GPT2Config(n_embd=128, n_layer=4, n_head=4, vocab_size=1000)
    gated = LlamaConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        vocab_size=1000,
        tie_word_embeddings=False,
    )
    # norms 4 h, attention 4 h, and 2 or 4 values for each of the 4 h of the MLP
    tile = 128 * 1000
    for config, each in ((plain, 4 + 4 + 8), (gated, 4 + 4 + 16)):
        found = estimate(config, batch=1).logits_and_activations
        assert found == 4 * (128 * 4 * each * 128 + tile)


def test_gradient_checkpointing_keeps_the_inputs_of_layers_alone() -> None:
    whole = estimate(batch=64).logits_and_activations
    found = estimate(batch=64, execution=replace(CPU, compute=Compute(gradient_checkpointing=True)))
    inputs = 4 * 64 * 128 * SMOLLM2.num_hidden_layers * SMOLLM2.hidden_size
    assert inputs < found.logits_and_activations < whole / 5


def test_rows_shorter_than_the_limit_take_less() -> None:
    whole = estimate(batch=64).logits_and_activations
    # The longest row decides: 128 tokens by default here.
    assert estimate(batch=64, longest_row=32).logits_and_activations < whole / 3
    packed = estimate(batch=64, longest_row=32, h={"sft_packing": True})
    assert packed.logits_and_activations == whole


def test_sharded_weights_are_split_over_the_processes() -> None:
    four = Execution(seed=0, processes=4, on_cpu=False, bf16=True)
    whole, part = estimate(execution=four), estimate(execution=four, sharded=True)
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(part, name) == getattr(whole, name) // 4
    assert part.logits_and_activations == whole.logits_and_activations


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from(["full", "lora"]))
def test_a_larger_batch_never_needs_less(batch: int, more: int, adapter: str) -> None:
    h = {"adapter": adapter}
    config = load_config(str(TINY))
    small, large = estimate(config, batch=batch, h=h), estimate(config, batch=batch + more, h=h)
    assert small.total <= large.total
    assert small.logits_and_activations < large.logits_and_activations
    assert small.total <= sum(
        (
            small.weights,
            small.gradients,
            small.optimizer,
            small.reference,
            small.logits_and_activations,
        )
    )


def test_what_cannot_fit_is_refused_with_the_way_out() -> None:
    found = estimate(batch=1)
    check_fits(found, found.total)
    with pytest.raises(TooLargeForMemory) as refusal:
        check_fits(found, found.total - 1)
    assert isinstance(refusal.value, MemoryError)
    message = str(refusal.value)
    assert "at least 2.0 GiB of memory on each device, and may use 2.0 GiB" in message
    assert "513.1 MiB  weights" in message
    for part in ("optimizer", "gradients", "reference", "activations"):
        assert part in message
    for way in ("sft_batch_size", "--micro-batch", "adapter: lora", "gradient_checkpointing"):
        assert way in message
    assert "--parallel" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    "h", [{"sft_batch_size": 32}, {"sft_batch_size": 16, "adapter": "lora", "lora_rank": 8}]
)
def test_the_estimate_bounds_what_a_trial_takes(tmp_path: Path, h: dict[str, Any]) -> None:
    """Peaks of real trials of 253-token rows over that of a process with the same imports.

    Measured in MiB on a CPU with PyTorch 2.13, RL at batch 8; the imports take 486:

    | model     | SFT batch | estimate | measured | ratio |
    |-----------|-----------|----------|----------|-------|
    | tiny-100k |         8 |       19 |      121 |   6.4 |
    | tiny-100k |        64 |      120 |      383 |   3.2 |
    | tiny-1m   |         8 |      104 |      270 |   2.6 |
    | tiny-1m   |        64 |      731 |     1250 |   1.7 |
    | tiny-4m   |         8 |      227 |      458 |   2.0 |
    | tiny-4m   |        64 |     1476 |     2410 |   1.6 |

    What is not counted, about 100 MiB, hides what the smallest trials need.
    """
    model = ROOT / "data" / "models" / "tiny-4m"
    for split, count, start in (("train", 80, 0), ("validation", 12, 80), ("test", 8, 100)):
        rows = [{**row, "prompt": "Add. " * 60 + row["prompt"]} for row in sums(count, start)]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    schedule = SCHEDULE.model_copy(
        update={"max_length": 512, "eval_batch_size": 4, "total_steps": 4}
    )
    spec = make_spec(
        tmp_path / "trial",
        tmp_path / "data",
        h,
        fidelity=Fidelity(model=str(model), fraction=1.0),
        schedule=schedule,
    )
    write_json(tmp_path / "trial" / "spec.json", spec)
    baseline = _run(
        "-c",
        "import trials.training.run, trials.training.trainers; from trials.models.memory import *;"
        "print(peak_memory_bytes())",
    )
    _run("-m", "trials.training.run", str(tmp_path / "trial" / "spec.json"))
    result = read_record(tmp_path / "trial" / "result.json", TrialResult)
    assert result.state == "completed", result.failure
    taken = result.cost.peak_memory_bytes - int(baseline)

    config, hyperparameters = load_config(str(model)), validate(spec.config)
    needed = estimate_memory(
        config,
        count_parameters(config),
        hyperparameters,
        plan_steps(hyperparameters, schedule, 80, 0),
        schedule,
        CPU,
        longest_row=_longest(tmp_path / "data"),
    )
    assert needed.total <= taken <= 3 * needed.total
    assert needed.total <= result.cost.peak_memory_bytes


def _run(*command: str) -> str:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _longest(folder: Path) -> int:
    from trials.data.dataset import load_dataset, render
    from trials.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(TINY))
    rows = load_dataset(folder).splits["train"]
    texts = [render(tokenizer, row.prompt + row.completion) for row in rows]
    return max(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/jobs/trial\n", "sys/fs/cgroup/jobs/trial/memory.events"),
        ("4:memory:/docker/abc\n", "sys/fs/cgroup/memory/docker/abc/memory.oom_control"),
    ],
    ids=["version 2", "version 1"],
)
def test_kills_of_the_kernel_are_counted(tmp_path: Path, groups: str, file: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert oom_kills(tmp_path) == 0  # no control groups at all
    (tmp_path / "proc/self/cgroup").write_text(groups)
    assert oom_kills(tmp_path) == 0
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("oom 5\noom_kill 3\n")
    assert oom_kills(tmp_path) == 3
