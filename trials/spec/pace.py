"""Durations of the parts of a trial: read from its events, and added up for another one.

With the length of completions they grow in proportion: each more token is a step of decoding, and
in RL a token to train on, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trials.spec.events import Event
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import STAGES, Stage
from trials.spec.plan import StagePlan, scored_steps
from trials.spec.records import Pace, Schedule

# Work on a completion in RL over that on as many tokens in SFT: one pass through the reference,
# and one for the probabilities of the policy before an update, where there is one. A pass forward
# is half of one with gradients of activations alone, as with LoRA; of full training it is less.
REFERENCE_PASS, POLICY_PASS = 0.5, 0.5
# Where nothing was generated, over training on as many tokens: those of a prompt, and those that
# are decoded one by one. With a model of 135 million parameters and 8 rows on two cores they
# are 0.22 and 1.9; other models and machines may be slower.
FORWARD_OF_TRAINED, DECODED_OF_TRAINED = 0.4, 3.0
# Scoring a row over training on one, before either was measured: mostly a pass over its prompt.
SCORED_OF_TRAINED = 0.5
# Up to so many rows a step of decoding is bound by the weights that are read: with a model of 135
# million parameters eight rows hardly take longer than two.
WEIGHT_BOUND_ROWS = 8


@dataclass(frozen=True)
class Generation:
    """Duration of generating a batch; see `Evaluator.generation`.

    Attributes:
        rows: of the batch, on all processes.
        width: tokens of the prompts.
        prefill: seconds until the first token.
        per_token: seconds of each one after it, for all rows together.
    """

    rows: float
    width: float
    prefill: float
    per_token: float

    @classmethod
    def of(cls, events: Sequence[Event], processes: int = 1) -> Generation | None:
        """The measurement of a trial's last scoring; None if there was none."""
        found = [event["generation"] for event in events if event.get("generation")]
        if not found:
            return None
        return cls(**{**found[-1], "rows": processes * found[-1]["rows"]})

    @classmethod
    def guessed(cls, rows: int, width: float, token: float) -> Generation:
        """An estimate from the seconds of training on a token, for when nothing was measured."""
        prefill = FORWARD_OF_TRAINED * rows * width * token
        return cls(rows, width, prefill, per_token=DECODED_OF_TRAINED * rows * token)

    def row(self, tokens: int) -> float:
        """Seconds for a row with a completion of so many tokens."""
        return self.prefill / self.rows + tokens * self.row_growth

    @property
    def row_growth(self) -> float:
        """Seconds that each more token takes for a row, among as many as decode at no more cost."""
        return self.per_token / max(self.rows, WEIGHT_BOUND_ROWS)

    def decoding(self, rows: float) -> float:
        """Seconds of a step of decoding so many rows; fewer than were measured are no faster."""
        return self.per_token * max(1.0, rows / max(self.rows, WEIGHT_BOUND_ROWS))


def trained_tokens(events: Sequence[Event]) -> float:
    """Mean tokens of an optimizer step of SFT, those of the prompts included; 0 without any."""
    steps = [e["tokens"] for e in events if e["kind"] == "metric" and e["stage"] == "sft"]
    return statistics.fmean(steps[1:] or steps) if steps else 0.0


def rl_seconds(h: Hyperparameters, generation: Generation, token: float, tokens: int) -> float:
    """Seconds of an optimizer step of RL, whose completions are so many tokens long.

    With a batch of B completions and u updates for a buffer that is used i times, B u rows are
    generated every u i steps, and B rows are trained on in each. ``token`` is the seconds of
    training on one in SFT.
    """
    rows = h.rl_batch_size * h.rl_updates_per_generation
    boundary = h.rl_updates_per_generation * h.rl_num_iterations
    prefill = generation.prefill * rows / generation.rows
    decoding = tokens * generation.decoding(rows)
    passes = 1.0 + REFERENCE_PASS * (h.rl_beta > 0) + POLICY_PASS * (boundary > 1)
    training = h.rl_batch_size * (generation.width + tokens) * token * passes
    return (prefill + decoding) / boundary + training


def pace_of(events: Sequence[Event]) -> Pace:
    """Durations measured in the last attempt at a trial; 0 for parts that it did not reach.

    The first step of a stage warms up caches and allocators, so it counts only where it is the
    only one.
    """
    own = _last_attempt(events)
    begun = own[0]["seconds"] if own else 0.0
    first = next((e["seconds"] for e in own if _is_preparing(e)), begun)
    scores = [event["took"] for event in own if event["kind"] == "score"]
    saves = [event["took"] for event in own if event.get("phase") == "saved"]
    return Pace(
        loading=first - begun,
        starting=max(_starts(own), default=0.0),
        **{f"{stage}_step": _step_seconds(own, stage) for stage in STAGES},
        scoring=max(scores, default=0.0),
        saving=max(saves, default=0.0),
    )


def trial_seconds(pace: Pace, plan: StagePlan, schedule: Schedule) -> float:
    """Seconds that a trial of full length takes.

    Loading, then for each stage that is run its start, its steps and a saving of the weights, and
    a scoring at each of its evaluation points.
    """
    stages = sum(
        pace.starting + plan.steps(stage) * pace.step(stage) + pace.saving for stage in plan.stages
    )
    return pace.loading + stages + len(scored_steps(plan, schedule, 1.0)) * pace.scoring


def _last_attempt(events: Sequence[Event]) -> list[Event]:
    starts = [i for i, event in enumerate(events) if event.get("phase") == "loading"]
    return list(events[starts[-1] :]) if starts else list(events)


def _is_preparing(event: Event) -> bool:
    return str(event.get("phase", "")).startswith("preparing ")


def _starts(events: Sequence[Event]) -> list[float]:
    """From the moment a stage is prepared to the moment its training begins."""
    found, since = [], None
    for event in events:
        if _is_preparing(event):
            since = event["seconds"]
        elif since is not None and event.get("phase") in STAGES:
            found.append(event["seconds"] - since)
            since = None
    return found


def _step_seconds(events: Sequence[Event], stage: Stage) -> float:
    """Mean time between logged steps of a stage, with what else was done between them left out."""
    found: list[float] = []
    since, other = None, 0.0
    for event in events:
        if event.get("phase") == stage:
            since, other = event["seconds"], 0.0
        elif since is not None and event["kind"] == "metric" and event["stage"] == stage:
            found.append(max(0.0, event["seconds"] - since - other))
            since, other = event["seconds"], 0.0
        elif "took" in event:
            other += event["took"]
    return statistics.fmean(found[1:] or found) if found else 0.0
