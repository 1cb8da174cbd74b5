"""The warm-up of a run: a few real steps, generated tokens and a saving, to know what trials cost.

It is a trial like any other, only very short: first with the smallest batches there are, which is
quick even where a step of a real model takes a minute, and then, where that is quick too, with the
batches of the default configuration. What was measured with small batches is scaled up, as work
grows with the batch once a processor is busy; for a small model that would be far too much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.prepare import Found
from tasks.run_folder import RunFolder
from tasks.settings import TuneSettings
from tasks.time_plan import Costs
from trials.combinations import LENGTHS
from trials.errors import AutoPipeError
from trials.events import read_events
from trials.hyperparameters import Hyperparameters, validate
from trials.pace import pace_of, trial_seconds
from trials.plan import StagePlan, plan_steps
from trials.records import (
    FATAL_KINDS,
    Fidelity,
    Pace,
    Schedule,
    TrialResult,
    TrialSpec,
    Value,
)
from trials.supervisor import Supervisor

FOLDER = "warm-up"
SMALL_BATCH, SMALL_ROWS = 2, 4
FULL_STEPS = 3  # of each stage with full batches: the first does not count
# Longest time of the first part, as a share of a time budget and at most; and how long the second
# may take for it to be worth its time.
SMALL_SHARE, SMALL_SECONDS = 0.2, 40.0
FULL_SHARE, FULL_SECONDS = 0.05, 15.0
# The first step of a process takes a while whatever its size. Where it took no longer than this,
# the batch may hardly matter, and only the second part can tell.
QUICK_SECONDS = 2.0
# What the first part had no time for is taken to be so many times as long as a step of SFT on the
# same number of rows: the reference of DPO, and what RL generates and scores, come on top of it.
OF_SFT = {"sft": 1.0, "dpo": 2.5, "rl": 2.5}
SCORING_OF_SFT = 1.5  # of SMALL_ROWS rows, with a batch of SMALL_BATCH in the step


@task(cache_policy=NO_CACHE)
def warm_up(
    settings: TuneSettings,
    run: RunFolder,
    inputs: Found,
    config: dict[str, Any],
    supervisor: Supervisor,
    elapsed: Callable[[], float],
    processes: int = 1,
) -> Costs | None:
    """Measures what trials of the default configuration cost.

    Args:
        settings: of the run.
        run: its folder; the short trials are kept in ``warm-up/``.
        inputs: dataset and model.
        config: the default configuration.
        supervisor: runs the short trials.
        elapsed: seconds since the run began.
        processes: that share the batch of a trial.

    Returns:
        None where the default configuration cannot be measured, as when it diverges at once.

    Raises:
        AutoPipeError: no trial of this run could be run; or within a time budget, a step of the
            smallest size takes too long for it.
    """
    h = validate(config)
    rows, pairs = len(inputs.dataset.splits["train"]), len(inputs.dataset.preferences)
    plan = plan_steps(h, settings.schedule, rows, pairs)
    trial = _ShortTrial(settings, run, inputs, config, plan, supervisor)
    least = SMALL_BATCH * processes
    batches = {
        "sft": min(least, h.sft_batch_size),
        "dpo": min(least, h.dpo_batch_size),
        "rl": least,
    }
    small, done = trial.run("small", 1, SMALL_ROWS, batches, trial.limit)
    if done.out_of_time or (done.failure and done.failure.kind == "timed_out"):
        small = _filled(small, plan)
    if not _is_whole(small, plan):
        if done.failure is None or done.failure.kind == "timed_out":
            _refuse(settings, trial.limit)
        return None
    pace, scored = _scaled(small, h, batches), SMALL_ROWS
    left = _share(settings, FULL_SHARE, FULL_SECONDS)
    row = pace.scoring / SMALL_ROWS
    spare = left - _expected(pace, plan, settings.schedule)
    quick = sum(small.step(stage) for stage in plan.stages) < QUICK_SECONDS
    if quick or spare > pace.scoring:
        affordable = int(max(spare, left / 3) / (row or 1e-9))
        many = min(settings.schedule.eval_rows, max(SMALL_ROWS, affordable))
        full, _ = trial.run("full", FULL_STEPS, many, {}, 2 * left)
        if _is_whole(full, plan):
            pace, scored = full, many
    return Costs(
        pace=pace,
        scored_rows=scored,
        config=h,
        train_rows=rows,
        pairs=pairs,
        test_rows=len(inputs.dataset.splits["test"]),
        start_up=elapsed(),
    )


@dataclass(frozen=True)
class _ShortTrial:
    """Runs trials of the default configuration with very few steps."""

    settings: TuneSettings
    run_folder: RunFolder
    inputs: Found
    config: dict[str, Any]
    plan: StagePlan
    supervisor: Supervisor

    @property
    def limit(self) -> float:
        """Seconds that one may take."""
        return _share(self.settings, SMALL_SHARE, SMALL_SECONDS)

    def run(
        self, name: str, steps: int, rows: int, batches: dict[str, int], limit: float
    ) -> tuple[Pace, TrialResult]:
        """What one trial measured, and how it ended.

        Args:
            name: of its folder.
            steps: of SFT and DPO, where the default configuration has them; RL makes as many
                batches of completions, but no more than two.
            rows: validation rows that it is scored on.
            batches: batch sizes by stage, where they are not to be those of the configuration.
            limit: seconds that it may take, where time is budgeted.

        Raises:
            AutoPipeError: it failed in a way that all other trials would, too.
        """
        folder = self.run_folder.path / FOLDER / name
        wall = limit if self.settings.budget.unit == "seconds" else None
        spec = TrialSpec(
            trial_id=f"{FOLDER}-{name}",
            dataset=str(self.inputs.dataset.path),
            dataset_fingerprint=self.inputs.dataset.fingerprint,
            config=self._short(steps, batches),
            fidelity=Fidelity(model=self.inputs.model, fraction=1.0),
            seed=self.settings.seed,
            folder=str(folder),
            model_fingerprint=self.inputs.model_fingerprint,
            schedule=self.settings.schedule.model_copy(
                update={"eval_rows": rows, "eval_points": (), "pass_k": None}
            ),
            stopping=self.settings.stopping.model_copy(update={"enabled": False}),
            limits=self.settings.limits.model_copy(
                update={"wall_seconds": wall, "checkpoint_seconds": None}
            ),
            compute=self.settings.compute,
            keep_checkpoint=False,
            allow_user_code=self.settings.allow_user_code,
        )
        result = self.supervisor.run(spec)
        if result.failure and result.failure.kind in FATAL_KINDS:
            raise AutoPipeError(result.failure.message)
        return pace_of(list(read_events(folder / "events.jsonl"))), result

    def _short(self, steps: int, batches: dict[str, int]) -> dict[str, Value | None]:
        lengths = {name for names in LENGTHS.values() for name in names}
        config = {name: value for name, value in self.config.items() if name not in lengths}
        for stage in ("sft", "dpo"):
            config[f"{stage}_steps"] = steps if self.plan.steps(stage) else 0
        config["rl_steps"] = min(steps, 2) * self.plan.rl_boundary if self.plan.rl else 0
        config |= {f"{stage}_batch_size": batch for stage, batch in batches.items()}
        if "rl" in batches:
            config["rl_num_generations"] = SMALL_BATCH
        return config


def _expected(pace: Pace, plan: StagePlan, schedule: Schedule) -> float:
    """Seconds of the second part without its scoring."""
    steps = {stage: FULL_STEPS if plan.steps(stage) else 0 for stage in ("sft", "dpo")}
    rl = 2 * plan.rl_boundary if plan.rl else 0
    short = StagePlan(**steps, rl=rl, rl_boundary=plan.rl_boundary)
    once = schedule.model_copy(update={"eval_points": ()})
    return trial_seconds(pace.model_copy(update={"scoring": 0.0}), short, once)


def _filled(pace: Pace, plan: StagePlan) -> Pace:
    """The pace with what there was no time for, taken from a step of the first stage."""
    known = [pace.step(stage) / OF_SFT[stage] for stage in plan.stages if pace.step(stage)]
    if not known:
        return pace
    missing = {
        f"{stage}_step": OF_SFT[stage] * known[0] for stage in plan.stages if not pace.step(stage)
    }
    if not pace.scoring:
        missing["scoring"] = SCORING_OF_SFT * known[0]
    if not pace.saving:
        missing["saving"] = pace.loading
    return pace.model_copy(update=missing)


def _is_whole(pace: Pace, plan: StagePlan) -> bool:
    """Whether a step of every stage was measured, and a scoring."""
    return bool(pace.scoring) and all(pace.step(stage) for stage in plan.stages)


def _scaled(pace: Pace, h: Hyperparameters, batches: dict[str, int]) -> Pace:
    """The pace with the batches of a configuration, from that with smaller ones."""
    full = {"sft": h.sft_batch_size, "dpo": h.dpo_batch_size, "rl": h.rl_batch_size}
    return pace.model_copy(
        update={
            f"{stage}_step": getattr(pace, f"{stage}_step") * full[stage] / batch
            for stage, batch in batches.items()
        }
    )


def _share(settings: TuneSettings, share: float, most: float) -> float:
    """Seconds of a share of a time budget, but no more than so many."""
    if settings.budget.unit != "seconds":
        return most
    return min(most, share * settings.budget.amount)


def _refuse(settings: TuneSettings, seconds: float) -> None:
    if settings.budget.unit == "seconds":
        raise AutoPipeError(
            f"--budget {settings.budget} is too short: one training step of each stage, with the "
            f"smallest batches there are, does not end within {seconds:.0f} s here\n"
            "  give it more time, choose a smaller model, or shorten the rows or the completions "
            "(--max-length, --max-completion)"
        )
