"""What a run has spent, as its folder says: whether it may go on with a budget, and has to."""

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
from tasks.runs.full_costs import CostScale, is_idle
from tasks.runs.ledger import LEDGER, elapsed_seconds
from tasks.runs.versions import keeps_winner
from trials.io.errors import SettingsError

MORE = 1.5  # of what is spent: the budget that is offered to those who want more


@dataclass(frozen=True)
class Spending:
    """What a run has spent, in every unit of a budget."""

    trials: int
    full: float
    seconds: float

    @classmethod
    def of(cls, run: RunFolder) -> Spending:
        """Counts the trials that have ended; one that a kill cut short is run again."""
        ended = {trial.spec.trial_id: trial for trial in run.trials() if trial.result is not None}
        costs, trials, full = CostScale(), 0, 0.0
        for proposal in sorted(run.proposals(), key=lambda each: each.order):
            trial = ended.get(proposal.trial_id)
            if trial is None or trial.result is None:
                continue
            cost = costs.of(trial.spec, trial.result)
            full += cost
            trials += not is_idle(trial.result, cost)
        file = run.path / LEDGER
        return cls(trials, full, elapsed_seconds(file) if file.exists() else 0.0)

    def amount(self, budget: Budget) -> float:
        """In the unit of a budget."""
        return {"trials": self.trials, "full": self.full, "seconds": self.seconds}[budget.unit]

    def text(self, budget: Budget) -> str:
        """In the unit of a budget, for people."""
        return {
            "trials": pluralize(self.trials, "trial"),
            "full": f"{self.full:.1f} full-trial equivalents",
            "seconds": format_duration(self.seconds),
        }[budget.unit]

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
    """Refuses to go on with a budget that is spent already.

    Raises:
        SettingsError: saying what is spent, and what to type.
    """
    spent = Spending.of(run)
    if budget.amount > spent.amount(budget):
        return
    raise SettingsError(
        f"--budget {shlex.quote(budget_text(budget))}: run {run.run_id} has spent "
        f"{spent.text(budget)} already; expected a budget above that\n"
        f"  go on with: autopipe tune --resume {run.run_id} --budget {spent.more(budget)}\n"
        f"  or see what it found: autopipe report {run.run_id}"
    )


def finished_notice(run: RunFolder, budget: Budget, history: Path | None = None) -> str | None:
    """What people are told of a run that has nothing left to do; None where it has.

    That is one whose search ended with this very budget, and that has all that the end of a run
    makes. Whatever of it was removed since, or could not be made, is made when the run goes on.

    Args:
        run: its folder.
        budget: that it would go on with.
        history: that it would join; None, the one that it began with.
    """
    summary, info = run.summary(), run.info()
    folder = history or (Path(info.history.folder) if info.history.folder else None)
    if summary is None or summary.budget != budget or folder is None:
        return None
    ended = [trial for trial in run.trials() if trial.result is not None]
    made = ("report.html", "best/README.md", "observations.json", "plan.json")
    if (
        len(ended) != summary.trials
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
        f"  go on with more: autopipe tune --resume {run.run_id} --budget {spent.more(budget)}"
    )
