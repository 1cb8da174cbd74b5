"""Alternatives if a time budget is too short: settings that fit it, or a longer budget."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.config.command import reproduce_command
from tasks.config.settings import LONGEST_SECONDS, Budget, TuneSettings
from tasks.planning.costs import LEAST_TRIALS, MARGIN, TrialCosts
from tasks.runs.formatting import format_duration
from trials.io.errors import HyperparameterError

OFFERED_MARGIN = 1.35  # a command that is offered must be accepted in its turn
OFFERED_ROWS = (128, 64, 32, 16, 8)
OFFERED_STEPS = 4
MINUTE = 60


def refusal(costs: TrialCosts, settings: TuneSettings) -> str:
    """The reason why a time budget is too short, with commands that fit."""
    needed = costs.needed(settings, LEAST_TRIALS, MARGIN)
    schedule = settings.schedule
    text = (
        f"--budget {settings.budget} is too short: a full trial takes about "
        f"{format_duration(costs.trial(schedule))} here ({costs.parts(schedule)}), and the "
        f"default with two others, the probe and the final measurement {format_duration(needed)}"
    )
    smaller = next(_smaller(costs, settings), None)
    if smaller is not None:
        text += f"\n  this fits:          {reproduce_command(smaller)}"
    elif (least := _soonest(costs, settings)) is not None:
        text += f"\n  the least that fits: {reproduce_command(least)}"
    if (enough := longer_budget(costs, settings)) is not None:
        text += f"\n  or give it longer:  {reproduce_command(enough)}"
    if limit := schedule.max_completion_tokens:
        text += (
            f"\n  completions may be {limit} tokens long: a smaller --max-completion takes less "
            "time, and without it none is longer than the data's own need"
        )
    return text


def _soonest(costs: TrialCosts, settings: TuneSettings) -> TuneSettings | None:
    """Settings that fit the shortest time budget, in whole minutes, that any fit.

    None if the settings as they are need no more than that.
    """
    for candidate in _longer_budgets(settings, 1 + int(settings.budget.amount // MINUTE)):
        if costs.fits(candidate, OFFERED_MARGIN):
            return None
        if (smaller := next(_smaller(costs, candidate), None)) is not None:
            return smaller
    return None


def _smaller(costs: TrialCosts, settings: TuneSettings) -> Iterator[TuneSettings]:
    """Settings that fit the budget, those that keep most of the schedule and the rows first."""
    full = settings.schedule.total_steps
    found: list[tuple[int, TuneSettings]] = []
    # Fewer rows only make the score less sure; a trial with too few steps learns nothing; and of
    # shorter completions some are cut off before their answer.
    for tokens in (None, *costs.completions.shorter(settings.schedule)):
        shorter = _with(settings, max_completion_tokens=tokens) if tokens else settings
        fitting = list(_fitting(costs, shorter))
        for share in (1.0, 0.5, 0.25):
            yield from (each for steps, each in fitting if steps >= share * full)
        found += fitting
    yield from (each for _, each in sorted(found, key=lambda pair: -pair[0]))


def _fitting(costs: TrialCosts, settings: TuneSettings) -> Iterator[tuple[int, TuneSettings]]:
    """The longest schedules that fit with all the rows, and with fewer and fewer."""
    fewer = (rows for rows in OFFERED_ROWS if rows < costs.scored(settings.schedule))
    for rows in (settings.schedule.eval_rows, *fewer):
        candidate = _with(settings, eval_rows=rows)
        if steps := _most_steps(costs, candidate):
            yield steps, _with(candidate, total_steps=steps)


def _most_steps(costs: TrialCosts, settings: TuneSettings) -> int | None:
    """The longest schedule that fits, no longer than that of the settings; None if none does."""

    def fit(steps: int) -> bool:
        try:
            return costs.fits(_with(settings, total_steps=steps), OFFERED_MARGIN)
        except HyperparameterError:  # too few for the stages
            return False

    return next(filter(fit, _shorter(settings.schedule.total_steps)), None)


def _with(settings: TuneSettings, **changes: int) -> TuneSettings:
    """The settings with another schedule."""
    return settings.model_copy(update={"schedule": settings.schedule.model_copy(update=changes)})


def _shorter(steps: int) -> Iterator[int]:
    """Numbers of steps, each a twentieth less than the one before, in fives where that is more."""
    while steps >= OFFERED_STEPS:
        yield steps
        less = min(steps - 1, round(0.95 * steps))
        steps = less - less % 5 if less > 10 else less


def longer_budget(costs: TrialCosts, settings: TuneSettings) -> TuneSettings | None:
    """The same settings with the shortest time budget, in whole minutes, that is enough for them.

    None if not even the longest possible one is.
    """
    candidates = _longer_budgets(settings, 1)
    return next((each for each in candidates if costs.fits(each, OFFERED_MARGIN)), None)


def _longer_budgets(settings: TuneSettings, minutes: int) -> Iterator[TuneSettings]:
    """The settings with longer and longer time budgets, each a tenth more than the one before."""
    while MINUTE * minutes <= LONGEST_SECONDS:
        budget = Budget(amount=MINUTE * minutes, unit="seconds")
        yield settings.model_copy(update={"budget": budget})
        minutes += max(1, minutes // 10)
