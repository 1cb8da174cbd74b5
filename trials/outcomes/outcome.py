"""From what a trial logged to its result: state, score, curve, signals and cost.

What a result needs beside the log, the trial writes into it once it is known. So whoever finds the
log can tell how far the trial came, also of one that was ended from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trials.outcomes.provenance import provenance
from trials.outcomes.signals import signals_at
from trials.spec.events import Event, curve
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import FailureKind, StopRule, TrialState
from trials.spec.plan import StagePlan, scored_steps
from trials.spec.records import Cost, Failure, Spent, Stop, TrialResult, TrialSpec


def facts(plan: StagePlan, parameters: int, h: Hyperparameters) -> dict[str, Any]:
    """The facts that turn a log into a result: the plan, and the FLOPs per token.

    6 N FLOPs per trained, 2 N per generated or scored token; DPO and RL with a KL term also score
    every token with the reference model.
    """
    n = parameters
    per_token = {
        "sft": 6 * n,
        "dpo": 8 * n,
        "rl": (2 + (6 + 2 * (h.rl_beta > 0)) * h.rl_num_iterations) * n,
        "score": 2 * n,
    }
    return {"plan": asdict(plan), "flops_per_token": per_token}


def trial_result(
    spec: TrialSpec,
    log: Sequence[Event],
    seconds: float,
    stop: Stop | None = None,
    failure: Failure | None = None,
    peak_memory_bytes: int = 0,
) -> TrialResult:
    """The result of a trial, with neither ``stop`` nor ``failure`` if it reached its last step.

    The log holds all its events, with those it took over; the seconds are its own.
    """
    known = next((event for event in reversed(log) if event["kind"] == "facts"), None)
    plan = StagePlan(**known["plan"]) if known else None
    log = _as_if_straight(log, spec, plan, stop)
    scores = [event for event in log if event["kind"] == "score"]
    if failure is None and not scores:
        failure = Failure(kind=FailureKind.ERROR, message="the trial ended without any score")
    points = curve(log)
    total = plan.total if plan else spec.schedule.total_steps
    reached = max((point.step for point in points), default=0)
    last = scores[-1] if scores and not failure else None
    kept = spec.keep_checkpoint and (Path(spec.folder) / "checkpoint").is_dir()
    cost = Cost(seconds=seconds, peak_memory_bytes=peak_memory_bytes)
    return TrialResult(
        trial_id=spec.trial_id,
        state=(
            TrialState.FAILED if failure else TrialState.STOPPED if stop else TrialState.COMPLETED
        ),
        fraction=min(1.0, reached / total) if stop or failure else spec.fidelity.fraction,
        score=last["values"]["score"] if last else None,
        score_se=last["score_se"] if last else None,
        outcomes=last["outcomes"] if last else [],
        pass_at_k=last.get("pass_at_k") if last else None,
        curve=points,
        signals=signals_at(points, reached, plan) if plan else {},
        cost=cost.model_copy(update=_spent(log, known)) if known else cost,
        checkpoint="checkpoint" if kept and not failure else None,
        failure=failure,
        stop=stop,
        inactive_rules=sorted(
            {rule for event in log if event["kind"] == "inactive_rules" for rule in event["rules"]}
        ),
        provenance=provenance(spec),
    )


def overrun(
    spec: TrialSpec, log: Sequence[Event], seconds: float, limit: float
) -> TrialResult | None:
    """The result of a trial that was ended from outside at its limit: its last score, and when.

    None where it has no score. What it did after that score counts as cost alone.
    """
    scores = [number for number, event in enumerate(log) if event["kind"] == "score"]
    if not scores:
        return None
    until = list(log[: scores[-1] + 1])
    stop = Stop(
        rule=StopRule.WALL_CLOCK,
        step=until[-1]["step"],
        values={"seconds": seconds, "limit": limit},
    )
    result = trial_result(spec, until, seconds, stop)
    known = next((event for event in reversed(log) if event["kind"] == "facts"), None)
    spent = _spent(log, known) if known else {}
    return result.model_copy(update={"cost": result.cost.model_copy(update=spent)})


def _as_if_straight(
    log: Sequence[Event], spec: TrialSpec, plan: StagePlan | None, stop: Stop | None
) -> list[Event]:
    """Leaves out scores that a straight run would not have taken.

    A trial scores where it ends; one that resumes from there has no score at that step.
    """
    if plan is None:
        return list(log)
    steps = scored_steps(plan, spec.schedule, spec.fidelity.fraction)
    if stop:
        steps.add(stop.step)
    return [event for event in log if event["kind"] != "score" or event["step"] in steps]


def _spent(log: Sequence[Event], known: Event) -> dict[str, Any]:
    """FLOPs and tokens of this trial alone, without what it inherited."""
    per_token, inherited = known["flops_per_token"], known["inherited_step"]
    flops, tokens = 0, 0
    timeline: list[Spent] = []
    for event in log:
        if event["kind"] in ("metric", "score") and event["step"] > inherited:
            what = "score" if event["kind"] == "score" else event["stage"]
            flops += event["tokens"] * per_token[what]
            tokens += event["tokens"]
        if event["kind"] == "score" and event["step"] > inherited:
            timeline.append(Spent(step=event["step"], seconds=event["seconds"], flops=float(flops)))
    return {"flops": float(flops), "tokens": tokens, "timeline": timeline}
