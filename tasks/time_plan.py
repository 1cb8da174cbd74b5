"""The plan of a run: what a full trial costs, how many fit, when it will be finished.

Costs are added up from a measured pace (`trials.pace`). Where a time budget is too short, the plan
says which settings fit it, and which budget fits the settings; both by the same sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tasks.completions import Completions
from tasks.prepare import ProbeSize
from tasks.report_outcome import reproduce_command
from tasks.settings import LONGEST_SECONDS, Budget, TuneSettings
from tasks.wording import duration
from trials.errors import HyperparameterError, SettingsError
from trials.hyperparameters import Hyperparameters
from trials.pace import trial_seconds
from trials.plan import StagePlan, plan_steps, scored_steps
from trials.probe_features import PROBE_ROWS, PROBE_SAMPLES
from trials.records import Pace, Record, Schedule

# Least that says anything: the default, and two others to choose from.
LEAST_TRIALS = 3
# Once so much of a time budget is gone, as of two minutes on a busy machine, a refusal would take
# more than it saves: then the default alone is enough.
LATE_SHARE = 0.25
# Shares of a time budget that the probe of the base model and the final measurement may take.
PROBE_SHARE, TEST_SHARE = 0.1, 0.1
# A machine is not equally fast all the time: what is planned may take so much longer. A command
# that is offered must be accepted in its turn, so it has more room.
MARGIN, OFFERED_MARGIN = 1.1, 1.35
CLOSING_SECONDS = 30.0  # where nothing was measured
LEAST_ROWS = 10  # of the final measurement
LEAST_SCORED = 4  # of a base model, see `Schedule.eval_rows`
LEAST_SAMPLED = 4
MODELS_TESTED = 3  # base, default and best
OFFERED_ROWS = (128, 64, 32, 16, 8)
OFFERED_STEPS = 4
MINUTE = 60


@dataclass(frozen=True)
class Costs:
    """What trials of one dataset and model cost, in seconds, for any schedule.

    Attributes:
        pace: as measured; ``scoring`` is that of ``scored_rows``.
        scored_rows: validation rows of one scoring.
        completions: how long they were, and what they cost when they are longer or shorter.
        config: the default configuration.
        train_rows, pairs, test_rows: that the dataset has.
        start_up: from the beginning of the run until the pace was measured.
    """

    pace: Pace
    scored_rows: int
    config: Hyperparameters
    train_rows: int
    pairs: int
    test_rows: int
    start_up: float
    completions: Completions = field(default_factory=Completions)

    def row(self, schedule: Schedule) -> float:
        """Seconds for completing and scoring one row."""
        measured = self.pace.scoring / self.scored_rows
        return self.completions.at(schedule, measured, self.completions.row_growth)

    @property
    def tail(self) -> float:
        """Seconds for what else there is to do: history, pages, report, export, versions.

        It is work of the kind that the start is, on the same machine, and two fifths of it.
        """
        return min(90.0, max(4.0, 0.4 * self.start_up))

    def pace_of(self, schedule: Schedule) -> Pace:
        """The pace of trials with a schedule."""
        scoring = schedule.eval_rows * self.row(schedule)
        rl = self.completions.at(schedule, self.pace.rl_step, self.completions.rl_growth)
        return self.pace.model_copy(update={"scoring": scoring, "rl_step": rl})

    def steps(self, schedule: Schedule) -> StagePlan:
        """Steps of the default configuration."""
        return plan_steps(self.config, schedule, self.train_rows, self.pairs)

    def trial(self, schedule: Schedule) -> float:
        """Seconds of the default configuration at full length."""
        return trial_seconds(self.pace_of(schedule), self.steps(schedule), schedule)

    def tested(self, settings: TuneSettings) -> int:
        """Test rows of the final measurement: as many as its share of the time is enough for."""
        rows = min(settings.test_rows, self.test_rows)
        if settings.budget.unit != "seconds":
            return rows
        row = self.row(settings.schedule)
        affordable = TEST_SHARE * settings.budget.amount / (MODELS_TESTED * row or 1e-9)
        return min(rows, max(LEAST_ROWS, int(affordable)))

    def closing(self, settings: TuneSettings) -> float:
        """Seconds from the end of the last trial to the end of the run."""
        loads = MODELS_TESTED * (self.pace.loading + self.pace.starting)
        row = self.row(settings.schedule)
        return loads + MODELS_TESTED * self.tested(settings) * row + self.tail

    def probe(self, settings: TuneSettings) -> ProbeSize:
        """How much of the base model is looked at: what a tenth of the time is enough for."""
        rows = settings.schedule.eval_rows
        looked = min(PROBE_ROWS, rows)
        size = ProbeSize(
            rows=rows,
            feature_rows=None if looked == PROBE_ROWS else looked,
            sampled_rows=None if looked == PROBE_ROWS else looked,
            lora=self.config.adapter == "lora",
            limits=settings.limits,
        )
        if settings.budget.unit != "seconds":
            return size
        allowed, row = PROBE_SHARE * settings.budget.amount, self.row(settings.schedule)
        rows = max(LEAST_SCORED, min(rows, int(allowed / (row or 1e-9))))
        left = max(0.0, allowed - rows * row)
        looked = min(looked, int(left / 4 / (row or 1e-9)))
        left -= looked * row
        sampled = min(looked, int(left / (PROBE_SAMPLES * row or 1e-9)))
        sampled = sampled if sampled >= LEAST_SAMPLED else 0
        wall = 10.0 + 2 * allowed + 3 * self.pace.loading
        return size.model_copy(
            update={
                "rows": rows,
                "feature_rows": None if looked == PROBE_ROWS else looked,
                "sampled_rows": None if sampled == PROBE_ROWS else sampled,
                "limits": settings.limits.model_copy(
                    update={"wall_seconds": wall, "silent_seconds": 60.0 + wall}
                ),
            }
        )

    def probe_seconds(self, settings: TuneSettings) -> float:
        """Seconds of the probe."""
        size = self.probe(settings)
        looked = PROBE_ROWS if size.feature_rows is None else size.feature_rows
        sampled = PROBE_ROWS if size.sampled_rows is None else size.sampled_rows
        rows = size.rows + looked + PROBE_SAMPLES * sampled
        return rows * self.row(settings.schedule) + self.pace.loading

    def needed(self, settings: TuneSettings, trials: int, margin: float) -> float:
        """Seconds that a run with so many full trials takes, from its beginning to its end."""
        rounds = math.ceil(trials / settings.parallel)
        seconds = rounds * self.trial(settings.schedule) + self.probe_seconds(settings)
        return self.start_up + margin * (seconds + self.closing(settings))

    def fits(self, settings: TuneSettings, margin: float) -> bool:
        """Whether a time budget is enough for the default and two others at full length.

        Or for the default alone, where much of the budget is gone.
        """
        late = self.start_up >= LATE_SHARE * settings.budget.amount
        trials = 1 if late else LEAST_TRIALS
        return self.needed(settings, trials, margin) <= settings.budget.amount


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
    costs: Costs, settings: TuneSettings, now: datetime, elapsed: float, begun: bool = False
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
        raise SettingsError(_refusal(costs, settings))
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


def _text(costs: Costs, settings: TuneSettings, now: datetime, elapsed: float) -> str:
    trial = costs.trial(settings.schedule)
    before = costs.probe_seconds(settings) + costs.closing(settings)
    if settings.budget.unit == "seconds":
        left = settings.budget.amount - elapsed
        fit = int((left - before) / trial * settings.parallel)
        how_many = f"about {max(1, fit)} fit in what is left of {settings.budget}"
        when = "finished by {end}, in {left} at most"
    else:
        trials = settings.budget.amount
        left = before + math.ceil(trials / settings.parallel) * trial
        how_many = f"at most {trials:g} of them are in the budget of {settings.budget}"
        when = "finished at about {end}, in about {left} if all run in full"
    at_a_time = f", {settings.parallel} at a time" if settings.parallel > 1 else ""
    end = (now + timedelta(seconds=left)).strftime("%H:%M")
    lines = [
        f"plan: a full trial takes about {duration(trial)} ({_parts(costs, settings)}); "
        f"{how_many}{at_a_time}; {when.format(end=end, left=duration(left))}"
    ]
    size, rows = costs.probe(settings), settings.schedule.eval_rows
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


def _parts(costs: Costs, settings: TuneSettings) -> str:
    schedule = settings.schedule
    plan, pace = costs.steps(schedule), costs.pace_of(schedule)
    parts = [
        f"{plan.steps(stage)} {stage.upper()} steps of {pace.step(stage):.3g} s"
        for stage in plan.stages
    ]
    scorings = len(scored_steps(plan, schedule, 1.0))
    return ", ".join(
        [*parts, f"{scorings} scorings of {schedule.eval_rows} rows in {pace.scoring:.3g} s"]
    )


def _refusal(costs: Costs, settings: TuneSettings) -> str:
    needed = costs.needed(settings, LEAST_TRIALS, MARGIN)
    text = (
        f"--budget {settings.budget} is too short: a full trial takes about "
        f"{duration(costs.trial(settings.schedule))} here ({_parts(costs, settings)}), and the "
        f"default with two others, the probe and the final measurement {duration(needed)}"
    )
    smaller = next(_smaller(costs, settings), None)
    if smaller is not None:
        text += f"\n  this fits:          {reproduce_command(smaller)}"
    elif (least := _soonest(costs, settings)) is not None:
        text += f"\n  the least that fits: {reproduce_command(least)}"
    if (enough := longer(costs, settings)) is not None:
        text += f"\n  or give it longer:  {reproduce_command(enough)}"
    if limit := settings.schedule.max_completion_tokens:
        text += (
            f"\n  completions may be {limit} tokens long: a smaller --max-completion takes less "
            "time, and without it none is longer than the data's own need"
        )
    return text


def _soonest(costs: Costs, settings: TuneSettings) -> TuneSettings | None:
    """Settings that fit the shortest time budget, in whole minutes, that any fit.

    None where the settings as they are need no more than that.
    """
    minutes = 1 + int(settings.budget.amount // MINUTE)
    while MINUTE * minutes <= LONGEST_SECONDS:
        budget = Budget(amount=MINUTE * minutes, unit="seconds")
        candidate = settings.model_copy(update={"budget": budget})
        if costs.fits(candidate, OFFERED_MARGIN):
            return None
        if (smaller := next(_smaller(costs, candidate), None)) is not None:
            return smaller
        minutes += max(1, minutes // 10)
    return None


def _smaller(costs: Costs, settings: TuneSettings) -> Iterator[TuneSettings]:
    """Settings that fit the budget, those that keep most of the schedule and the rows first."""
    full = settings.schedule.total_steps
    found: list[tuple[int, TuneSettings]] = []
    # Fewer rows only make the score less sure; a trial with too few steps learns nothing; and of
    # shorter completions some are cut off before their answer.
    for tokens in (None, *costs.completions.shorter(settings.schedule)):
        schedule = settings.schedule
        if tokens is not None:
            schedule = schedule.model_copy(update={"max_completion_tokens": tokens})
        fitting = list(_fitting(costs, settings.model_copy(update={"schedule": schedule})))
        for share in (1.0, 0.5, 0.25):
            yield from (each for steps, each in fitting if steps >= share * full)
        found += fitting
    yield from (each for _, each in sorted(found, key=lambda pair: -pair[0]))


def _fitting(costs: Costs, settings: TuneSettings) -> Iterator[tuple[int, TuneSettings]]:
    """The longest schedules that fit with all the rows, and with fewer and fewer."""
    asked = settings.schedule.eval_rows
    for rows in (asked, *(rows for rows in OFFERED_ROWS if rows < asked)):
        schedule = settings.schedule.model_copy(update={"eval_rows": rows})
        candidate = settings.model_copy(update={"schedule": schedule})
        if steps := _most_steps(costs, candidate):
            kept = schedule.model_copy(update={"total_steps": steps})
            yield steps, settings.model_copy(update={"schedule": kept})


def _most_steps(costs: Costs, settings: TuneSettings) -> int | None:
    """The longest schedule that fits, no longer than that of the settings; None if none does."""

    def fit(steps: int) -> bool:
        schedule = settings.schedule.model_copy(update={"total_steps": steps})
        try:
            return costs.fits(settings.model_copy(update={"schedule": schedule}), OFFERED_MARGIN)
        except HyperparameterError:  # too few for the stages
            return False

    return next(filter(fit, _shorter(settings.schedule.total_steps)), None)


def _shorter(steps: int) -> Iterator[int]:
    """Numbers of steps, each a twentieth less than the one before, in fives where that is more."""
    while steps >= OFFERED_STEPS:
        yield steps
        less = min(steps - 1, round(0.95 * steps))
        steps = less - less % 5 if less > 10 else less


def longer(costs: Costs, settings: TuneSettings) -> TuneSettings | None:
    """The same settings with a time budget, in whole minutes, that is enough for them.

    None where not even the longest that there is would be.
    """
    minutes = 1
    while MINUTE * minutes <= LONGEST_SECONDS:
        budget = Budget(amount=MINUTE * minutes, unit="seconds")
        candidate = settings.model_copy(update={"budget": budget})
        if costs.fits(candidate, OFFERED_MARGIN):
            return candidate
        minutes += max(1, minutes // 10)
    return None
