"""The time limit of a trial: training stops early enough to score and save."""

from __future__ import annotations

import time

from accelerate import PartialState
from accelerate.utils import gather_object

from trials.spec.kinds import STAGES, Stage, StopRule
from trials.spec.pace import SCORED_OF_TRAINED
from trials.spec.records import Stop
from trials.training.context import TrialContext

# What comes is taken to last a quarter longer than the longest of its kind so far.
MARGIN = 1.25


class Deadline:
    """The wall-clock limit of a trial, as one of its stages sees it.

    A trial ends after a step where it can be continued, once the time that is left may not be
    enough for the next such step, a scoring and a saving. Each of them is taken to last as long as
    the longest of its kind so far, and as ``limits.pace`` expects until there was one; a scoring
    of which nothing is expected, as steps of SFT on half as many rows.

    Attributes:
        since: when the step at hand began, on the monotonic clock.
    """

    def __init__(self, context: TrialContext, stage: Stage):
        self._context, self._stage = context, stage
        self._longest_step = 0.0
        self._over = False
        self.begin()

    def begin(self) -> None:
        """The next step begins."""
        self.since, self._aside = time.monotonic(), self._context.aside

    def after(self, step: int) -> Stop | None:
        """Notes that a step is done, and says whether the trial ends here for want of time.

        Its last step is no early end, however late it is.
        """
        took = time.monotonic() - self.since - (self._context.aside - self._aside)
        self._longest_step = max(self._longest_step, took)
        self.begin()
        limit = self._context.spec.limits.wall_seconds
        if limit is None or step >= self._context.last_step:
            return None
        # Of this attempt: the limit of one that goes on is what was left when it was started.
        seconds = self._context.events.attempt_seconds
        if not self._over:
            self._over = any_process(seconds + self._needed(step) > limit)
        if not self._over or not self._context.plan.is_boundary(step):
            return None
        values = {"seconds": seconds, "limit": limit}
        return Stop(rule=StopRule.WALL_CLOCK, step=step, values=values)

    def _needed(self, step: int) -> float:
        """Seconds until the trial could end next, scored and saved."""
        context, plan = self._context, self._context.plan
        expected, longest = context.spec.limits.pace, context.longest
        if step < plan.end(self._stage):
            later = step + 1
            while not plan.is_boundary(later):
                later += 1
            steps = (later - step) * (self._longest_step or expected.step(self._stage))
        else:  # the next stage has to be started first
            following = next(s for s in STAGES if plan.end(s) > step)
            boundary = plan.rl_boundary if following == "rl" else 1
            steps = expected.starting + boundary * expected.step(following)
        scoring = longest.scoring or expected.scoring or self._guessed_scoring()
        saving = longest.saving or expected.saving
        savings = 1 + context.spec.keep_checkpoint  # the model, and what continues it
        return MARGIN * (steps + scoring + savings * saving)

    def _guessed_scoring(self) -> float:
        """Seconds, by those of a step of SFT; 0 where that is not what is run."""
        if self._stage != "sft":
            return 0.0
        rows = self._context.spec.schedule.eval_rows
        batch = self._context.hyperparameters.sft_batch_size
        return SCORED_OF_TRAINED * rows / batch * self._longest_step


def any_process(here: bool) -> bool:
    """Clocks differ between processes, but all must stop and save at the same step."""
    return any(gather_object([here])) if PartialState().num_processes > 1 else here
