"""The stages of a trial as the search is told of them: what an early score can tell apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

from surrogates.core.base import Config
from surrogates.space.stages import Stage, StagesOf
from trials.checkpoints.entries import deciding, matters
from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import plan_steps
from trials.spec.records import Schedule

ALL = frozenset(Hyperparameters.model_fields)


def stages_of(schedule: Schedule, rows: int, pairs: int) -> StagesOf:
    """What decides a trial's state when, as it decides which checkpoints trials can share.

    Args:
        schedule: of full-length trials.
        rows: of the training split.
        pairs: preference pairs, 0 without any.
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
