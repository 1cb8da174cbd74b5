"""From what a trial logged to its result: state, score, curve, signals and cost."""

from __future__ import annotations

from pathlib import Path

from trials.adopt import Adopted
from trials.context import TrialContext, evaluation_steps
from trials.events import Event, curve
from trials.memory import peak_memory_bytes
from trials.provenance import provenance
from trials.records import Cost, Failure, Spent, Stop, TrialResult, TrialSpec
from trials.signals import signals_at


def trial_result(
    spec: TrialSpec,
    adopted: Adopted,
    context: TrialContext | None,
    log: list[Event],
    seconds: float,
    stop: Stop | None,
    failure: Failure | None,
) -> TrialResult:
    """The result of a trial.

    Args:
        spec: of the trial.
        adopted: what it took over.
        context: None when it failed before there was one.
        log: all its events, with those it took over.
        seconds: it took itself.
        stop, failure: how it ended; neither when it reached its last step.
    """
    log = _as_if_straight(log, spec, context, stop)
    scores = [event for event in log if event["kind"] == "score"]
    if failure is None and not scores:
        failure = Failure(kind="error", message="the trial ended without any score")
    points = curve(log)
    total = context.plan.total if context else spec.schedule.total_steps
    reached = max((point.step for point in points), default=0)
    last = scores[-1] if scores and not failure else None
    kept = spec.keep_checkpoint and (Path(spec.folder) / "checkpoint").is_dir()
    return TrialResult(
        trial_id=spec.trial_id,
        state="failed" if failure else "stopped" if stop else "completed",
        fraction=min(1.0, reached / total) if stop or failure else spec.fidelity.fraction,
        score=last["values"]["score"] if last else None,
        score_se=last["score_se"] if last else None,
        outcomes=last["outcomes"] if last else [],
        pass_at_k=last.get("pass_at_k") if last else None,
        curve=points,
        signals=signals_at(points, reached, context.plan) if context else {},
        cost=_cost(log, context, adopted.inherited_step, seconds),
        checkpoint="checkpoint" if kept and not failure else None,
        failure=failure,
        stop=stop,
        inactive_rules=sorted(
            {rule for event in log if event["kind"] == "inactive_rules" for rule in event["rules"]}
        ),
        provenance=provenance(spec),
    )


def _as_if_straight(
    log: list[Event], spec: TrialSpec, context: TrialContext | None, stop: Stop | None
) -> list[Event]:
    """Leaves out scores that a straight run would not have taken.

    A trial scores where it ends; one that goes on from there has no score at that step.
    """
    if context is None:
        return log
    steps = evaluation_steps(spec, context.plan) | ({stop.step} if stop else set())
    return [event for event in log if event["kind"] != "score" or event["step"] in steps]


def _cost(log: list[Event], context: TrialContext | None, inherited: int, seconds: float) -> Cost:
    """Cost of this trial alone: 6 N FLOPs per trained, 2 N per generated or scored token."""
    memory = peak_memory_bytes()
    if context is None:
        return Cost(seconds=seconds, peak_memory_bytes=memory)
    n, h = context.parameters, context.hyperparameters
    # DPO and RL with a KL term also score every token with the reference model.
    per_token = {
        "sft": 6 * n,
        "dpo": 8 * n,
        "rl": (2 + (6 + 2 * (h.rl_beta > 0)) * h.rl_num_iterations) * n,
        "score": 2 * n,
    }
    flops, tokens, timeline = 0, 0, []
    for event in log:
        if event["kind"] in ("metric", "score") and event["step"] > inherited:
            what = "score" if event["kind"] == "score" else event["stage"]
            flops += event["tokens"] * per_token[what]
            tokens += event["tokens"]
        if event["kind"] == "score" and event["step"] > inherited:
            timeline.append(Spent(step=event["step"], seconds=event["seconds"], flops=float(flops)))
    return Cost(
        seconds=seconds,
        flops=float(flops),
        tokens=tokens,
        peak_memory_bytes=memory,
        timeline=timeline,
    )
