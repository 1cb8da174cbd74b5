"""Costs of the trials of one dataset and model, from a measured pace (`trials.spec.pace`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tasks.config.settings import TuneSettings
from tasks.inputs.prepare import ProbeSize
from trials.evaluation.probe_features import PROBE_ROWS, PROBE_SAMPLES
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.pace import trial_seconds
from trials.spec.plan import StagePlan, plan_steps, scored_steps
from trials.spec.records import Pace, Schedule

# The fewest that allow a conclusion: the default, and two others to choose from.
LEAST_TRIALS = 3
# Once so much of a time budget is gone (of two minutes on a busy machine), refusing would cost more
# than it saves: then the default alone is enough.
LATE_SHARE = 0.25
# Shares of a time budget that the probe of the base model and the final measurement may take.
PROBE_SHARE, TEST_SHARE = 0.1, 0.1
MARGIN = 1.1  # a machine is not equally fast all the time: what is planned may take so much longer
ASKING_SHARE = 0.1  # seconds of a proposal per second of the start
LEAST_ROWS = 10  # of the final measurement
LEAST_SCORED = 4  # of a base model, see `Schedule.eval_rows`
LEAST_SAMPLED = 4
SHORTER = (0.75, 0.5, 0.25)  # shares of a limit that are offered where time is short
LEAST_SHARE = 0.25
MODELS_TESTED = 3  # base, default and best


@dataclass(frozen=True)
class CompletionLengths:
    """Lengths of completions in tokens, and what each further token costs in seconds."""

    measured: int = 1  # the limit with which the pace was measured
    limit: int = 1  # that follows from the data, if the settings have none
    most: int = 1  # that nine of ten completions of the training split fit
    rl_growth: float = 0.0  # of an RL step
    row_growth: float = 0.0  # of a completed and scored row

    def of(self, schedule: Schedule) -> int:
        """The limit of a schedule."""
        return schedule.max_completion_tokens or self.limit

    def at(self, schedule: Schedule, seconds: float, growth: float) -> float:
        """Seconds with the limit of a schedule, from those with the limit that was measured.

        A shorter completion saves no more than its share of the whole, whatever the growth.
        """
        tokens = self.of(schedule)
        grown = seconds + growth * (tokens - self.measured)
        return max(grown, seconds * min(1.0, tokens / self.measured)) if growth else seconds

    def shorter(self, schedule: Schedule) -> list[int]:
        """Lower limits to offer: most completions fit them, and none is below a quarter."""
        limit = self.of(schedule)
        least = max(self.most, math.ceil(LEAST_SHARE * limit))
        found = {max(least, round(share * limit)) for share in SHORTER}
        return sorted((tokens for tokens in found if tokens < limit), reverse=True)


@dataclass(frozen=True)
class TrialCosts:
    """Costs of the trials of one dataset and model in seconds, for any schedule."""

    pace: Pace  # as measured; ``scoring`` is that of ``scored_rows``
    scored_rows: int
    config: Hyperparameters  # the default
    train_rows: int
    pairs: int
    validation_rows: int
    test_rows: int
    start_up: float  # from the beginning of the run until the pace was measured
    learning: float = 0.0  # from then until the offline models are trained, beside the probe
    completions: CompletionLengths = field(default_factory=CompletionLengths)

    def row(self, schedule: Schedule) -> float:
        """Seconds for completing and scoring one row."""
        measured = self.pace.scoring / self.scored_rows
        return self.completions.at(schedule, measured, self.completions.row_growth)

    def scored(self, schedule: Schedule) -> int:
        """Validation rows of one scoring."""
        return min(schedule.eval_rows, self.validation_rows)

    @property
    def asking(self) -> float:
        """Seconds of the next proposal, its records and pages: work of the same kind as a start."""
        return ASKING_SHARE * self.start_up

    @property
    def tail(self) -> float:
        """Seconds of the rest of the run: history, pages, report, export, versions.

        The same kind of work as the start, and two fifths of it.
        """
        return min(90.0, max(4.0, 0.4 * self.start_up))

    def pace_of(self, schedule: Schedule) -> Pace:
        """The pace of trials with a schedule."""
        scoring = self.scored(schedule) * self.row(schedule)
        rl = self.completions.at(schedule, self.pace.rl_step, self.completions.rl_growth)
        return self.pace.model_copy(update={"scoring": scoring, "rl_step": rl})

    def steps(self, schedule: Schedule) -> StagePlan:
        """Steps of the default configuration."""
        return plan_steps(self.config, schedule, self.train_rows, self.pairs)

    def trial(self, schedule: Schedule) -> float:
        """Seconds of the default configuration at full length."""
        return trial_seconds(self.pace_of(schedule), self.steps(schedule), schedule)

    def tested(self, settings: TuneSettings) -> int:
        """Test rows of the final measurement: as many as fit its share of the time."""
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
        """The size of the probe of the base model: what fits a tenth of a time budget."""
        rows, limits = self.scored(settings.schedule), settings.limits
        featured = sampled = min(PROBE_ROWS, rows)
        if settings.budget.unit == "seconds":
            allowed, row = PROBE_SHARE * settings.budget.amount, self.row(settings.schedule)
            rows = max(LEAST_SCORED, min(rows, int(allowed / (row or 1e-9))))
            left = max(0.0, allowed - rows * row)
            featured = min(featured, int(left / 4 / (row or 1e-9)))
            left -= featured * row
            sampled = min(featured, int(left / (PROBE_SAMPLES * row or 1e-9)))
            sampled = sampled if sampled >= LEAST_SAMPLED else 0
            wall = 10.0 + 2 * allowed + 3 * self.pace.loading
            limits = limits.model_copy(update={"wall_seconds": wall, "silent_seconds": 60.0 + wall})
        return ProbeSize(
            rows=rows,
            feature_rows=None if featured == PROBE_ROWS else featured,
            sampled_rows=None if sampled == PROBE_ROWS else sampled,
            lora=self.config.adapter == "lora",
            limits=limits,
        )

    def probe_seconds(self, settings: TuneSettings) -> float:
        """Seconds of the probe."""
        size = self.probe(settings)
        featured, sampled = (
            PROBE_ROWS if rows is None else rows for rows in (size.feature_rows, size.sampled_rows)
        )
        rows = size.rows + featured + PROBE_SAMPLES * sampled
        return rows * self.row(settings.schedule) + self.pace.loading

    def needed(self, settings: TuneSettings, trials: int, margin: float) -> float:
        """Seconds of a run with so many full trials, from its beginning to its end."""
        seconds = self.trials_seconds(settings, trials) + self.probe_seconds(settings)
        return self.start_up + margin * (seconds + self.closing(settings))

    def trials_seconds(self, settings: TuneSettings, trials: float) -> float:
        """Seconds of so many full trials, run in parallel as the settings say.

        Proposals are made one after the other, so short trials wait for theirs.
        """
        trial, rounds = self.trial(settings.schedule), math.ceil(trials / settings.parallel)
        in_rounds = rounds * trial + (rounds - 1) * self.asking
        return max(in_rounds, trial + (trials - 1) * self.asking)

    def most_trials(self, settings: TuneSettings, seconds: float) -> int:
        """The number of full trials that fit so many seconds; at least one."""
        trial, asking = self.trial(settings.schedule), self.asking
        rounds = int((seconds + asking) / (trial + asking))
        asked = int(max(0.0, seconds - trial + asking) / asking) if asking > 0 else math.inf
        return max(1, int(min(settings.parallel * rounds, asked)))

    def fits(self, settings: TuneSettings, margin: float) -> bool:
        """True if a time budget is enough for the default and two others at full length.

        For the default alone, if much of the budget is gone.
        """
        late = self.start_up >= LATE_SHARE * settings.budget.amount
        trials = 1 if late else LEAST_TRIALS
        return self.needed(settings, trials, margin) <= settings.budget.amount

    def parts(self, schedule: Schedule) -> str:
        """The parts of a trial in words: steps and scorings, and the seconds of each."""
        plan, pace = self.steps(schedule), self.pace_of(schedule)
        parts = [
            f"{plan.steps(stage)} {stage.upper()} steps of {pace.step(stage):.3g} s"
            for stage in plan.stages
        ]
        scorings = len(scored_steps(plan, schedule, 1.0))
        parts.append(f"{scorings} scorings of {self.scored(schedule)} rows in {pace.scoring:.3g} s")
        return ", ".join(parts)
