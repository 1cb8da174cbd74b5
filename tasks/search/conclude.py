"""The end of a run: base, default and best model are scored on the test split, once."""

from __future__ import annotations

import logging
import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surrogates.core.base import Recommendation
from tasks.config.progress import Report, silent
from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.inputs.featurize import probe
from tasks.inputs.prepare import Inputs
from tasks.planning.costs import LEAST_ROWS, MARGIN
from tasks.runs.folder import ModelScores, RunFolder, Summary, Trial, final_model
from tasks.search.loop import SearchLoop
from trials.evaluation.compare import paired_difference
from trials.io.errors import AutoPipeError
from trials.process.supervisor import Supervisor
from trials.spec.events import read_events
from trials.spec.kinds import TrialState
from trials.spec.pace import pace_of
from trials.spec.records import ProbeAnswer, ProbeRequest, SplitScore, TrialResult, TrialSpec

log = logging.getLogger(__name__)

LITTLE_SECONDS = 5.0  # of the final measurement: no rows are left out to save less


@step
def measure_on_test(
    run: RunFolder,
    settings: TuneSettings,
    inputs: Inputs,
    models: dict[str, str],
    measurer: Supervisor,
    plan: FinalMeasurement,
    lora: bool = False,
    say: Report = silent,
) -> ProbeAnswer:
    """Scores models, by label, on the same rows of the test split; kept in the run folder."""
    request = ProbeRequest(
        dataset=str(inputs.dataset.path),
        models=models,
        tokenizer=inputs.model,
        split="test",
        rows=plan.rows,
        schedule=inputs.schedule,
        compute=settings.compute,
        lora=lora,
        allow_user_code=settings.allow_user_code,
    )
    limits = settings.limits.model_copy(update={"wall_seconds": plan.wall_seconds})
    return probe(request, run.path / "test", measurer, limits, say)


@dataclass(frozen=True)
class FinalMeasurement:
    """The size of the final measurement, which has to fit the time that is left."""

    rows: int  # of the test split
    wall_seconds: float | None = None  # that it may take at most; None without a time budget

    @classmethod
    def of(
        cls, asked: int, left: float, row_seconds: float, models: int, load_seconds: float = 0.0
    ) -> FinalMeasurement:
        """As many rows as there is time for, but never too few to say anything.

        Args:
            asked: rows of the settings.
            left: seconds for the measurement; infinite without a time budget.
            row_seconds, load_seconds: of one row, and of loading one of the models.
        """
        if math.isinf(left):
            return cls(asked)
        seconds = MARGIN * models * row_seconds
        left -= models * load_seconds
        affordable = int(max(left, LITTLE_SECONDS) / seconds) if seconds else asked
        rows = min(asked, max(LEAST_ROWS, affordable))
        expected = models * (load_seconds + rows * row_seconds)
        return cls(rows, wall_seconds=max(30.0, left, 3 * expected))


def conclude(
    run: RunFolder,
    loop: SearchLoop,
    default_config: dict[str, Any],
    measurer: Supervisor,
    test_seconds: float = math.inf,
    say: Report = silent,
) -> Summary:
    """Measures base, default and best configuration in ``test_seconds``; writes ``summary.json``.

    Raises:
        AutoPipeError: no trial ran to its end.
    """
    recommendation, (spec, result) = recommend(loop)
    default = loop.full_length(default_config)
    models = {"base": loop.inputs.model, "best": str(final_model(spec))}
    if default:
        models["default"] = str(final_model(default[0]))
    asked = min(loop.settings.test_rows, len(loop.inputs.dataset.splits["test"]))
    measured = [spec, *([default[0]] if default else [])]
    row, load = _row_seconds(loop, measured), loop.pace.loading + loop.pace.starting
    plan = FinalMeasurement.of(asked, test_seconds, row, len(models), load)
    lora = default_config.get("adapter") == "lora"
    test = measure_on_test(
        run, loop.settings, loop.inputs, models, measurer, plan, lora, say
    ).scores
    difference = (
        paired_difference(test["best"].outcomes, test["default"].outcomes) if default else None
    )
    base = loop.inputs.probe.scores["base"]
    trials = run.trials()
    summary = Summary(
        best=_measured(spec, result, test["best"]),
        default=_measured(*default, test["default"]) if default else None,
        base=ModelScores(
            trial_id=None,
            config=None,
            validation=base.score,
            validation_se=base.score_se,
            test=test["base"].score,
            test_se=test["base"].score_se,
            test_pass_at_k=test["base"].pass_at_k,
        ),
        best_expected=recommendation.score,
        best_expected_se=recommendation.score_se,
        trials=len(trials),
        failed=sum(bool(t.result and t.result.state == TrialState.FAILED) for t in trials),
        full_length=sum(
            r.state == TrialState.COMPLETED
            and r.fraction >= 1
            and s.fidelity.model == loop.inputs.model
            for s, r in loop.finished.values()
        ),
        elapsed_seconds=loop.ledger.elapsed,
        trial_seconds=sum(t.result.cost.seconds for t in trials if t.result),
        full_cost_seconds=_full_cost(trials),
        paired_gain=difference.mean if difference else None,
        paired_gain_se=difference.se if difference else None,
        budget=loop.ledger.budget,
    )
    run.write_summary(summary)
    return summary


def _row_seconds(loop: SearchLoop, measured: list[TrialSpec]) -> float:
    """Seconds for completing and scoring a row, on average over the base model and these trials.

    Each at the pace of its earlier scoring; a trial without one at the slowest of the others.
    """
    probe = loop.inputs.probe
    rows = min(loop.inputs.schedule.eval_rows, len(loop.inputs.dataset.splits["validation"]))
    events = [list(read_events(Path(spec.folder) / "events.jsonl")) for spec in measured]
    seconds = [pace_of(each).scoring / rows for each in events]
    seconds.append(probe.seconds / max(1, probe.scores["base"].rows))
    return statistics.fmean(each or max(seconds) for each in seconds)


def recommend(loop: SearchLoop) -> tuple[Recommendation, tuple[TrialSpec, TrialResult]]:
    """The search's recommendation and the trial that ran it to its end.

    Raises:
        AutoPipeError: no trial ran to its end; it lists how they ended.
    """
    if not any(final_model(spec).exists() for spec, _ in loop.finished.values()):
        ends = ", ".join(
            f"{spec.trial_id}: {result.failure.kind if result.failure else result.state}"
            for spec, result in loop.finished.values()
        )
        raise AutoPipeError(
            f"no trial ran to its end, so there is nothing to recommend "
            f"({ends or 'none was begun'}).\n"
            + (f"  Look at {loop.run.path}/trials/*/log.txt, or resume" if ends else "  Resume")
            + f" with a larger budget: autopipe tune --resume {loop.run.run_id} --budget ..."
        )
    found = loop.recommendation()
    if found is None:
        raise AutoPipeError(
            "no trial with a score has its model any more; tune again with a larger --disk, or see "
            f"the trials with: autopipe report {loop.run.run_id}"
        )
    recommendation, (spec, _) = found
    if recommendation.config != (wanted := loop.search.best()).config:
        log.warning(
            "the best configuration, expected at %.3f, lost its model to the disk limit; trial %s, "
            "expected at %.3f, is recommended: a larger --disk keeps more",
            wanted.score,
            spec.trial_id,
            recommendation.score,
        )
    return found


def _measured(spec: TrialSpec, result: TrialResult, test: SplitScore) -> ModelScores:
    return ModelScores(
        trial_id=spec.trial_id,
        config=spec.config,
        validation=result.score if result.score is not None else math.nan,
        validation_se=result.score_se or 0.0,
        test=test.score,
        test_se=test.score_se,
        test_pass_at_k=test.pass_at_k,
    )


def _full_cost(trials: list[Trial]) -> float:
    """Rough trial time had every configuration run at full length; the rest is what was saved.

    A configuration's seconds at a fraction f are scaled by 1 / f; one that did run in full counts
    as it was. On each model it counts anew.
    """
    results: dict[str, list[TrialResult]] = defaultdict(list)
    for trial in trials:
        if trial.result is not None:
            key = (trial.spec.fidelity.model, *sorted(trial.spec.config.items(), key=str))
            results[repr(key)].append(trial.result)
    return sum(
        sum(result.cost.seconds for result in same)
        / (max(result.fraction for result in same) or 1.0)
        for same in results.values()
    )
