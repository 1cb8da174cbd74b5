"""Optimizer steps of each stage of a trial, and the steps at which a trial may stop.

Steps are counted over all stages, from 1. The plan is that of the full run, whatever fraction of
it a trial is asked for: a shorter run follows the same learning-rate schedules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import STAGES, Stage
from trials.spec.records import Schedule


@dataclass(frozen=True)
class StagePlan:
    """Optimizer steps of the full run; a stage with none is left out.

    Attributes:
        sft, dpo, rl: steps of each stage, in their order.
        rl_boundary: RL steps that one buffer of generated completions lasts. GRPO keeps the buffer
            in memory only, so a trial is exact when it stops where the buffer is used up.
    """

    sft: int
    dpo: int
    rl: int
    rl_boundary: int = 1

    @property
    def total(self) -> int:
        return self.sft + self.dpo + self.rl

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that are run, in order."""
        return tuple(stage for stage in STAGES if self.steps(stage))

    def steps(self, stage: Stage) -> int:
        """Steps of one stage."""
        return {"sft": self.sft, "dpo": self.dpo, "rl": self.rl}[stage]

    def start(self, stage: Stage) -> int:
        """Steps of the stages before one."""
        return sum(self.steps(other) for other in STAGES[: STAGES.index(stage)])

    def end(self, stage: Stage) -> int:
        """The last step of a stage."""
        return self.start(stage) + self.steps(stage)

    def is_boundary(self, step: int) -> bool:
        """True if a trial can be stopped after this step and resumed exactly."""
        into_rl = step - self.start("rl")
        return into_rl <= 0 or into_rl == self.rl or into_rl % self.rl_boundary == 0

    def last_step(self, fraction: float) -> int:
        """The step at which a trial of a fraction ends: the first boundary at or after it."""
        step = min(self.total, max(1, math.floor(fraction * self.total + 0.5)))
        while not self.is_boundary(step):
            step += 1
        return step


def scored_steps(plan: StagePlan, schedule: Schedule, fraction: float) -> set[int]:
    """Steps of a trial at which the validation score is taken; the last one is always there."""
    last = plan.last_step(fraction)
    points = {math.floor(point * plan.total + 0.5) for point in schedule.eval_points}
    return {step for step in points if 0 < step < last} | {last}


def plan_steps(h: Hyperparameters, schedule: Schedule, rows: int, pairs: int) -> StagePlan:
    """The plan of a configuration on a dataset.

    A stage is given by its steps, by its epochs, or by its share of ``schedule.total_steps``; RL
    without any of them takes what SFT and DPO leave of the total. ``rows`` counts those of the
    training split, ``pairs`` the preferences.

    Raises:
        HyperparameterError: with all that does not fit, each naming the field to change.
    """
    total = schedule.total_steps
    sft_rows = rows_in_share(rows, h.sft_rows_share)
    sft = _counted(h.sft_steps, h.sft_epochs, sft_rows, h.sft_batch_size)
    dpo = _counted(h.dpo_steps, h.dpo_epochs, pairs, h.dpo_batch_size)
    completions = rows * h.rl_num_generations * h.rl_num_iterations
    rl = _counted(h.rl_steps, h.rl_epochs, completions, h.rl_batch_size)
    sft_share = h.sft_share if sft is None else 0.0
    if sft is None:
        sft = round(sft_share * total)
    if dpo is None:
        # The two shares are rounded together, so that shares of 1 leave nothing over.
        dpo = round((sft_share + h.dpo_share) * total) - round(sft_share * total)
    left = max(0, total - sft - dpo)
    plan = StagePlan(
        sft,
        dpo,
        left if rl is None else rl,
        rl_boundary=h.rl_updates_per_generation * h.rl_num_iterations,
    )
    if problems := [
        *_pair_problems(h, plan, pairs),
        *_length_problems(h, plan, total, rl_is_open=rl is None),
        *_batch_problems(h, plan, sft_rows, pairs),
        *_prompt_problems(h, plan, rows),
    ]:
        raise HyperparameterError(problems)
    return plan


def rows_in_share(count: int, share: float) -> int:
    """Number of rows in a share of them: one at least, if there are any."""
    return max(min(count, 1), round(share * count))


def _pair_problems(h: Hyperparameters, plan: StagePlan, pairs: int) -> list[str]:
    if pairs or not (plan.dpo or h.dpo_epochs):
        return []
    field, _, value = _length(h, "dpo").partition("=")
    return [
        f"{field}={value}: the dataset has no preference pairs; add preferences.jsonl to its "
        f"folder, or leave the DPO stage out ({field}: 0, or --space sft_grpo)"
    ]


def _length_problems(
    h: Hyperparameters, plan: StagePlan, total: int, rl_is_open: bool
) -> list[str]:
    counted = [h.sft_steps, h.sft_epochs, h.dpo_steps, h.dpo_epochs]
    if rl_is_open and not plan.rl and any(counted):
        fields = " and ".join(_length(h, stage) for stage in plan.stages)
        return [
            f"{fields}: nothing is left of the {total} total steps for RL (SFT takes {plan.sft}, "
            f"DPO {plan.dpo}); give rl_steps or rl_epochs, or leave RL out with rl_steps: 0"
        ]
    if not plan.total:
        return ["no stage has any step: raise sft_share, sft_steps, dpo_share or rl_steps"]
    return []


def _batch_problems(h: Hyperparameters, plan: StagePlan, rows: int, pairs: int) -> list[str]:
    """A batch larger than the data would silently be as small as the data."""
    sizes = {
        "sft_batch_size": (plan.sft, h.sft_batch_size, rows, "rows that SFT sees"),
        "dpo_batch_size": (plan.dpo, h.dpo_batch_size, pairs, "preference pairs of the dataset"),
    }
    return [
        f"{field}={batch} is more than the {found} {what}: lower {field}"
        for field, (steps, batch, found, what) in sizes.items()
        if steps and 0 < found < batch
    ]


def _prompt_problems(h: Hyperparameters, plan: StagePlan, rows: int) -> list[str]:
    """TRL drops groups of prompts that do not fill a generation batch; with none left it hangs."""
    prompts = h.rl_batch_size * h.rl_updates_per_generation // h.rl_num_generations
    if not plan.rl or prompts <= rows:
        return []
    return [
        f"rl_batch_size={h.rl_batch_size} with rl_num_generations={h.rl_num_generations} asks for "
        f"{prompts} prompts at a time and the training split has {rows}: lower rl_batch_size"
    ]


def _length(h: Hyperparameters, stage: str) -> str:
    """The field that sets the length of SFT or DPO, as ``field=value``."""
    for name in (f"{stage}_steps", f"{stage}_epochs"):
        if getattr(h, name) is not None:
            return f"{name}={getattr(h, name)}"
    return f"{stage}_share={getattr(h, f'{stage}_share')}"


def _counted(steps: int | None, epochs: float | None, rows: int, batch_size: int) -> int | None:
    """The steps that are given, or those of the epochs that are; None without either."""
    return steps if epochs is None or steps is not None else math.ceil(epochs * rows / batch_size)
