"""The callback of a trial: events, evaluations, stopping rules, and the time to save or end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trials.spec.events import CURVE_METRICS, read_events
from trials.spec.kinds import Stage
from trials.spec.records import Stop
from trials.spec.stopping import DynamicsMonitor
from trials.training.context import TrialContext
from trials.training.deadline import Deadline, any_process
from trials.training.saving import save_in_stage


class TrialCallback(TrainerCallback):
    """Turns what the trainer logs into events, evaluates, saves, and ends the stage in time."""

    def __init__(self, context: TrialContext, stage: Stage):
        self._context, self._stage = context, stage
        self._offset = context.plan.start(stage)
        self._monitor = DynamicsMonitor(stage, context.spec.stopping)
        self._tokens = self._told = 0
        self._saved_at = time.monotonic()
        self._deadline = Deadline(context, stage)
        self.stop: Stop | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Shows the rules what was logged before a continued stage, as if it had run straight."""
        last = self._offset + state.global_step
        self._deadline.begin()
        # TRL counts tokens anew in every process, but GRPO resumes from the checkpoint's count.
        self._tokens = int(state.num_input_tokens_seen) if self._stage == "rl" else 0
        for event in read_events(self._context.folder / "events.jsonl"):
            if event["kind"] not in ("metric", "score") or event["step"] > last:
                continue
            if event["kind"] == "score" and event["step"] <= self._offset:
                self._monitor.before(event["outcomes"])
            elif event["kind"] == "score":
                self._monitor.observe_score(event["step"], event["outcomes"])
            elif event["stage"] == self._stage:
                self._monitor.observe(event["step"], event["values"])
        self._told = len(self._monitor.shadows)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        metrics = CURVE_METRICS | self._context.task_reward_metric
        values = {short: float(logs[name]) for name, short in metrics.items() if name in logs}
        if not values:  # the summary at the end of training
            return control
        step = self._offset + state.global_step
        # Not logged at a step that uses completions of an earlier one.
        tokens = int(logs.get("num_tokens", self._tokens))
        self._context.events.write(
            "metric",
            stage=self._stage,
            step=step,
            values=values,
            learning_rate=logs.get("learning_rate"),
            tokens=tokens - self._tokens,
        )
        self._tokens = tokens
        self.stop = self.stop or self._monitor.observe(step, values)
        self._tell_shadows()
        if self.stop:
            control.should_training_stop = True
        elif stop := self._deadline.after(step):
            self.stop = stop
            control.should_training_stop = True
            # At the end of a stage there is nothing to save in it: its weights are saved as such.
            inside = step < self._context.plan.end(self._stage)
            control.should_save = inside and self._context.spec.keep_checkpoint
        return control

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> Any:
        step, plan = self._offset + state.global_step, self._context.plan
        if step in self._context.eval_steps:
            outcomes = score(self._context, model, self._stage, step)
            self.stop = self.stop or self._monitor.observe_score(step, outcomes)
            self._tell_shadows()
            if self.stop:
                control.should_training_stop = True
        if step >= plan.end(self._stage):
            return control
        if step >= self._context.last_step:
            control.should_training_stop = True
            control.should_save = self._context.spec.keep_checkpoint
        elif plan.is_boundary(step) and self._save_is_due():
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        save_in_stage(self._context, written, self._stage, self._offset + state.global_step)
        self._context.saved(self._deadline.since)
        self._saved_at = time.monotonic()
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if inactive := self._monitor.inactive():
            self._context.events.write("inactive_rules", stage=self._stage, rules=inactive)
        return control

    def _tell_shadows(self) -> None:
        """Writes what a rule in its shadow would have stopped, once."""
        for stop in self._monitor.shadows[self._told :]:
            self._context.events.write("would_stop", stage=self._stage, **stop.model_dump())
        self._told = len(self._monitor.shadows)

    def _save_is_due(self) -> bool:
        every = self._context.spec.limits.checkpoint_seconds
        if every is None or not self._context.spec.keep_checkpoint:
            return False
        return any_process(time.monotonic() - self._saved_at >= every)


def score(context: TrialContext, model: Any, stage: Stage, step: int) -> list[float]:
    """Takes the validation score, writes it to the events, and returns that of every row."""
    evaluator, events = context.evaluator, context.events
    tokens = evaluator.tokens

    def alive(done: int, rows: int) -> None:
        events.write("evaluating", stage=stage, step=step, done=done, rows=rows)

    evaluator.on_batch = alive
    started = events.seconds
    measured = evaluator(model)
    pass_at_k = evaluator.pass_at_k(model) if step == context.last_step else None
    took = events.seconds - started
    context.measured("scoring", took)
    events.write(
        "score",
        stage=stage,
        step=step,
        values={"score": measured.score},
        score_se=measured.score_se,
        outcomes=measured.outcomes,
        pass_at_k=pass_at_k,
        tokens=evaluator.tokens - tokens,
        generation=evaluator.generation,
        took=round(took, 3),
    )
    return measured.outcomes
