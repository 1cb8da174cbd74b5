"""The plan of a run: what a full trial costs, how many fit, when it will be finished."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from tasks.config.settings import TuneSettings
from tasks.inputs.prepare import ProbeSize
from tasks.planning.alternatives import refusal
from tasks.planning.costs import MARGIN, TrialCosts
from tasks.runs.formatting import format_duration, rough_duration
from trials.io.errors import SettingsError
from trials.spec.records import Pace, Record

# Of a time budget: how long the offline models are waited for once the probe is done.
OFFLINE_SHARE = 0.1
FEW_ROWS = 100  # the standard error of a score over fewer may be more than 0.05
CLOSING_SECONDS = 30.0  # where nothing was measured


class TimePlan(Record):
    """``plan.json``: what a run expected of itself before its first trial.

    Attributes:
        pace: of trials, measured.
        overhead_seconds: of a trial, whatever its length.
        trial_seconds: of the default configuration at full length; None where it is not known.
        closing_seconds: kept for the measurement on the test split and what follows.
        test_rows: that it is planned to be measured on.
        test_seconds: of the closing seconds, for that measurement.
        probe: how much of the base model is looked at.
        text: the plan as people are told it.
    """

    pace: Pace
    overhead_seconds: float
    trial_seconds: float | None
    closing_seconds: float
    test_rows: int
    test_seconds: float
    probe: ProbeSize
    text: str


def unmeasured(settings: TuneSettings, text: str) -> TimePlan:
    """The plan of a run of which nothing is known."""
    rows = settings.schedule.eval_rows
    return TimePlan(
        pace=Pace(),
        overhead_seconds=0.0,
        trial_seconds=None,
        closing_seconds=CLOSING_SECONDS,
        test_rows=settings.test_rows,
        test_seconds=0.0,
        probe=ProbeSize(rows=rows, limits=settings.limits),
        text=text,
    )


def plan_of(
    costs: TrialCosts, settings: TuneSettings, now: datetime, elapsed: float, begun: bool = False
) -> TimePlan:
    """The plan of a run.

    Args:
        costs: of its trials.
        settings: of the run.
        now: time of day, to say when it will be finished.
        elapsed: seconds since it began.
        begun: it has trials already, and goes on with what is left.

    Raises:
        SettingsError: a run has not begun, and its time budget is too short, with the commands
            that are not.
    """
    timed = settings.budget.unit == "seconds"
    if timed and not begun and not costs.fits(settings, MARGIN):
        raise SettingsError(refusal(costs, settings))
    pace = costs.pace_of(settings.schedule)
    return TimePlan(
        pace=pace,
        overhead_seconds=pace.loading + len(costs.steps(settings.schedule).stages) * pace.starting,
        trial_seconds=costs.trial(settings.schedule),
        closing_seconds=costs.closing(settings),
        test_rows=costs.tested(settings),
        test_seconds=costs.closing(settings) - costs.tail,
        probe=costs.probe(settings),
        text=_text(costs, settings, now, elapsed),
    )


def _text(costs: TrialCosts, settings: TuneSettings, now: datetime, elapsed: float) -> str:
    trial = costs.trial(settings.schedule)
    probe, learning = costs.probe_seconds(settings), costs.learning
    if settings.budget.unit == "seconds":
        left = settings.budget.amount - elapsed
        learning = min(learning, OFFLINE_SHARE * settings.budget.amount)
        spare = left - max(probe, learning) - costs.closing(settings)
        fit = costs.most_trials(settings, spare)
        how_many = f"about {fit} fit in what is left of {settings.budget}"
        finished, duration = "finished by", f"{format_duration(left)} at most"
    else:
        trials = settings.budget.amount
        left = max(probe, learning) + costs.closing(settings)
        left += costs.trials_seconds(settings, trials)
        how_many = f"at most {trials:g} of them are in the budget of {settings.budget}"
        finished, duration = "finished at about", f"{rough_duration(left)} if all run in full"
    at_a_time = f", {settings.parallel} at a time" if settings.parallel > 1 else ""
    end = (now + timedelta(seconds=left)).strftime("%H:%M")
    lines = [
        f"plan: a full trial takes about {format_duration(trial)} "
        f"({costs.parts(settings.schedule)}); {how_many}{at_a_time}; "
        f"{finished} {end}, in {duration}"
    ]
    size, rows = costs.probe(settings), costs.scored(settings.schedule)
    if rows < FEW_ROWS:
        lines.append(
            f"a score over {rows} validation rows is uncertain by up to ± "
            f"{0.5 / math.sqrt(rows):.2f}: small differences between trials will not show"
        )
    if size.rows < rows:
        lines.append(
            f"the base model is scored on {size.rows} of the {rows} validation rows: more would "
            "take over a tenth of the budget"
        )
    if size.sampled_rows == 0:
        lines.append("no completions of it are sampled for the search, for the same reason")
    if (tested := costs.tested(settings)) < (asked := min(settings.test_rows, costs.test_rows)):
        lines.append(f"the final measurement is on {tested} of {asked} test rows")
    return "\n".join(lines)
