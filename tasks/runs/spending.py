"""Spending of a run, counted from its folder; and whether the run can be resumed with a budget."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from tasks.config.command import budget_text
from tasks.config.settings import Budget
from tasks.history.rows import is_in_history
from tasks.runs.folder import RunFolder
from tasks.runs.formatting import format_duration, pluralize
from tasks.runs.ledger import LEDGER, CostScale, elapsed_seconds, is_idle
from tasks.runs.versions import keeps_winner
from trials.io.errors import SettingsError

MORE = 1.5  # times what is spent: the budget that is suggested for resuming


@dataclass(frozen=True)
class Spending:
    """Amounts that a run has spent, in every unit of a budget."""

    trials: int
    full: float
    seconds: float

    @classmethod
    def of(cls, run: RunFolder) -> Spending:
        """Counts the trials that have ended; one that a kill cut short is run again."""
        ended = {trial.spec.trial_id: trial for trial in run.trials()}
        scale, trials, full = CostScale(relative=run.info().relative_costs), 0, 0.0
        for proposal in sorted(run.proposals(), key=lambda each: each.order):
            trial = ended.get(proposal.trial_id)
            if trial is None or trial.result is None:
                continue
            cost = scale.of(trial.spec, trial.result)
            full += cost
            trials += not is_idle(trial.result, cost)
        file = run.path / LEDGER
        return cls(trials, full, elapsed_seconds(file) if file.exists() else 0.0)

    def amount(self, budget: Budget) -> float:
        """In the unit of a budget."""
        return {"trials": self.trials, "full": self.full, "seconds": self.seconds}[budget.unit]

    def text(self, budget: Budget) -> str:
        """In the unit of a budget, for people."""
        if budget.unit == "full":
            return f"{self.full:.1f} full-trial equivalents"
        trials = budget.unit == "trials"
        return pluralize(self.trials, "trial") if trials else format_duration(self.seconds)

    def part(self, budget: Budget) -> str:
        """Of a budget: ``2 of 6 trials``, ``10 min 00 s of 25m``."""
        spent = {"trials": f"{self.trials:,}", "full": f"{self.full:.1f}"}
        return f"{spent.get(budget.unit) or format_duration(self.seconds)} of {budget}"

    def more(self, budget: Budget) -> str:
        """A larger budget of the same unit, as it is typed."""
        size = 60.0 if budget.unit == "seconds" else 1.0
        amount = size * max(2, math.ceil(MORE * self.amount(budget) / size))
        return shlex.quote(budget_text(Budget(amount=amount, unit=budget.unit)))


def check_budget(run: RunFolder, budget: Budget) -> None:
    """Refuses to resume with a budget that is spent already.

    Raises:
        SettingsError: with what is spent, and what to type.
    """
    spent = Spending.of(run)
    if budget.amount > spent.amount(budget):
        return
    raise SettingsError(
        f"--budget {shlex.quote(budget_text(budget))}: run {run.run_id} has spent "
        f"{spent.text(budget)} already; expected a budget above that\n"
        f"  resume with: autopipe tune --resume {run.run_id} --budget {spent.more(budget)}\n"
        f"  or see what it found: autopipe report {run.run_id}"
    )


def finished_notice(run: RunFolder, budget: Budget, history: Path | None = None) -> str | None:
    """The message for a run that has nothing left to do; None if it has.

    That is one whose search ended with this very budget, and that has everything that the end of a
    run makes. Whatever of it was removed since, or could not be made, is made when it is resumed.
    """
    summary, info = run.summary(), run.info()
    folder = history or (Path(info.history.folder) if info.history.folder else None)
    if summary is None or summary.budget != budget or folder is None:
        return None
    made = ("report.html", "best/README.md", "observations.json", "plan.json")
    if (
        sum(trial.result is not None for trial in run.trials()) != summary.trials
        or not all((run.path / name).is_file() for name in made)
        or not is_in_history(folder, run.run_id)
        or not keeps_winner(run)
    ):
        return None
    spent = Spending.of(run)
    return (
        f"run {run.run_id} is finished: {spent.text(budget)} of its budget of {budget} are spent, "
        "and no other trial fits\n"
        f"  see what it found: autopipe report {run.run_id}\n"
        f"  resume with more: autopipe tune --resume {run.run_id} --budget {spent.more(budget)}"
    )
