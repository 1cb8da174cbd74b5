"""The export: the best model, and files with which TRL's own command line trains it again.

    runs/<run-id>/best/
        model/ or adapter/      the best trial's final weights, with the tokenizer
        config.json             the configuration, flat
        sft.yaml, dpo.yaml, grpo.yaml   for `trl sft --config` and so on, of the stages that ran
        accelerate.yaml         for their --accelerate_config
        data/                   the rows, as TRL reads them, and the card that names the reward
        merge_adapter.py        with LoRA in several stages: the step between two of them
        chat_template.jinja     of a base model that has none: the one it was trained with
        prepare_base.py         and the step before training, where SFT is not the first stage
        sft_schedule.json       a learning rate that TRL has no schedule for, step by step, and
        train.py                what runs TRL's commands with it
        README.md               scores, commands, and what could not be translated
        retrained/              what TRL made of it later; exporting again keeps it

Paths in the files are relative to this folder: it can be moved alone, and TRL is started in it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.delivery.export_data import GREEDY_DATA, reward_card, write_data
from tasks.execution.devices import remote_processes
from tasks.output.templates import environment
from tasks.runs.folder import RunFolder, RunInfo, Summary, Trial, final_model
from trials.data.dataset import Dataset, load_dataset
from trials.data.messages import PLAIN_TEMPLATE
from trials.io.atomic import put_in_place
from trials.io.errors import SettingsError
from trials.scoring.rewards import training_rewards
from trials.scoring.trl_reward import CARD_VARIABLE, COMPLETION_LIMIT_VARIABLE, USER_CODE_VARIABLE
from trials.spec.arguments import (
    Execution,
    dpo_arguments,
    grpo_arguments,
    lora_arguments,
    sft_arguments,
    use_bf16,
    weights_dtype,
)
from trials.spec.combinations import rollout_settings
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import TrialSpec, write_json
from trials.spec.schedules import own_share

# Pickled arguments, the frozen copy of the adapter that GRPO takes its KL to, an empty model card.
LEFTOVERS = ("training_args.bin", "ref", "README.md")
COMMANDS: dict[Stage, str] = {"sft": "sft", "dpo": "dpo", "rl": "grpo"}  # of TRL, by stage
ARGUMENTS = {"sft": sft_arguments, "dpo": dpo_arguments, "rl": grpo_arguments}
COMMAND = "trl {0} --config {0}.yaml --accelerate_config accelerate.yaml"
SCRIPT = "accelerate launch --config_file accelerate.yaml train.py {0} --config {0}.yaml"
OUTPUT = "retrained"
TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Export:
    """The best trial and what it was made of."""

    run: RunFolder
    info: RunInfo
    summary: Summary
    trial: Trial
    hyperparameters: Hyperparameters
    execution: Execution
    dataset: Dataset
    plan: StagePlan

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
    def merges_adapters(self) -> bool:
        """TRL's command line cannot continue training an adapter: it is merged between stages."""
        return self.weights == "adapter" and len(self.plan.stages) > 1

    @property
    def ships_chat_template(self) -> bool:
        """The base model has no chat template: TRL needs the one that trials used."""
        file = final_model(self.spec) / TEMPLATE
        return file.is_file() and file.read_text(encoding="utf-8") == PLAIN_TEMPLATE

    @property
    def prepares_base_model(self) -> bool:
        """Only ``trl sft`` takes a template; before other stages the base model must have it."""
        return self.ships_chat_template and self.plan.stages[0] != "sft"

    @property
    def own_rollouts(self) -> list[str]:
        """Settings of RL that TRL's command line has nothing for."""
        h = self.hyperparameters
        return [f"`{name}: {getattr(h, name)}`" for name in rollout_settings(h)]

    def command(self, stage: Stage) -> str:
        """That trains a stage again."""
        own = own_share(self.hyperparameters, stage, self.plan.steps(stage))
        return (SCRIPT if own else COMMAND).format(COMMANDS[stage])

    def start_model(self, stage: Stage) -> str:
        """The model that a stage starts from, as its YAML file names it."""
        index = self.plan.stages.index(stage)
        if index == 0:
            return f"{OUTPUT}/base" if self.prepares_base_model else self.base_model
        before = f"{OUTPUT}/{COMMANDS[self.plan.stages[index - 1]]}"
        return f"{before}-merged" if self.merges_adapters else before


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
    source = final_model(export.spec)
    shutil.copytree(source, partial / export.weights, ignore=shutil.ignore_patterns(*LEFTOVERS))
    write_json(partial / "config.json", dict(export.spec.config))
    write_data(export, partial / "data")
    if "rl" in export.plan.stages:
        card = reward_card(export.dataset).model_dump(exclude_defaults=True)
        _write_yaml(partial / "data" / "dataset.yaml", card, "The reward.")
    for stage in export.plan.stages:
        name = COMMANDS[stage]
        _write_yaml(partial / f"{name}.yaml", stage_yaml(export, stage), export.command(stage))
        _write_schedule(export, stage, partial)
    _write_accelerate(export, partial / "accelerate.yaml")
    if export.merges_adapters:
        script = _render("merge_adapter.py", output=OUTPUT)
        (partial / "merge_adapter.py").write_text(script, "utf-8")
    if export.ships_chat_template:
        (partial / TEMPLATE).write_text(PLAIN_TEMPLATE, "utf-8")
    if export.prepares_base_model:
        base, folder = export.base_model, export.start_model("rl")
        script = _render("prepare_base.py", base=base, folder=folder)
        (partial / "prepare_base.py").write_text(script, "utf-8")
    (partial / "README.md").write_text(readme(export), "utf-8")
    _replace(best, partial)
    return best


def _replace(best: Path, partial: Path) -> None:
    """Puts a whole export in the place of an earlier one, but for what was trained from that.

    Killed at any moment it loses nothing: what was trained lies in one of the two folders, and the
    next export goes on with it.
    """
    previous = best.with_name(".best.previous")
    if best.exists() and previous.exists():  # killed below
        shutil.rmtree(previous if (best / OUTPUT).exists() else best)
    if best.exists():
        best.rename(previous)
    put_in_place(partial, best)
    if (previous / OUTPUT).exists():
        (previous / OUTPUT).rename(best / OUTPUT)
    shutil.rmtree(previous, ignore_errors=True)


def _prepare(run: RunFolder) -> Export:
    summary, info = run.summary(), run.info()
    if summary is None:
        raise SettingsError(
            f"run {run.run_id} is not finished: {run.path / 'summary.json'} is missing; "
            f"finish it with: autopipe tune --resume {run.run_id}"
        )
    trials = {trial.spec.trial_id: trial for trial in run.trials()}
    trial = trials.get(summary.best.trial_id or "")
    if trial is None or not final_model(trial.spec).is_dir():
        expected = run.trial_folder(str(summary.best.trial_id)) / "checkpoint" / "final"
        raise SettingsError(
            f"run {run.run_id} has no weights of its best trial: {expected} is missing; "
            "restore the folder, or start a new run"
        )
    hyperparameters = validate(trial.spec.config)
    dataset = _load_data(trial.spec)
    rows, pairs = len(dataset.splits["train"]), len(dataset.preferences)
    return Export(
        run=run,
        info=info,
        summary=summary,
        trial=trial,
        hyperparameters=hyperparameters,
        execution=_execution(trial.spec, info),
        dataset=dataset,
        plan=plan_steps(hyperparameters, trial.spec.schedule, rows, pairs),
    )


def _load_data(spec: TrialSpec) -> Dataset:
    dataset = load_dataset(spec.dataset, splits=("train", "validation"))
    if dataset.fingerprint != spec.dataset_fingerprint:
        raise SettingsError(
            f"{dataset.path} changed since the trial (fingerprint {dataset.fingerprint}, was "
            f"{spec.dataset_fingerprint}); restore the data, or start a new run"
        )
    return dataset


def _execution(spec: TrialSpec, info: RunInfo) -> Execution:
    """The machine's side of the trial, derived as the trial itself derived it."""
    import torch  # heavy, and only needed once a run is over

    return Execution(
        seed=spec.seed,
        processes=remote_processes(info.settings.accelerate_config, None),
        on_cpu=not torch.cuda.is_available(),
        bf16=use_bf16(spec.compute.precision, info.model_parameters),
        compute=spec.compute,
    )


def stage_yaml(export: Export, stage: Stage) -> dict[str, Any]:
    """Fields of TRL's ModelConfig, of its DatasetMixtureConfig and of the config of the stage."""
    h = export.hyperparameters
    arguments = ARGUMENTS[stage](h, export.plan, export.spec.schedule, export.execution)
    env, reward = _reward(export, arguments) if stage == "rl" else ({}, {})
    splits = ("train",) if stage == "dpo" else ("train", "validation")
    files = {split: f"data/{stage}_{split}.parquet" for split in splits}
    rows: dict[str, Any]
    rows = {"datasets": [{"path": "parquet", "data_files": files, "split": "train"}]}
    if stage == "sft" and h.sft_schedule == "greedy":
        # A mixture has no rows to evaluate on but random ones.
        rows = {"dataset_name": GREEDY_DATA, "dataset_test_split": "validation"}
    ships = stage == "sft" and export.ships_chat_template
    return {
        **env,
        "output_dir": f"{OUTPUT}/{COMMANDS[stage]}",
        **({"chat_template_path": TEMPLATE} if ships else {}),
        **_model_arguments(export, export.start_model(stage)),
        **rows,
        **reward,
        **arguments,
    }


def _write_schedule(export: Export, stage: Stage, folder: Path) -> None:
    """The rate of each step as a share of its peak, and the script that trains with it."""
    steps = export.plan.steps(stage)
    share = own_share(export.hyperparameters, stage, steps)
    if share is None:
        return
    shares = [share(step) for step in range(steps + 1)]  # the last is set, and used by no step
    write_json(folder / f"{COMMANDS[stage]}_schedule.json", {"shares_of_peak": shares})
    (folder / "train.py").write_text(_render("train.py", script=export.command(stage)), "utf-8")


def _reward(export: Export, arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment of the reward, and its terms."""
    h, limit = export.hyperparameters, arguments["max_completion_length"]
    # For names and weights only: nothing is scored here, and the user's code is not imported.
    first, *others = training_rewards(lambda *_: 0.0, h, export.dataset.card, limit)
    env = {CARD_VARIABLE: "data/dataset.yaml"}
    if h.rl_length_weight:
        env[COMPLETION_LIMIT_VARIABLE] = str(limit)
    if export.spec.allow_user_code:
        env[USER_CODE_VARIABLE] = "1"
    functions = ["reward", *(f"{term.name}_reward" for term in others)]
    return {"env": env}, {
        "reward_funcs": [f"autopipe.trl_reward.{name}" for name in functions],
        "reward_weights": [term.weight for term in (first, *others)],
    }


def _model_arguments(export: Export, model: str) -> dict[str, Any]:
    dtype = weights_dtype(export.hyperparameters.adapter == "lora", export.execution.bf16)
    arguments: dict[str, Any] = {"model_name_or_path": model, "dtype": dtype}
    if lora := lora_arguments(export.hyperparameters):
        lora["target_modules"] = [lora["target_modules"]]
        named = {f"lora_{name.removeprefix('lora_')}": value for name, value in lora.items()}
        arguments |= {"use_peft": True, **named}
    return arguments


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
        "mixed_precision": "no",  # the files of the stages say whether bf16 is used
        "num_machines": 1,
        "num_processes": 1,
        "use_cpu": export.execution.on_cpu,
    }
    _write_yaml(file, content, "One process. For more: accelerate config --config_file FILE")


def _write_yaml(file: Path, content: dict[str, Any], header: str) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    file.write_text(f"# {header}\n{text}", encoding="utf-8")


def readme(export: Export) -> str:
    """Contents of the folder, its scores, how to train it again, and what differs then."""
    return _render(
        "README.md",
        export=export,
        info=export.info,
        summary=export.summary,
        execution=export.execution,
        base_is_local=Path(export.base_model).is_absolute(),
        commands=COMMANDS,
    )


def _render(name: str, **context: Any) -> str:
    """A file of the export from its template. They are Markdown and Python: nothing is escaped."""
    templates = environment("tasks.delivery", {"repr": repr})
    return templates.get_template(f"{name}.jinja").render(context)
