"""The rollouts of a trial: its curriculum, made from the data and rebuilt from the events.

A curriculum's state is not saved: the events of every checkpoint hold what it was shown, and a
continued trial shows it that again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from scipy.stats import rankdata

from trials.curriculum.curricula import BY_DIFFICULTY, make_curriculum
from trials.data.dataset import Row
from trials.data.subsets import fixed_subset
from trials.evaluation.likelihood import log_likelihood
from trials.spec.combinations import rollout_settings
from trials.spec.events import read_events
from trials.training.context import TrialContext
from trials.training.grpo import Rollouts

MOST_AT_ONCE = 8  # rows whose logits are in memory, a number for every token of the vocabulary
MOST_RANKED = 4096  # rows that the model is asked for; of more a fixed part is the curriculum's


def rollouts_of(context: TrialContext, model: Any) -> Rollouts | None:
    """How buffers are filled, as far as the trial has come; None where TRL alone fills them."""
    h, plan = context.hyperparameters, context.plan
    if not rollout_settings(h):
        return None
    rows = context.train_rows
    pool = list(range(len(rows)))
    difficulty = np.zeros(len(pool))
    if h.rl_curriculum in BY_DIFFICULTY:
        if not _given_difficulty(rows):
            pool = sorted(fixed_subset(pool, MOST_RANKED))
        difficulty = _difficulty(context, model, [rows[i] for i in pool])
    offset, buffers = plan.start("rl"), -(-plan.rl // plan.rl_boundary)

    def record(done: int, shown: list[int], rewards: list[float]) -> None:
        step = offset + done + 1  # the first that it serves
        context.events.write("rollouts", stage="rl", step=step, rows=shown, rewards=rewards)

    curriculum = make_curriculum(difficulty, h, context.spec.seed, buffers)
    rollouts = Rollouts(h, curriculum, pool, plan.rl_boundary, record)
    for event in read_events(context.folder / "events.jsonl"):
        if event["kind"] == "rollouts" and event["step"] <= context.start_step:
            rollouts.learn(event["rows"], event["rewards"])
    return rollouts


def _difficulty(context: TrialContext, model: Any, rows: list[Row]) -> np.ndarray:
    """(n,) ranks from 0 to 1: by `metadata.difficulty`, or how unlikely the reference is."""
    given = _given_difficulty(rows)
    if given is not None:
        return ranks(given)
    for event in read_events(context.folder / "events.jsonl"):
        if event["kind"] == "difficulty":
            return np.array(event["ranks"])
    context.events.write("phase", phase="ranking prompts")
    schedule = context.spec.schedule
    model = model.to(PartialState().device)
    batch = min(schedule.micro_batch_size or MOST_AT_ONCE, MOST_AT_ONCE)
    unlikely = -log_likelihood(model, context.tokenizer, rows, batch, context.evaluator.autocast)
    found = [ranks(unlikely).tolist()]
    broadcast_object_list(found)  # the processes must agree to the last digit
    context.events.write("difficulty", stage="rl", step=context.plan.start("rl"), ranks=found[0])
    return np.array(found[0])


def _given_difficulty(rows: list[Row]) -> np.ndarray | None:
    values = [row.metadata.get("difficulty") for row in rows]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=float)
    return None


def ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 0 to 1, six digits; equal values share one."""
    if len(values) < 2:
        return np.zeros(len(values))
    return np.round((rankdata(values) - 1.0) / (len(values) - 1.0), 6)
