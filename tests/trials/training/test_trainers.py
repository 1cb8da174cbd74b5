"""TRL's trainers as a trial builds them: they train what is asked for, and continue exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.utils import RepeatSampler

from tests.trials.helpers import SCHEDULE, TINY, make_spec, sums, write_dataset
from trials.io.errors import HyperparameterError
from trials.models.loading import load_model
from trials.spec.events import EventLog
from trials.spec.hyperparameters import DPOLoss
from trials.spec.kinds import Stage
from trials.spec.records import Compute
from trials.training.context import TrialContext, prepare
from trials.training.grpo import EpochSampler
from trials.training.trainers import dpo_trainer, lora_config, rl_trainer, sft_trainer

TRAINERS: dict[Stage, Callable[..., Any]] = {
    "sft": sft_trainer,
    "dpo": dpo_trainer,
    "rl": rl_trainer,
}
ONLY: dict[Stage, dict[str, Any]] = {
    "sft": {"sft_share": 1.0},
    "dpo": {"sft_share": 0.0, "dpo_share": 1.0, "dpo_batch_size": 4, "dpo_learning_rate": 1e-3},
    "rl": {"sft_share": 0.0, "rl_temperature": 3.0},
}
LORA = {"adapter": "lora", "lora_rank": 4}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("trainers") / "sums")
    pairs = [
        {"prompt": row["prompt"], "chosen": row["answer"], "rejected": str(int(row["answer"]) + 1)}
        for row in sums(20)
    ]
    (folder / "preferences.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return folder


@pytest.fixture
def context(data: Path, tmp_path: Path) -> Callable[..., TrialContext]:
    count = 0

    def build(config: dict[str, Any], **changes: Any) -> TrialContext:
        nonlocal count
        count += 1
        folder = tmp_path / f"trial-{count}"
        folder.mkdir()
        schedule = SCHEDULE.model_copy(update=changes.pop("schedule", {}))
        spec = make_spec(folder, data, config, schedule=schedule, **changes)
        return prepare(spec, EventLog(folder / "events.jsonl"))

    return build


class StopAt(TrainerCallback):
    def __init__(self, step: int):
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step == self._step:
            control.should_save = control.should_training_stop = True
        return control


def quiet(trainer: Any) -> Any:
    trainer.remove_callback(PrinterCallback)
    return trainer


def trained(
    context: TrialContext, stage: Stage, start: Path = TINY, stop_at: int | None = None
) -> Path:
    """Trains one stage, in two halves if it is stopped between; returns the weights' folder."""
    output = context.folder / stage
    trainer = quiet(TRAINERS[stage](context, start, output))
    if stop_at:
        trainer.add_callback(StopAt(stop_at))
        trainer.train()
        assert trainer.state.global_step == stop_at
        trainer = quiet(TRAINERS[stage](context, start, output))
        trainer.train(resume_from_checkpoint=str(output / f"checkpoint-{stop_at}"))
    else:
        trainer.train()
    assert trainer.state.global_step == context.plan.steps(stage)
    trainer.save_model(str(output / "end"))
    (output / "log.json").write_text(json.dumps(trainer.state.log_history))
    return output / "end"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    [file] = folder.glob("*.safetensors")
    found: dict[str, torch.Tensor] = load_file(file)
    return found


def log_of(folder: Path, key: str) -> list[float]:
    entries = json.loads((folder.parent / "log.json").read_text())
    return [entry[key] for entry in entries if key in entry]


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not value.equal(second[name])] == []


# One of each stage here; the rest of what a checkpoint must hold is tested with the slow ones.
CONTINUED: list[tuple[Stage, dict[str, Any], int]] = [
    ("sft", {"sft_schedule": "greedy", "sft_warmup": None}, 3),
    ("dpo", {**LORA, "lora_targets": "mlp"}, 5),
    ("rl", {"rl_updates_per_generation": 2, "rl_num_iterations": 2}, 4),
]
CONTINUED_TOO: list[tuple[Stage, dict[str, Any], int]] = [
    ("sft", {"sft_schedule": "wsd", "sft_warmup": 0.25}, 5),
    ("sft", {"sft_schedule": "cosine_min_lr", **LORA, "lora_targets": "attention"}, 3),
    ("sft", {"sft_packing": True, "neftune_alpha": 5.0}, 3),
    ("dpo", {"dpo_loss_type": "ipo"}, 3),
    ("rl", {**LORA, "rl_loss_type": "cispo", "rl_entropy_coef": 0.01}, 3),
]


@pytest.mark.parametrize(
    ("stage", "config", "stop_at"),
    [*CONTINUED, *(pytest.param(*each, marks=pytest.mark.slow) for each in CONTINUED_TOO)],
)
def test_a_stage_stopped_and_continued_is_one_that_ran_straight(
    context: Callable[..., TrialContext], stage: Stage, config: dict[str, Any], stop_at: int
) -> None:
    config = ONLY[stage] | config
    straight = trained(context(config), stage)
    assert_same(trained(context(config), stage, stop_at=stop_at), straight)
    start = weights(TINY)
    moved = [k for k, v in weights(straight).items() if k not in start or not v.equal(start[k])]
    assert moved


def test_adapters_are_where_they_were_asked_for(context: Callable[..., TrialContext]) -> None:
    found = context(ONLY["sft"] | LORA | {"lora_targets": "mlp"})
    names = set(weights(trained(found, "sft")))
    assert names
    assert all(".mlp." in name for name in names)


def test_a_model_without_such_layers_is_refused(context: Callable[..., TrialContext]) -> None:
    found = context(ONLY["sft"] | LORA | {"lora_targets": "attention"})
    with pytest.raises(HyperparameterError, match="lora_targets='attention': no layer of Linear"):
        lora_config(found, torch.nn.Linear(2, 2))


@pytest.mark.parametrize("adapter", [{}, pytest.param(LORA, marks=pytest.mark.slow)])
def test_each_stage_goes_on_from_the_one_before(
    context: Callable[..., TrialContext], adapter: dict[str, Any]
) -> None:
    config = ONLY["rl"] | ONLY["dpo"] | {"sft_share": 0.25, "dpo_share": 0.25}
    # Both stages before have sharpened the model: only lengths still differ, and only when hot.
    found = context(config | adapter | {"rl_temperature": 5.0, "rl_length_weight": 1.0})
    assert found.plan.stages == ("sft", "dpo", "rl")
    sft = trained(found, "sft")
    dpo = trained(found, "dpo", sft)
    rl = trained(found, "rl", dpo)
    for before, after in ((sft, dpo), (dpo, rl)):
        first, second = weights(before), weights(after)
        assert first.keys() == second.keys()
        assert any(not value.equal(second[name]) for name, value in first.items())
    # Both references are the model that the stage starts from: no distance to it at first.
    assert log_of(dpo, "rewards/margins")[0] == pytest.approx(0, abs=1e-6)
    assert log_of(dpo, "rewards/margins")[1] != 0
    assert log_of(rl, "kl")[0] == pytest.approx(0, abs=1e-6)
    assert log_of(rl, "kl")[-1] > 0


@pytest.mark.parametrize(
    "stage", ["rl", *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("sft", "dpo"))]
)
def test_small_batches_on_the_device_change_only_rounding(
    context: Callable[..., TrialContext], stage: Stage
) -> None:
    config = ONLY[stage] | {"rl_updates_per_generation": 2}
    whole = weights(trained(context(config), stage))
    parts = weights(trained(context(config, schedule={"micro_batch_size": 2}), stage))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=2e-4)


def test_gradient_checkpointing_changes_only_rounding(
    context: Callable[..., TrialContext],
) -> None:
    plain = weights(trained(context(ONLY["sft"]), "sft"))
    less = context(ONLY["sft"], compute=Compute(gradient_checkpointing=True))
    for name, value in weights(trained(less, "sft")).items():
        torch.testing.assert_close(plain[name], value, rtol=1e-4, atol=1e-5)


def test_packed_documents_do_not_see_each_other(context: Callable[..., TrialContext]) -> None:
    found = context(ONLY["sft"] | {"sft_packing": True, "sft_batch_size": 2})
    trainer = sft_trainer(found, TINY, found.folder / "sft")
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape[0] == 1
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) > 8
    model = load_model(TINY).eval()
    assert model.config._attn_implementation == "sdpa"
    tokens = batch["input_ids"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        packed = model(**inputs, use_cache=False).logits[0]
        joined = model(tokens, use_cache=False).logits[0]
        for start, end in zip(starts, [*starts[1:], tokens.shape[1]], strict=True):
            alone = model(tokens[:, start:end], use_cache=False).logits[0]
            torch.testing.assert_close(packed[start:end], alone, rtol=1e-4, atol=1e-5)
    # What the test would find if they did: the last document is another one without its bounds.
    assert (joined[starts[-1] :] - alone).abs().max() > 1e-3


def test_the_loss_covers_the_prompt_when_asked(context: Callable[..., TrialContext]) -> None:
    counts = []
    for only in (True, False):
        found = context(ONLY["sft"] | {"sft_completion_only": only})
        trainer = sft_trainer(found, TINY, found.folder / "sft")
        batch = next(iter(trainer.get_train_dataloader()))
        counts.append(int((batch["labels"] != -100).sum()))
    assert counts[0] < counts[1]


def test_greedy_follows_the_validation_loss(context: Callable[..., TrialContext]) -> None:
    config = {"sft_schedule": "greedy", "sft_warmup": None, "sft_learning_rate": 3e-3}
    end = trained(context(ONLY["sft"] | config, schedule={"total_steps": 16}), "sft")
    losses, rates = log_of(end, "eval_loss"), log_of(end, "learning_rate")
    assert len(losses) == 16
    best = float("inf")
    for loss, before, after in zip(losses, rates, rates[1:], strict=False):
        better = loss < best - 1e-6
        assert after == pytest.approx(before / 0.9 if better else before * 0.9)
        best = min(best, loss)
    assert len(set(rates)) > 2


# The one that differs most from the default, and with the slow tests all others.
POLICY_LOSSES: list[dict[str, Any]] = [
    *({"rl_loss_type": loss} for loss in ("grpo", "bnpo", "dr_grpo", "sapo", "luspo")),
    {"rl_loss_type": "grpo", "rl_importance_sampling_level": "sequence"},
    {"rl_top_entropy_quantile": 0.2, "rl_mask_truncated": True},
    {"rl_top_p": 0.9, "rl_top_k": 5, "rl_scale_rewards": "none", "rl_max_completion_tokens": 3},
]
PREFERENCE_LOSSES = [loss for loss in get_args(DPOLoss) if loss not in ("sigmoid", "ipo")]


@pytest.mark.parametrize(
    "config",
    [
        {"rl_loss_type": "vespo"},
        *(pytest.param(config, marks=pytest.mark.slow) for config in POLICY_LOSSES),
    ],
)
def test_every_policy_loss_trains(
    context: Callable[..., TrialContext], config: dict[str, Any]
) -> None:
    found = context(ONLY["rl"] | config, schedule={"total_steps": 2})
    assert all(value == value for value in log_of(trained(found, "rl"), "loss"))


@pytest.mark.parametrize(
    "loss",
    [
        PREFERENCE_LOSSES[0],
        *(pytest.param(loss, marks=pytest.mark.slow) for loss in PREFERENCE_LOSSES[1:]),
    ],
)
def test_every_preference_loss_trains(context: Callable[..., TrialContext], loss: str) -> None:
    found = context(ONLY["dpo"] | {"dpo_loss_type": loss}, schedule={"total_steps": 2})
    assert all(value == value for value in log_of(trained(found, "dpo"), "loss"))


def test_dynamic_fine_tuning_trains_otherwise(context: Callable[..., TrialContext]) -> None:
    plain = trained(context(ONLY["sft"]), "sft")
    other = trained(context(ONLY["sft"] | {"sft_loss_type": "dft"}), "sft")
    assert log_of(plain, "loss")[0] != log_of(other, "loss")[0]


def test_the_terms_of_the_reward_are_weighted(context: Callable[..., TrialContext]) -> None:
    config = ONLY["rl"] | {"rl_format_weight": 0.5, "rl_length_weight": 2.0}
    found = context(config, schedule={"total_steps": 2})
    end = trained(found, "rl")
    kind = str(found.dataset.card.reward)
    parts = [log_of(end, f"rewards/{name}/mean") for name in (kind, "format", "length")]
    sums_of_parts = [
        task + 0.5 * form + 2 * length for task, form, length in zip(*parts, strict=True)
    ]
    assert log_of(end, "reward") == pytest.approx(sums_of_parts)
    assert min(parts[2]) < 0


def test_the_order_of_prompts_is_trls_in_every_epoch() -> None:
    """And entering an epoch gives what running up to it gives."""
    theirs = RepeatSampler(range(10), 2, batch_size=2, repeat_count=3, seed=5)
    straight = [list(theirs) for _ in range(4)]
    ours = EpochSampler(range(10), 2, batch_size=2, repeat_count=3, seed=5)
    assert [list(ours) for _ in range(4)] == straight
    assert straight[0] != straight[1]
    for epoch in (3, 0, 2):
        ours.set_epoch(epoch)
        assert list(ours) == straight[epoch]
