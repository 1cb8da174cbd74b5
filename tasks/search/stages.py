"""The stages of a trial and its limits, as they follow from a run's schedule and budget."""

from __future__ import annotations

import json
from collections.abc import Sequence

from surrogates.core.base import Config
from surrogates.space.stages import Stage, StagesOf
from tasks.config.settings import TuneSettings
from tasks.inputs.prepare import Inputs
from tasks.runs.ledger import Ledger
from trials.checkpoints.entries import deciding, matters
from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import Limits, Pace, Schedule, TrialSpec

ALL = frozenset(Hyperparameters.model_fields)


def stages_of(schedule: Schedule, rows: int, pairs: int) -> StagesOf:
    """The stages at which settings begin to matter, by the rules for sharing checkpoints.

    With ``rows`` in the training split, and so many preference ``pairs``.
    """

    def stages(config: Config) -> Sequence[Stage]:
        try:
            hyperparameters = validate(config)
            plan = plan_steps(hyperparameters, schedule, rows, pairs)
        except HyperparameterError:  # the trial will say so; it is like no other
            return [Stage(1.0, json.dumps(config, sort_keys=True, default=str), ALL)]
        found = []
        for stage, content in deciding(hyperparameters, plan).items():
            done = plan.stages[: plan.stages.index(stage) + 1]
            # The last step of a fraction is rounded: up to half a step later the stage is not over.
            last = stage == plan.stages[-1]
            end = 1.0 if last else (plan.end(stage) + 0.499) / plan.total
            names = frozenset(name for name in ALL if matters(name, done))
            found.append(Stage(end, (plan.total, json.dumps(content, sort_keys=True)), names))
        return found

    return stages


def plan_of(spec: TrialSpec, inputs: Inputs) -> tuple[Hyperparameters, StagePlan]:
    """The hyperparameters of a trial, and its steps at full length.

    Raises:
        HyperparameterError: its configuration is invalid.
    """
    hyperparameters = validate(spec.config)
    rows, pairs = len(inputs.dataset.splits["train"]), len(inputs.dataset.preferences)
    return hyperparameters, plan_steps(hyperparameters, spec.schedule, rows, pairs)


def inherited_share(spec: TrialSpec, inputs: Inputs) -> float:
    """Share of the schedule that other trials had run for this one."""
    if (step := spec.inherited_step) == 0:
        return 0.0
    return min(1.0, step / plan_of(spec, inputs)[1].total)


def trial_limits(settings: TuneSettings, ledger: Ledger, pace: Pace) -> Limits:
    """Limits of a trial that starts now."""
    limits = settings.limits.model_copy(update={"pace": pace})
    wall = ledger.trial_limit()
    if wall is None:
        return limits
    # A time budget ends sooner than the limits that are made for long runs.
    return limits.model_copy(
        update={
            "wall_seconds": wall,
            "silent_seconds": min(limits.silent_seconds, max(60.0, wall)),
            "reward_seconds": min(limits.reward_seconds, max(10.0, wall / 10)),
        }
    )
