"""The texts of the export: ``best/README.md``, and the script between the two stages of LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.runs.folder import ModelScores

if TYPE_CHECKING:
    from tasks.delivery.export import Export

MERGE_SCRIPT = '''"""Merges a stage's adapter into its base model: the start of the next stage."""

import sys

from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

adapter = "{output}/" + sys.argv[1]
model = AutoPeftModelForCausalLM.from_pretrained(
    adapter, dtype="float32", trust_remote_code=False
)
model.merge_and_unload().save_pretrained(adapter + "-merged")
tokenizer = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)
tokenizer.save_pretrained(adapter + "-merged")
'''
BASE_SCRIPT = '''"""Gives the base model the chat template that it was trained with: it has none."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = {base!r}, {folder!r}
tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
tokenizer.chat_template = Path("chat_template.jinja").read_text(encoding="utf-8")
tokenizer.save_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(base, dtype="float32", trust_remote_code=False)
model.save_pretrained(folder)
'''
COMMAND = "trl {0} --config {0}.yaml --accelerate_config accelerate.yaml"


def readme(export: Export) -> str:
    """What the folder holds, what it scored, how to train it again, and what differs then."""
    spec, info = export.spec, export.info
    return f"""# Best of run {info.run_id}

Model `{info.model}` on dataset `{info.dataset.name}`, trial `{spec.trial_id}`:
{_stages(export)}, seed {spec.seed}.

## Scores

{_scores(export)}

Each is the mean of the reward `{info.dataset.reward}` over greedy completions, with its standard
error. The configuration was chosen on the validation split; the test split was read once, at the
end.

## Use it

From this folder:

```python
{_usage(export)}
```

## Train it again

In this folder, wherever it was moved to:

```sh
{_commands(export)}
```

The result lies in `retrained/`. `config.json` holds the same configuration as hyperparameters of
AutoPipe.

To train on the validation rows too, write `split: train+validation` for `split: train` in the
YAML files. There is then nothing left but the test split to measure the result on.

## What these files cannot say

{_notes(export)}
"""


def _stages(export: Export) -> str:
    names = {"sft": "SFT", "dpo": "DPO", "rl": "GRPO"}
    plan = export.plan
    return ", then ".join(f"{plan.steps(stage)} steps of {names[stage]}" for stage in plan.stages)


def _scores(export: Export) -> str:
    summary = export.summary
    rows: list[tuple[str, ModelScores | None]] = [
        ("this configuration", summary.best),
        ("default configuration", summary.default),
        ("base model, untrained", summary.base),
    ]
    lines = ["| | validation | test |", "|---|---|---|"]
    lines += [
        f"| {name} | {_number(found.validation, found.validation_se)} "
        f"| {_number(found.test, found.test_se)} |"
        for name, found in rows
        if found
    ]
    return "\n".join(lines)


def _number(value: float, se: float) -> str:
    return f"{value:.3f} ± {se:.3f}"


def _usage(export: Export) -> str:
    loader, package = (
        ("AutoModelForCausalLM", "transformers")
        if export.weights == "model"
        else ("AutoPeftModelForCausalLM", "peft")
    )
    return (
        f"from {package} import {loader}\n"
        "from transformers import AutoTokenizer\n\n"
        f'model = {loader}.from_pretrained("{export.weights}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{export.weights}")'
    )


def _commands(export: Export) -> str:
    names = {"sft": "sft", "dpo": "dpo", "rl": "grpo"}
    commands = ["python prepare_base.py"] if export.prepares_base_model else []
    for number, stage in enumerate(export.plan.stages):
        if number and export.merges_adapters:
            commands.append(f"python merge_adapter.py {names[export.plan.stages[number - 1]]}")
        commands.append(COMMAND.format(names[stage]))
    return "\n".join(commands)


def _notes(export: Export) -> str:
    notes = [
        "The trial was scored on the validation split while it trained and watched by stopping "
        "rules. TRL's command line does neither: it trains to the last step and saves once, at "
        "the end. For checkpoints set `save_strategy: steps` and `save_steps`.",
        f"The trial ran in {_count(export.execution.processes)} on "
        f"{'a CPU' if export.execution.on_cpu else 'a GPU'}; on other hardware the numbers "
        "differ a little. The batch of a step is per_device_train_batch_size × "
        "gradient_accumulation_steps × processes: with more processes, lower one of the first two.",
    ]
    if Path(export.base_model).is_absolute():
        notes.append(
            f"The base model is named by where it lay when the run was made: `{export.base_model}`."
        )
    if export.ships_chat_template:
        notes.append(
            "The base model has no chat template: `chat_template.jinja` is the one that it was "
            "trained with, a text a line, and the end token after the answer."
        )
    if export.execution.on_cpu:
        notes.append("To train on a GPU, set `use_cpu: false` in all YAML files.")
    else:
        notes.append(
            "Where one process sees several GPUs, TRL refuses to start: choose one with "
            "`CUDA_VISIBLE_DEVICES=0`."
        )
    if stop := export.trial.result and export.trial.result.stop:
        notes.append(
            f"The rule `{stop.rule}` ended the trial at step {stop.step} of "
            f"{export.plan.total}, and its weights of that moment are in "
            f"`{export.weights}/`. The YAML files train all steps."
        )
    if export.plan.rl:
        notes.append(
            "`grpo.yaml` scores completions with `autopipe.trl_reward.reward`, so AutoPipe must be "
            "installed; `data/dataset.yaml` says which reward that is."
        )
    if export.spec.allow_user_code:
        notes.append("The reward may be code of yours: it must be importable from where TRL runs.")
    if export.merges_adapters:
        notes.append(
            "In the trial every stage went on training the adapter of the stage before. TRL's "
            "command line cannot load an adapter to train it further: `merge_adapter.py` merges "
            "it, and the next stage trains a new one of the same shape on top. Both start from the "
            "same model and measure their distance to it, but the result differs, and belongs on "
            f"`{export.start_model(export.plan.stages[-1])}`."
        )
    return "\n".join(f"- {note}" for note in notes)


def _count(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"
