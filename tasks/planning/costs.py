"""What trials of one dataset and model cost, added up from a measured pace (`trials.spec.pace`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tasks.config.settings import TuneSettings
from tasks.inputs.prepare import ProbeSize
from tasks.planning.completions import CompletionLengths
from trials.evaluation.probe_features import PROBE_ROWS, PROBE_SAMPLES
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.pace import trial_seconds
from trials.spec.plan import StagePlan, plan_steps, scored_steps
from trials.spec.records import Pace, Schedule

# Least that says anything: the default, and two others to choose from.
LEAST_TRIALS = 3
# Once so much of a time budget is gone, as of two minutes on a busy machine, a refusal would take
# more than it saves: then the default alone is enough.
LATE_SHARE = 0.25
# Shares of a time budget that the probe of the base model and the final measurement may take.
PROBE_SHARE, TEST_SHARE = 0.1, 0.1
MARGIN = 1.1  # a machine is not equally fast all the time: what is planned may take so much longer
# What a proposal takes, by what the start took.
ASKING_SHARE = 0.1
LEAST_ROWS = 10  # of the final measurement
LEAST_SCORED = 4  # of a base model, see `Schedule.eval_rows`
LEAST_SAMPLED = 4
MODELS_TESTED = 3  # base, default and best


@dataclass(frozen=True)
class TrialCosts:
    """What trials of one dataset and model cost, in seconds, for any schedule.

    Attributes:
        pace: as measured; ``scoring`` is that of ``scored_rows``.
        scored_rows: validation rows of one scoring.
        completions: how long they were, and what they cost when they are longer or shorter.
        config: the default configuration.
        train_rows, pairs, validation_rows, test_rows: that the dataset has.
        start_up: from the beginning of the run until the pace was measured.
        learning: from then until the offline models are there; beside the probe.
    """

    pace: Pace
    scored_rows: int
    config: Hyperparameters
    train_rows: int
    pairs: int
    validation_rows: int
    test_rows: int
    start_up: float
    learning: float = 0.0
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
        """Seconds between two trials: the next proposal, its records and its pages.

        As with the tail, the start tells how fast the machine is at such work.
        """
        return ASKING_SHARE * self.start_up

    @property
    def tail(self) -> float:
        """Seconds for what else there is to do: history, pages, report, export, versions.

        It is work of the kind that the start is, on the same machine, and two fifths of it.
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
        rows = self.scored(settings.schedule)
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
        seconds = self.trials_seconds(settings, trials) + self.probe_seconds(settings)
        return self.start_up + margin * (seconds + self.closing(settings))

    def trials_seconds(self, settings: TuneSettings, trials: float) -> float:
        """Seconds of so many full trials, as many at a time as the settings have.

        Proposals come one after the other, so trials that are shorter wait for theirs.
        """
        trial, rounds = self.trial(settings.schedule), math.ceil(trials / settings.parallel)
        in_rounds = rounds * trial + (rounds - 1) * self.asking
        return max(in_rounds, trial + (trials - 1) * self.asking)

    def most_trials(self, settings: TuneSettings, seconds: float) -> int:
        """How many full trials so many seconds are enough for; at least one."""
        trial, asking = self.trial(settings.schedule), self.asking
        rounds = int((seconds + asking) / (trial + asking))
        asked = int(max(0.0, seconds - trial + asking) / asking) if asking > 0 else math.inf
        return max(1, int(min(settings.parallel * rounds, asked)))

    def fits(self, settings: TuneSettings, margin: float) -> bool:
        """Whether a time budget is enough for the default and two others at full length.

        Or for the default alone, where much of the budget is gone.
        """
        late = self.start_up >= LATE_SHARE * settings.budget.amount
        trials = 1 if late else LEAST_TRIALS
        return self.needed(settings, trials, margin) <= settings.budget.amount

    def parts(self, schedule: Schedule) -> str:
        """What a trial consists of, in words: steps and scorings, and what each takes."""
        plan, pace = self.steps(schedule), self.pace_of(schedule)
        parts = [
            f"{plan.steps(stage)} {stage.upper()} steps of {pace.step(stage):.3g} s"
            for stage in plan.stages
        ]
        scorings = len(scored_steps(plan, schedule, 1.0))
        parts.append(f"{scorings} scorings of {self.scored(schedule)} rows in {pace.scoring:.3g} s")
        return ", ".join(parts)
