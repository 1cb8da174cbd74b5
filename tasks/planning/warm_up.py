"""The warm-up of a run: a few steps, generated tokens and a checkpoint, to measure trial costs.

It is a very short trial, and the first step of each stage does not count. Its first part is quick
even if a step of a real model takes a minute: SFT with the smallest batches and a few generated
tokens, from which follow the times of larger ones (`trials.spec.pace`). If that is quick, a second
part runs the default configuration itself: the time of small models is not proportional to work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.inputs.prepare import CheckedInputs
from tasks.planning.costs import CompletionLengths, TrialCosts
from tasks.runs.folder import RunFolder
from trials.io.errors import AutoPipeError
from trials.process.supervisor import Supervisor
from trials.spec.combinations import LENGTHS
from trials.spec.events import Event, read_events
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.kinds import FATAL_KINDS, STAGES, FailureKind
from trials.spec.pace import Generation, pace_of, rl_seconds, trained_tokens, trial_seconds
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import Fidelity, Pace, Schedule, TrialResult, TrialSpec, Value

FOLDER = "warm-up"
SMALL_ROWS, SMALL_TOKENS = 4, 8  # scored, and generated for each
SMALL_STEPS, STEPS = 2, 3  # of each stage: the first does not count
# The first part may take this share of a time budget, up to so many seconds or a hundredth of the
# budget, whichever is more; the second part less. A refusal should come within a minute.
SMALL_SHARE, SMALL_SECONDS, LONG_SHARE = 0.2, 25.0, 0.01
FULL_SHARE, FULL_SECONDS = 0.05, 15.0
# If the steps of the first part took no longer than this, the batch may hardly matter, and only
# the second part can tell.
QUICK_SECONDS = 0.5
# Time of a DPO step per SFT step, if none was measured: two completions per pair, and a pass
# through the reference.
DPO_OF_SFT = 2.5
PADDED = 1.2  # a batch is as wide as its longest row


@step
def warm_up(
    settings: TuneSettings,
    run: RunFolder,
    inputs: CheckedInputs,
    config: dict[str, Any],
    supervisor: Supervisor,
    elapsed: Callable[[], float],
    processes: int = 1,
) -> TrialCosts | None:
    """Measures what trials of the default configuration cost, by short ones in ``warm-up/``.

    None where it cannot be measured, as when it diverges at once. ``elapsed`` counts the seconds
    since the run began; ``processes`` share the batch of a trial.

    Raises:
        AutoPipeError: no trial of this run could be run; or within a time budget, a step of the
            smallest size takes too long for it.
    """
    trial = _ShortTrial(settings, run, inputs, config, processes, supervisor)
    small = trial.run("small", trial.limit)
    costs = trial.costs(small, elapsed())
    if costs is None:
        if small.ran_out_of_time and settings.budget.unit == "seconds":
            raise AutoPipeError(
                f"--budget {settings.budget} is too short: one training step with the smallest "
                f"batch there is does not end within {trial.limit:.0f} s here\n"
                "  give it more time, choose a smaller model, or shorten the rows or the "
                "completions (--max-length, --max-completion)"
            )
        return None
    left = _share(settings, FULL_SHARE, FULL_SECONDS)
    row = costs.row(settings.schedule)
    spare = left - _expected(costs, settings.schedule)
    quick = sum(small.pace.step(stage) for stage in costs.steps(settings.schedule).stages)
    if quick < QUICK_SECONDS or spare > SMALL_ROWS * row:
        affordable = int(max(spare, left / 3) / (row or 1e-9))
        rows = min(settings.schedule.eval_rows, max(SMALL_ROWS, affordable))
        full = trial.run("full", 2 * left, rows)
        costs = trial.costs(full, elapsed(), small) or costs
    return replace(costs, start_up=elapsed())


@dataclass(frozen=True)
class _Measured:
    """The measurements of a short trial."""

    events: list[Event]
    result: TrialResult
    rows: int  # that were scored
    tokens: int | None  # limit of their completions; None: that of the data
    full: bool  # whether it ran the configuration itself, not the smallest batches

    @property
    def pace(self) -> Pace:
        return pace_of(self.events)

    @property
    def ran_out_of_time(self) -> bool:
        failure = self.result.failure
        return self.result.out_of_time or bool(failure and failure.kind == FailureKind.TIMED_OUT)

    @property
    def lengths(self) -> dict[str, int] | None:
        """Tokens of completions: the ``limit`` from the data, and what ``most`` of them fit."""
        found = (e["completion_tokens"] for e in reversed(self.events) if "completion_tokens" in e)
        return next(filter(None, found), None)

    @property
    def token(self) -> float:
        """Seconds of training on a token; 0 if SFT was not run."""
        tokens = trained_tokens(self.events)
        return self.pace.sft_step / tokens if tokens else 0.0


@dataclass(frozen=True)
class _ShortTrial:
    """Runs trials of the default configuration with very few steps, and derives costs from them."""

    settings: TuneSettings
    run_folder: RunFolder
    inputs: CheckedInputs
    config: dict[str, Any]
    processes: int
    supervisor: Supervisor

    @property
    def h(self) -> Hyperparameters:
        return validate(self.config)

    @property
    def plan(self) -> StagePlan:
        """Steps of the configuration at full length."""
        rows, pairs = self.inputs.dataset.splits["train"], self.inputs.dataset.preferences
        return plan_steps(self.h, self.settings.schedule, len(rows), len(pairs))

    @property
    def limit(self) -> float:
        """Seconds that one may take."""
        budget = self.settings.budget
        most = LONG_SHARE * budget.amount if budget.unit == "seconds" else 0.0
        return _share(self.settings, SMALL_SHARE, max(SMALL_SECONDS, most))

    def run(self, name: str, limit: float, rows: int | None = None) -> _Measured:
        """Runs the configuration itself, scored on so many rows, or the smallest trial there is.

        It may take ``limit`` seconds, where time is budgeted.

        Raises:
            AutoPipeError: it failed in a way that all other trials would, too.
        """
        folder = self.run_folder.path / FOLDER / name
        wall = limit if self.settings.budget.unit == "seconds" else None
        asked = self.settings.schedule.max_completion_tokens
        tokens = min(asked or SMALL_TOKENS, SMALL_TOKENS) if rows is None else asked
        scored = rows or SMALL_ROWS
        schedule: dict[str, object] = {"eval_rows": scored, "max_completion_tokens": tokens}
        schedule |= {"eval_points": (), "pass_k": None}
        spec = TrialSpec(
            trial_id=f"{FOLDER}-{name}",
            dataset=str(self.inputs.dataset.path),
            dataset_fingerprint=self.inputs.dataset.fingerprint,
            config=self._smallest() if rows is None else self._with_steps(_shortened(self.plan)),
            fidelity=Fidelity(model=self.inputs.model, fraction=1.0),
            seed=self.settings.seed,
            folder=str(folder),
            model_fingerprint=self.inputs.model_fingerprint,
            schedule=self.settings.schedule.model_copy(update=schedule),
            stopping=self.settings.stopping.model_copy(update={"enabled": False}),
            limits=self.settings.limits.model_copy(
                update={"wall_seconds": wall, "checkpoint_seconds": None}
            ),
            compute=self.settings.compute,
            keep_checkpoint=False,
            allow_user_code=self.settings.allow_user_code,
        )
        result = self.supervisor.run(spec)
        if result.failure and result.failure.kind in FATAL_KINDS:
            raise AutoPipeError(result.failure.message)
        events = list(read_events(folder / "events.jsonl"))
        scored = min(scored, len(self.inputs.dataset.splits["validation"]))
        return _Measured(events, result, scored, tokens, full=rows is not None)

    def costs(
        self, trial: _Measured, start_up: float, before: _Measured | None = None
    ) -> TrialCosts | None:
        """The costs that follow from a short trial; None if its measurements are not enough.

        If it did not train by SFT, the one ``before`` did.
        """
        h, pace, lengths = self.h, trial.pace, trial.lengths
        token = trial.token or (before.token if before else 0.0)
        if lengths is None or not token:
            return None
        limit = trial.tokens or lengths["limit"]
        generation = Generation.of(trial.events, self.processes)
        if not trial.full and trial.ran_out_of_time:
            pace, generation = self._filled(pace, generation, limit, token, trial)
        own_limit = h.rl_max_completion_tokens
        if generation is None or not pace.scoring:
            return None
        if not trial.full:
            pace = self._scaled(pace, rl_seconds(h, generation, token, own_limit or limit))
        if not all(pace.step(stage) for stage in self.plan.stages):
            return None
        more, less = (rl_seconds(h, generation, token, tokens) for tokens in (limit + 1, limit))
        dataset = self.inputs.dataset
        return TrialCosts(
            pace=pace,
            scored_rows=trial.rows,
            config=h,
            train_rows=len(dataset.splits["train"]),
            pairs=len(dataset.preferences),
            validation_rows=len(dataset.splits["validation"]),
            test_rows=len(dataset.splits["test"]),
            start_up=start_up,
            completions=CompletionLengths(
                measured=limit,
                limit=lengths["limit"],
                most=lengths["most"],
                rl_growth=0.0 if own_limit else more - less,
                row_growth=generation.row_growth,
            ),
        )

    def _filled(
        self, pace: Pace, generation: Generation | None, limit: int, token: float, trial: _Measured
    ) -> tuple[Pace, Generation]:
        """Fills in what there was no time to measure, by what training took."""
        if generation is None:
            width = trained_tokens(trial.events) / self.processes
            generation = Generation.guessed(trial.rows, width, token)
        filled = {
            "scoring": pace.scoring or trial.rows * generation.row(limit),
            "dpo_step": pace.dpo_step or DPO_OF_SFT * pace.sft_step,
            "saving": pace.saving or pace.loading,
        }
        return pace.model_copy(update=filled), generation

    def _scaled(self, pace: Pace, rl_step: float) -> Pace:
        """Scales the pace from the smallest batches to those of the configuration."""
        plan, h = self.plan, self.h
        row = PADDED / self.processes
        return pace.model_copy(
            update={
                "sft_step": h.sft_batch_size * row * pace.sft_step if plan.sft else 0.0,
                "dpo_step": h.dpo_batch_size * row * pace.dpo_step if plan.dpo else 0.0,
                "rl_step": rl_step if plan.rl else 0.0,
            }
        )

    def _smallest(self) -> dict[str, Value | None]:
        """SFT even if the configuration has none, and DPO if it has any."""
        least = {"sft_batch_size": self.processes, "dpo_batch_size": self.processes}
        plan = StagePlan(SMALL_STEPS, SMALL_STEPS if self.plan.dpo else 0, 0)
        return self._with_steps(plan) | least

    def _with_steps(self, plan: StagePlan) -> dict[str, Value | None]:
        lengths = {name for names in LENGTHS.values() for name in names}
        config = {name: value for name, value in self.config.items() if name not in lengths}
        return config | {f"{stage}_steps": plan.steps(stage) for stage in STAGES}


def _shortened(plan: StagePlan) -> StagePlan:
    """The same stages with few steps; RL makes two buffers of completions."""
    sft, dpo = (STEPS if steps else 0 for steps in (plan.sft, plan.dpo))
    return StagePlan(sft, dpo, 2 * plan.rl_boundary if plan.rl else 0, plan.rl_boundary)


def _expected(costs: TrialCosts, schedule: Schedule) -> float:
    """Seconds of the second part without its scoring."""
    once = schedule.model_copy(update={"eval_points": ()})
    pace = costs.pace_of(schedule).model_copy(update={"scoring": 0.0})
    return trial_seconds(pace, _shortened(costs.steps(schedule)), once)


def _share(settings: TuneSettings, share: float, most: float) -> float:
    """Seconds of a share of a time budget, up to a maximum."""
    timed = settings.budget.unit == "seconds"
    return min(most, share * settings.budget.amount) if timed else most
