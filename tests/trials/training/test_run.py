"""Real trials through ``accelerate launch``; one launch runs many, as its start-up costs most."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trials.helpers import LORA, SCHEDULE, TINY, make_spec, write_dataset
from tests.trials.runs import assert_same_run, checkpoint_at, metric, weights
from trials.data.dataset import fingerprint
from trials.models.fingerprints import model_fingerprint
from trials.models.loading import load_model
from trials.outcomes.signals import signals_at
from trials.process.supervisor import Supervisor
from trials.spec.plan import StagePlan
from trials.spec.records import Fidelity, StoppingRules, TrialResult, TrialSpec, read_record
from trials.training.run import run_trial

STEPS = SCHEDULE.total_steps
DIVERGING: dict[str, Any] = {
    "sft_learning_rate": 1.0,
    "sft_schedule": "constant",
    "sft_warmup": 0.0,
    "max_grad_norm": 1e9,
}


@pytest.fixture(scope="module")
def batch(
    tmp_path_factory: pytest.TempPathFactory, dataset_folder: Path, real_worker: Supervisor
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
        spec("lora", LORA),
        spec("sft_only", {"sft_share": 1.0}),
        spec("rl_only", {"sft_share": 0.0, "rl_beta": 0.0}),
        spec("diverging", DIVERGING, stopping=StoppingRules(loss_patience=1)),
        spec("diverging_unruled", DIVERGING, stopping=StoppingRules(enabled=False)),
        spec("part", fraction=0.75),
        spec("continued", continue_from=checkpoint_at(root / "part", 6)),
        spec("orphan", continue_from=str(root / "nowhere")),
        spec("unkept", keep_checkpoint=False, fraction=0.25),
    ]
    results = [real_worker.run(spec) for spec in specs]
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
    kept = {path.name for path in (Path(spec.folder) / "checkpoint").iterdir()}
    assert kept == {"step-000004", "final"}  # others may share the SFT stage
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
    assert result.signals == signals_at(result.curve, STEPS, StagePlan(4, 0, 4))
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


def test_a_bad_configuration_is_told_apart_from_bad_data(batch: Batch) -> None:
    _, result = batch["bad_config"]
    assert result.failure is not None
    assert result.failure.kind == "bad_config"
    assert "rl_batch_size=9 is not a multiple" in result.failure.message


def test_a_missing_checkpoint_means_a_start_from_the_model(batch: Batch) -> None:
    assert_same_run(batch["full"], batch["orphan"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad", "train.jsonl:41: broken JSON"),
        ("changed", "the data changed since the run began"),
        ("no_model", "no tokenizer for"),
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
    kept = {path.name for path in (Path(part_spec.folder) / "checkpoint").iterdir()}
    assert kept == {"step-000004", "step-000006"}
    assert_same_run(batch["full"], batch["continued"])


def test_a_continued_trial_pays_its_own_part_only(batch: Batch) -> None:
    full, part, rest = (batch[name][1].cost for name in ("full", "part", "continued"))
    assert full.tokens == part.tokens + rest.tokens
    assert full.flops == pytest.approx(part.flops + rest.flops)


def test_a_checkpoint_is_kept_only_if_asked(batch: Batch) -> None:
    spec, result = batch["unkept"]
    assert (result.state, result.checkpoint) == ("completed", None)
    assert not (Path(spec.folder) / "checkpoint").exists()


def test_a_model_that_was_replaced_is_not_trained(tmp_path: Path, dataset_folder: Path) -> None:
    """Its rows would join the history under the fingerprint of the other one."""
    model = Path(shutil.copytree(TINY, tmp_path / "model"))
    known = model_fingerprint(str(model), tmp_path / "cache")
    spec = make_spec(
        tmp_path / "before",
        dataset_folder,
        {"rl_steps": 0, "sft_steps": 1, "sft_share": None},
        fidelity=Fidelity(model=str(model), fraction=1.0),
        model_fingerprint=known,
    )
    assert run_trial(spec).failure is None
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    after = spec.model_copy(update={"trial_id": "after", "folder": str(tmp_path / "after")})
    failure = run_trial(after).failure
    assert failure is not None
    assert failure.kind == "bad_data"
    assert "changed since the run began" in failure.message
