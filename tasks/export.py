"""The export: the best model, and files with which TRL's own command line trains it again.

    runs/<run-id>/best/
        model/ or adapter/      the best trial's final weights, with the tokenizer
        config.json             the configuration, flat
        sft.yaml, grpo.yaml     for `trl sft --config` and `trl grpo --config`
        accelerate.yaml         for their --accelerate_config
        data/                   the rows, as TRL reads them, and the card that names the reward
        merge_adapter.py        with LoRA in both stages: the step between them
        README.md               scores, commands, and what could not be translated

Paths in the files are relative to the run folder, so that a run can be moved as a whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.export_readme import COMMAND, MERGE_SCRIPT, readme
from tasks.run_folder import RunFolder, RunInfo, Summary, Trial
from trials.arguments import (
    BF16_MIN_PARAMETERS,
    Execution,
    grpo_arguments,
    lora_arguments,
    sft_arguments,
    weights_dtype,
)
from trials.dataset import Dataset, DatasetCard, Row, load_dataset
from trials.errors import SettingsError
from trials.hyperparameters import Hyperparameters, split_steps, validate
from trials.records import TrialSpec, write_json
from trials.trl_reward import CARD_VARIABLE, USER_CODE_VARIABLE

# The schema is given: from JSON lines, `datasets` would guess it and turn answers such as
# 2024-01-02 into timestamps.
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SFT_SCHEMA = pa.schema([("prompt", CHAT), ("completion", CHAT)])
RL_SCHEMA = pa.schema([("prompt", CHAT), ("answer", pa.string()), ("metadata", pa.string())])

# Pickled arguments, the frozen copy of the adapter that GRPO takes its KL to, an empty model card.
LEFTOVERS = ("training_args.bin", "ref", "README.md")
OUTPUT = "retrained"  # beside best/: exporting again must not remove what was trained from it


@dataclass(frozen=True)
class Export:
    """The best trial and what it was made of."""

    run: RunFolder
    info: RunInfo
    summary: Summary
    trial: Trial
    hyperparameters: Hyperparameters
    execution: Execution
    sft_steps: int
    rl_steps: int

    @property
    def spec(self) -> TrialSpec:
        return self.trial.spec

    @property
    def weights(self) -> str:
        """Name of the folder with the weights."""
        return "model" if self.hyperparameters.adapter == "full" else "adapter"

    @property
    def base_model(self) -> str:
        """The model that training starts from: an absolute path, or a hub id."""
        model = self.spec.fidelity.model
        return str(Path(model).resolve()) if Path(model).is_dir() else model

    @property
    def merges(self) -> bool:
        """TRL's command line cannot go on training an adapter: it is merged between the stages."""
        return self.weights == "adapter" and bool(self.sft_steps and self.rl_steps)


@task(name="export", cache_policy=NO_CACHE)
def export_best(run: RunFolder) -> Path:
    """Writes ``best/`` whole, in the place of an earlier one, and returns it.

    Raises:
        SettingsError: when the run is not finished, or the best trial's weights are gone.
        DatasetError: when the dataset is gone.
    """
    export = _prepare(run)
    best, partial = run.path / "best", run.path / ".best.partial"
    shutil.rmtree(partial, ignore_errors=True)
    source = export.trial.folder / "checkpoint" / "final"
    shutil.copytree(source, partial / export.weights, ignore=shutil.ignore_patterns(*LEFTOVERS))
    write_json(partial / "config.json", dict(export.spec.config))
    _write_data(export, partial / "data")
    for name, content in (("sft", sft_yaml(export)), ("grpo", grpo_yaml(export))):
        if content["max_steps"]:
            _write_yaml(partial / f"{name}.yaml", content, COMMAND.format(name))
    _write_accelerate(export, partial / "accelerate.yaml")
    if export.merges:
        (partial / "merge_adapter.py").write_text(
            MERGE_SCRIPT.format(adapter=f"{OUTPUT}/sft", merged=f"{OUTPUT}/sft-merged"), "utf-8"
        )
    (partial / "README.md").write_text(readme(export), "utf-8")
    shutil.rmtree(best, ignore_errors=True)
    partial.replace(best)
    return best


def _prepare(run: RunFolder) -> Export:
    summary, info = run.summary(), run.info()
    if summary is None:
        raise SettingsError(
            f"run {run.run_id} is not finished: {run.path / 'summary.json'} is missing; "
            f"finish it with: autopipe tune --resume {run.run_id}"
        )
    trials = {trial.spec.trial_id: trial for trial in run.trials()}
    trial = trials.get(summary.best.trial_id or "")
    if trial is None or not (trial.folder / "checkpoint" / "final").is_dir():
        expected = run.trial_folder(str(summary.best.trial_id)) / "checkpoint" / "final"
        raise SettingsError(
            f"run {run.run_id} has no weights of its best trial: {expected} is missing; "
            "restore the folder, or start a new run"
        )
    hyperparameters = validate(trial.spec.config)
    sft_steps, rl_steps = split_steps(hyperparameters.sft_share, trial.spec.schedule.total_steps)
    return Export(
        run=run,
        info=info,
        summary=summary,
        trial=trial,
        hyperparameters=hyperparameters,
        execution=_execution(trial.spec, info),
        sft_steps=sft_steps,
        rl_steps=rl_steps,
    )


def _execution(spec: TrialSpec, info: RunInfo) -> Execution:
    """How the trial ran: found out here as the trial did."""
    import torch  # heavy, and only needed once a run is over

    config = info.settings.accelerate_config
    processes = (_read_yaml(Path(config)).get("num_processes") or 1) if config else 1
    return Execution(
        seed=spec.seed,
        processes=int(processes),
        on_cpu=not torch.cuda.is_available(),
        bf16=info.model_parameters >= BF16_MIN_PARAMETERS,
    )


def sft_yaml(export: Export) -> dict[str, Any]:
    """Content of ``sft.yaml``: fields of TRL's ModelConfig, DatasetMixtureConfig and SFTConfig."""
    return {
        "output_dir": f"{OUTPUT}/sft",
        **_model_arguments(export, export.base_model),
        "datasets": [_dataset_argument("sft")],
        **sft_arguments(export.hyperparameters, export.spec.schedule, export.execution),
    }


def grpo_yaml(export: Export) -> dict[str, Any]:
    """Content of ``grpo.yaml``: as for SFT, with GRPOConfig and the reward."""
    start = f"{OUTPUT}/sft-merged" if export.merges else f"{OUTPUT}/sft"
    environment = {CARD_VARIABLE: "best/data/dataset.yaml"}
    if export.spec.allow_user_code:
        environment[USER_CODE_VARIABLE] = "1"
    return {
        "env": environment,
        "output_dir": f"{OUTPUT}/grpo",
        **_model_arguments(export, start if export.sft_steps else export.base_model),
        "datasets": [_dataset_argument("rl")],
        "reward_funcs": ["trials.trl_reward.reward"],
        **grpo_arguments(export.hyperparameters, export.spec.schedule, export.execution),
    }


def _model_arguments(export: Export, model: str) -> dict[str, Any]:
    dtype = weights_dtype(export.hyperparameters, export.execution.bf16)
    arguments: dict[str, Any] = {"model_name_or_path": model, "dtype": dtype}
    lora = lora_arguments(export.hyperparameters)
    if lora:
        arguments |= {
            "use_peft": True,
            "lora_r": lora["r"],
            "lora_alpha": lora["lora_alpha"],
            "lora_dropout": lora["lora_dropout"],
            "lora_target_modules": [lora["target_modules"]],
            "lora_task_type": lora["task_type"],
        }
    return arguments


def _dataset_argument(stage: str) -> dict[str, Any]:
    files = {split: f"best/data/{stage}_{split}.parquet" for split in ("train", "validation")}
    return {"path": "parquet", "data_files": files, "split": "train"}


def _write_data(export: Export, folder: Path) -> None:
    """Rows of the training split in the order of the trial, and those of validation beside them."""
    dataset = load_dataset(export.spec.dataset, splits=("train", "validation"))
    if dataset.fingerprint != export.spec.dataset_fingerprint:
        raise SettingsError(
            f"{dataset.path} changed since the trial (fingerprint {dataset.fingerprint}, was "
            f"{export.spec.dataset_fingerprint}); restore the data, or start a new run"
        )
    folder.mkdir(parents=True)
    for split, rows in dataset.splits.items():
        if export.sft_steps and rows:
            table = pa.Table.from_pylist([_sft_row(row) for row in rows], SFT_SCHEMA)
            pq.write_table(table, folder / f"sft_{split}.parquet")
        if export.rl_steps and rows:
            table = pa.Table.from_pylist([_rl_row(row) for row in rows], RL_SCHEMA)
            pq.write_table(table, folder / f"rl_{split}.parquet")
    if export.rl_steps:
        card = reward_card(dataset)
        _write_yaml(folder / "dataset.yaml", card.model_dump(exclude_defaults=True), "The reward.")


def _sft_row(row: Row) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": row.completion}


def _rl_row(row: Row) -> dict[str, Any]:
    # Metadata as text: rows that differ in their fields have no common Arrow type.
    return {"prompt": row.prompt, "answer": row.answer, "metadata": json.dumps(row.metadata)}


def reward_card(dataset: Dataset) -> DatasetCard:
    """The card that makes the reward from itself alone, without the rows of the dataset."""
    card, args = dataset.card, dict(dataset.card.reward_args)
    if card.reward == "choice":
        answers = {row.answer for rows in dataset.splits.values() for row in rows}
        args.setdefault("choices", sorted(answers))
    return DatasetCard(reward=card.reward, reward_args=args, answer_marker=card.answer_marker)


def _write_accelerate(export: Export, file: Path) -> None:
    """The configuration that was passed through, or one process as the trial had it."""
    config = export.info.settings.accelerate_config
    if config:
        shutil.copyfile(config, file)
        return
    content = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO",
        "dynamo_config": {"dynamo_backend": "NO"},
        "mixed_precision": "no",  # sft.yaml and grpo.yaml say whether bf16 is used
        "num_machines": 1,
        "num_processes": 1,
        "use_cpu": export.execution.on_cpu,
    }
    _write_yaml(file, content, "One process. For more: accelerate config --config_file FILE")


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(
            f"accelerate_config {str(file)!r} cannot be read: {error}; "
            "expected the YAML file that the run was started with"
        ) from None
    return content if isinstance(content, dict) else {}


def _write_yaml(file: Path, content: dict[str, Any], header: str) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    file.write_text(f"# {header}\n{text}", encoding="utf-8")
