"""The plan of a run: what a full trial costs, how many fit, and when the run will be finished.

It is measured once, kept in the run folder, and then relied on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ConfigSpace import ConfigurationSpace
from pydantic import Field

from surrogates.online.proxies import SHARE as PROXY_SHARE
from tasks.config.progress import Report
from tasks.config.settings import TuneSettings
from tasks.execution.backend import ExecutionBackend
from tasks.execution.devices import trial_processes
from tasks.inputs.prepare import CheckedInputs, Inputs, ProbeSize
from tasks.inputs.proxies import plan_text, search_levels
from tasks.inputs.spaces import plain_values
from tasks.monitoring.observers import PhaseProgress, RunObserver
from tasks.offline.models import OfflineTraining
from tasks.planning.alternatives import refusal
from tasks.planning.costs import MARGIN, TrialCosts
from tasks.planning.warm_up import warm_up
from tasks.runs.folder import PLAN, RunFolder
from tasks.runs.formatting import format_duration, rough_duration
from tasks.runs.ledger import Ledger
from trials.io.errors import SettingsError
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import Pace, Record, read_record, write_json

# Of a time budget: how long the offline models are waited for once the probe is done.
OFFLINE_SHARE = 0.1
FEW_ROWS = 100  # the standard error of a score over fewer may be more than 0.05


class TimePlan(Record):
    """``plan.json``: what a run was expected to take."""

    pace: Pace
    overhead_seconds: float  # of a trial, whatever its length
    trial_seconds: float | None  # of the default at full length; None where it is not known
    closing_seconds: float  # kept for the measurement on the test split and what follows
    test_rows: int
    test_seconds: float  # of the closing seconds
    probe: ProbeSize
    text: str  # for people
    proxies: dict[str, float] = Field(default_factory=dict)  # relative cost of a full trial on each
    proxy_share: float | None = None  # of the budget, that they may spend together


def unmeasured(settings: TuneSettings, text: str) -> TimePlan:
    """The plan of a run whose trials could not be measured."""
    probe = ProbeSize(rows=settings.schedule.eval_rows, limits=settings.limits)
    return TimePlan(
        pace=Pace(),
        overhead_seconds=0.0,
        trial_seconds=None,
        closing_seconds=30.0,
        test_rows=settings.test_rows,
        test_seconds=0.0,
        probe=probe,
        text=text,
    )


def plan_of(
    costs: TrialCosts, settings: TuneSettings, now: datetime, elapsed: float, begun: bool = False
) -> TimePlan:
    """The plan of a run that began ``elapsed`` seconds ago; ``begun`` if it has trials already.

    Raises:
        SettingsError: the time budget of a new run is too short, with commands that fit.
    """
    if settings.budget.unit == "seconds" and not begun and not costs.fits(settings, MARGIN):
        raise SettingsError(refusal(costs, settings))
    pace, closing = costs.pace_of(settings.schedule), costs.closing(settings)
    return TimePlan(
        pace=pace,
        overhead_seconds=pace.loading + len(costs.steps(settings.schedule).stages) * pace.starting,
        trial_seconds=costs.trial(settings.schedule),
        closing_seconds=closing,
        test_rows=costs.tested(settings),
        test_seconds=closing - costs.tail,
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


def make_plan(
    settings: TuneSettings,
    run: RunFolder,
    inputs: CheckedInputs,
    space: ConfigurationSpace,
    backend: ExecutionBackend,
    launchers: Sequence[Launcher],
    ledger: Ledger,
    learning: OfflineTraining,
) -> TimePlan:
    """Makes the plan of a run after a warm-up, or reads that of a resumed one; updates the ledger.

    If trials run on other machines, this one says nothing about their speed: then nothing is
    planned, and nothing refused. Nor is a run refused that is resumed without a plan.

    Raises:
        SettingsError: a time budget is too short, with commands that fit.
        AutoPipeError: no trial of this run could be run.
    """
    file = run.path / PLAN
    config = plain_values(space.get_default_configuration())
    if file.exists():
        plan = _resumed(read_record(file, TimePlan), ledger)
    elif isinstance(backend.runner, Supervisor):
        processes = trial_processes(launchers[0])
        costs = warm_up(
            settings, run, inputs, config, backend.runner, lambda: ledger.elapsed_here, processes
        )
        begun = (run.path / "run.json").exists()
        if costs:
            costs = replace(costs, learning=learning.seconds(costs.start_up))
            plan = plan_of(costs, settings, datetime.now(), ledger.elapsed, begun=begun)
        else:
            plan = unmeasured(settings, "the default configuration could not be measured: no plan")
        write_json(file, plan)
        plan = _resumed(plan, ledger) if begun else plan
    else:
        plan = unmeasured(settings, "trials run on other machines, which are not measured: no plan")
    ledger.trial_seconds = math.nan if plan.trial_seconds is None else plan.trial_seconds
    ledger.overhead_seconds = plan.overhead_seconds
    ledger.closing_seconds = plan.closing_seconds
    return plan


def plan_proxies(run: RunFolder, inputs: Sequence[Inputs]) -> str:
    """Adds to a run's plan, where it has one, what its proxies cost; says so for people.

    The last of the inputs is the target. Empty without proxies.
    """
    text, file = plan_text(inputs), run.path / PLAN
    if not text or not file.exists():
        return text
    plan = read_record(file, TimePlan)
    if not plan.proxies:  # else it was resumed
        costs = dict(list(search_levels(inputs)["levels"].items())[:-1])
        more = {"proxies": costs, "proxy_share": PROXY_SHARE, "text": f"{plan.text}\n{text}"}
        write_json(file, plan.model_copy(update=more))
    return text


def _resumed(plan: TimePlan, ledger: Ledger) -> TimePlan:
    """The plan of a resumed run: what was measured, and what is left of the budget now."""
    if plan.trial_seconds is None:
        return plan
    ledger.closing_seconds = plan.closing_seconds
    left = f"the budget is {ledger.budget}"
    if ledger.budget.unit == "seconds":
        left = f"{format_duration(max(0.0, ledger.left))} of {ledger.budget} are left for trials"
    text = (
        f"plan: a full trial takes about {format_duration(plan.trial_seconds)}, as measured when "
        f"the run began; {left}"
    )
    return plan.model_copy(update={"text": text})


def offline_wait_seconds(ledger: Ledger) -> float | None:
    """Seconds to wait for the offline models; None: as long as it takes."""
    if ledger.budget.unit != "seconds":
        return None
    spare = ledger.left - 3 * ledger.seconds(1.0)
    return max(0.0, min(OFFLINE_SHARE * ledger.budget.amount, spare))


def progress_to(observer: RunObserver) -> Report:
    """Tells an observer how far a measurement is."""

    def say(what: str, done: int, rows: int) -> None:
        if rows:
            observer.notify(PhaseProgress(done, rows))
        elif what:
            observer.phase(f"measuring: {what}")

    return say
