"""Training speed of a trial against a bare TRL script with the same settings.

    python -m benchmarks.trl_speed --model tiny-1m --repeats 5

Both run in this process, alternately, on the same data, with the same arguments. Only the time
inside ``trainer.train()`` is compared: the evaluations of a trial, which the bare script does not
make, are subtracted; its logging, checks and checkpoints are not.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from accelerate.state import AcceleratorState
from datasets import Dataset as HFDataset
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from benchmarks.trial_overhead import loop_seconds, trial_spec
from tasks.inputs.catalog import resolve_dataset, resolve_model
from trials.data.dataset import Dataset, load_dataset
from trials.data.lengths import completion_limits
from trials.scoring.rewards import build_reward
from trials.spec.arguments import Execution, grpo_arguments, sft_arguments
from trials.spec.hyperparameters import validate
from trials.spec.kinds import TrialState
from trials.spec.plan import plan_steps
from trials.spec.records import Schedule, TrialSpec
from trials.training.run import run_trial


def bare_seconds(
    dataset: Dataset, model: str, schedule: Schedule, config: dict[str, Any], folder: Path
) -> dict[str, float]:
    """Seconds in ``train()`` of a script of a few lines, as a user of TRL would write it."""
    AcceleratorState._reset_state(reset_partial_state=False)
    gc.collect()
    set_seed(0)
    h, rows = validate(config), dataset.splits["train"]
    plan = plan_steps(h, schedule, len(rows), 0)
    execution = Execution(seed=0, processes=1, on_cpu=True, bf16=False)
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    sft = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, trust_remote_code=False),
        args=SFTConfig(output_dir=str(folder), **sft_arguments(h, plan, schedule, execution)),
        train_dataset=HFDataset.from_list(
            [{"prompt": row.prompt, "completion": row.completion} for row in rows]
        ),
        processing_class=tokenizer,
    )
    seconds = {"sft": _train(sft)}
    score = build_reward(dataset)

    def reward(completions: list[Any], row_index: list[int], **_: Any) -> list[float]:
        return [
            score(c[-1]["content"], rows[i]) for c, i in zip(completions, row_index, strict=True)
        ]

    rl = GRPOTrainer(
        model=sft.model,
        reward_funcs=reward,
        args=GRPOConfig(output_dir=str(folder), **grpo_arguments(h, plan, schedule, execution)),
        train_dataset=HFDataset.from_list(
            [{"prompt": row.prompt, "row_index": index} for index, row in enumerate(rows)]
        ),
        processing_class=tokenizer,
    )
    return seconds | {"rl": _train(rl)}


def _train(trainer: Any) -> float:
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start


def trial_seconds(spec: TrialSpec) -> dict[str, float]:
    """Seconds of a trial in ``train()`` of each stage, without its evaluations."""
    result = run_trial(spec)
    if result.state != TrialState.COMPLETED:
        raise SystemExit(f"the trial {result.state}: {result.failure}")
    return loop_seconds(Path(spec.folder), evaluations=False)


def main(
    model: Annotated[str, typer.Option(help="Name in the catalog.")] = "tiny-1m",
    dataset: Annotated[str, typer.Option(help="Name in the catalog.")] = "gcd",
    steps: Annotated[int, typer.Option(help="Optimizer steps of both stages.")] = 100,
    repeats: Annotated[int, typer.Option(help="Runs of each, alternately.")] = 5,
) -> None:
    """Print seconds per step of both, and the ratio of speeds (bare seconds / trial's seconds)."""
    gc.collect()
    gc.freeze()  # as in a worker: else collecting what was imported is a part of every time
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    times: dict[str, dict[str, list[float]]] = {"sft": {}, "rl": {}}
    with tempfile.TemporaryDirectory() as scratch:
        path = resolve_dataset(dataset, Path(scratch) / "datasets")
        data, folder = load_dataset(path), resolve_model(model)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        limit, _ = completion_limits(data, tokenizer)
        schedule = Schedule(total_steps=steps, max_completion_tokens=limit)
        config: dict[str, Any] = {"sft_share": 0.5}
        for repeat in track(range(repeats + 1), description="bare and trial alternately"):
            bare, trial = Path(scratch) / "bare", Path(scratch) / f"trial{repeat}"
            spec = trial_spec(f"{repeat}", path, folder, trial, schedule, **config)
            for name in ("bare", "trial") if repeat % 2 else ("trial", "bare"):
                seconds = (
                    bare_seconds(data, str(folder), schedule, config, bare)
                    if name == "bare"
                    else trial_seconds(spec)
                )
                for stage, spent in seconds.items():
                    if repeat:  # the first one warms the caches up
                        times[stage].setdefault(name, []).append(spent)
    table = Table("stage", "bare TRL, s per step", "trial, s per step", "speed of the trial / bare")
    stage_steps = {"sft": steps // 2, "rl": steps - steps // 2}
    for stage, both in times.items():
        ratios = [b / t for b, t in zip(both["bare"], both["trial"], strict=True)]
        table.add_row(
            stage,
            *(f"{statistics.median(both[name]) / stage_steps[stage]:.4f}" for name in both),
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
