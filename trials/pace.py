"""How long the parts of a trial take: read from its events, and added up for another one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from trials.events import Event
from trials.plan import StagePlan, scored_steps
from trials.records import STAGES, Pace, Schedule, Stage


def pace_of(events: Sequence[Event]) -> Pace:
    """What one attempt at a trial says about its parts; 0 for what it did not get to.

    The first step of a stage warms up caches and allocators, so it counts only where it is the
    only one.
    """
    own = _last_attempt(events)
    begun = own[0]["seconds"] if own else 0.0
    first = next((e["seconds"] for e in own if _is_preparing(e)), begun)
    steps = {stage: _step_seconds(own, stage) for stage in STAGES}
    scores = [event["took"] for event in own if event["kind"] == "score"]
    saves = [event["took"] for event in own if event.get("phase") == "saved"]
    return Pace(
        loading=first - begun,
        starting=max(_starts(own), default=0.0),
        sft_step=steps["sft"],
        dpo_step=steps["dpo"],
        rl_step=steps["rl"],
        scoring=max(scores, default=0.0),
        saving=max(saves, default=0.0),
    )


def trial_seconds(
    pace: Pace, plan: StagePlan, schedule: Schedule, fraction: float = 1.0, since: int = 0
) -> float:
    """Seconds that a trial of a fraction takes.

    Loading, then for each stage that is run its start, its steps and a saving of the weights, and
    a scoring at each of its evaluation points.

    Args:
        pace: of its parts.
        plan: of the full run.
        schedule: says when it is scored.
        fraction: of the full run.
        since: step of the checkpoint that it goes on from; 0 without one.
    """
    last = plan.last_step(fraction)
    seconds = pace.loading
    for stage in plan.stages:
        steps = min(last, plan.end(stage)) - max(since, plan.start(stage))
        if steps > 0:
            seconds += pace.starting + steps * pace.step(stage) + pace.saving
    scorings = sum(step > since for step in scored_steps(plan, schedule, fraction))
    return seconds + scorings * pace.scoring


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
