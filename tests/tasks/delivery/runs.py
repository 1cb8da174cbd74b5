"""Real runs of one trial each, of every combination of stages, and what tests ask of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.config import paths
from tasks.config.settings import TuneSettings
from tasks.runs.folder import DatasetInfo, HistoryInfo, ModelScores, RunFolder, RunInfo, Summary
from trials.scoring.trl_reward import (
    CARD_VARIABLE,
    COMPLETION_LIMIT_VARIABLE,
    USER_CODE_VARIABLE,
)
from trials.spec.arguments import (
    Execution,
)
from trials.spec.records import Schedule, SplitScore, TrialSpec

MODEL = paths.DATA / "models" / "tiny-100k"
SCHEDULE = Schedule(total_steps=6, max_completion_tokens=6, eval_rows=8, max_length=64)
CONFIGS: dict[str, dict[str, Any]] = {
    "full": {"sft_share": 0.67, "rl_beta": 0.02},
    "lora": {"sft_share": 0.5, "adapter": "lora", "lora_rank": 4, "lora_dropout": 0.1},
    "sft_only": {"sft_share": 1.0, "sft_schedule": "constant", "sft_warmup": 0.4},
    "bare": {"sft_share": 0.67},
    "greedy": {"sft_steps": 4, "sft_schedule": "greedy", "rl_steps": 0},
    "tables": {
        "sft_share": 0.67,
        "sft_rows_share": 0.5,
        "sft_schedule": "rex",
        "rl_schedule": "infinite",
    },
    "three": {
        "sft_share": 0.34,
        "sft_schedule": "wsd",
        "sft_packing": True,
        "dpo_share": 0.33,
        "dpo_loss_type": "ipo",
        "dpo_batch_size": 4,
        "dpo_learning_rate": 0.001,
        "adam_beta2": 0.95,
        "rl_temperature": 5.0,
        "rl_loss_type": "cispo",
        "rl_updates_per_generation": 2,
        "rl_entropy_coef": 0.01,
        "rl_format_weight": 0.5,
        "rl_length_weight": 0.25,
    },
    "lora_three": {
        "sft_share": 0.34,
        "dpo_epochs": 0.5,
        "dpo_batch_size": 4,
        "adapter": "lora",
        "lora_targets": "attention",
    },
    "rl_only": {"sft_share": 0.0, "adapter": "lora", "lora_alpha_ratio": 1.5},
    "bare_rl": {"sft_share": 0.0},
}
STAGES = {"sft_only": ("sft",), "greedy": ("sft",), "rl_only": ("rl",), "bare_rl": ("rl",)}
STAGES |= dict.fromkeys(("full", "lora", "bare", "tables"), ("sft", "rl"))
STAGES |= dict.fromkeys(("three", "lora_three"), ("sft", "dpo", "rl"))
COMMANDS = {"sft": "sft", "dpo": "dpo", "rl": "grpo"}
COMMON: dict[str, Any] = {"sft_batch_size": 8, "rl_batch_size": 8, "rl_num_generations": 4}
COMMON |= {"sft_learning_rate": 0.01, "rl_learning_rate": 0.001}
EXECUTION = Execution(seed=3, processes=1, on_cpu=True, bf16=False)


# What each run trains on: a choice of two letters; dates, with metadata whose fields differ; or
# letters with a reward of the user's own.
KINDS = {"full": "letters", "lora": "dates", "rl_only": "code", "sft_only": "dates"}
KINDS |= {"greedy": "dates", "tables": "letters", "three": "letters", "lora_three": "letters"}
KINDS |= {"bare": "letters", "bare_rl": "code"}  # of a base model without chat template
USER_REWARD = """
def score(completion, prompt, answer, metadata):
    return float((len(completion) + int(prompt[0]["content"][:-1])) % 2)
"""


def write_dataset(folder: Path, kind: str) -> Path:
    dates = kind == "dates"
    folder.mkdir(parents=True)
    if kind == "code":
        (folder / "dataset.yaml").write_text("reward: reward_of_a_user:score\n")
        (folder / "reward_of_a_user.py").write_text(USER_REWARD)
    count = {"train": 20, "validation": 8, "test": 8}
    number = 0
    for split, rows in count.items():
        lines = []
        for _ in range(rows):
            number += 1
            answer = f"2024-01-{number:02d}" if dates else "AB"[number % 2]
            row: dict[str, Any] = {"prompt": f"{number}?", "completion": answer, "answer": answer}
            if dates:
                row["metadata"] = {"a": 1} if number % 2 else {"b": ["x", number]}
            lines.append(json.dumps(row))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    pairs = [{"prompt": f"Which {n}?", "chosen": "A", "rejected": "B"} for n in range(16)]
    (folder / "preferences.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return folder


def write_records(run: RunFolder, spec: TrialSpec) -> None:
    scores = {"validation": 0.25, "validation_se": 0.1, "test": 0.2, "test_se": 0.05}
    measured = ModelScores(trial_id=None, config=None, **scores)
    best = measured.model_copy(
        update={"trial_id": spec.trial_id, "config": spec.config, "test": 0.8125}
    )
    run.write_info(
        RunInfo(
            run_id=run.run_id,
            created="2026-03-01T09:30:00+00:00",
            settings=TuneSettings(dataset=spec.dataset, model="tiny-100k", seed=spec.seed),
            dataset=DatasetInfo(
                name="letters",
                path=spec.dataset,
                fingerprint=spec.dataset_fingerprint,
                reward="choice",
                reward_inferred=True,
                rows={"train": 20, "validation": 8, "test": 8},
            ),
            model="tiny-100k",
            model_parameters=100_000,
            space={},
            meta={},
            base_validation=SplitScore(score=0.25, score_se=0.1, rows=8, outcomes=[0.0, 1.0]),
            history=HistoryInfo(files=[], trials=0, datasets=0),
            versions={},
            git_commit=None,
        )
    )
    run.write_summary(
        Summary(
            best=best,
            default=None,
            base=measured,
            best_expected=0.7,
            best_expected_se=0.1,
            trials=1,
            failed=0,
            full_length=1,
            elapsed_seconds=10.0,
            trial_seconds=9.0,
            full_cost_seconds=9.0,
        )
    )


def final(run: RunFolder) -> Path:
    [trial] = run.trials()
    return trial.folder / "checkpoint" / "final"


def parsed(run: RunFolder, stage: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """What TRL's own parser makes of a file; unknown keys are errors."""
    import trl.scripts.dpo
    import trl.scripts.grpo
    import trl.scripts.sft

    for variable in (CARD_VARIABLE, USER_CODE_VARIABLE, COMPLETION_LIMIT_VARIABLE):
        monkeypatch.delenv(variable, raising=False)  # the parser sets them; undone with the test
    scripts = {"sft": trl.scripts.sft, "dpo": trl.scripts.dpo, "grpo": trl.scripts.grpo}
    parser = scripts[stage].make_parser()
    file = str(run.path / "best" / f"{stage}.yaml")
    arguments: tuple[Any, ...] = parser.parse_args_and_config(["--config", file])
    return arguments


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


def assert_equal_tensors(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert [key for key, value in found.items() if not value.equal(expected[key])] == []
