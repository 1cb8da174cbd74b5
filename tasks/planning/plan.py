"""The plan of a run as its flow makes it: measured once, kept in the run folder, then relied on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ConfigSpace import ConfigurationSpace

from tasks.config.progress import Report
from tasks.config.settings import TuneSettings
from tasks.execution.backend import ExecutionBackend
from tasks.execution.devices import trial_processes
from tasks.inputs.prepare import CheckedInputs
from tasks.inputs.spaces import plain_values
from tasks.monitoring.observers import RunObserver
from tasks.offline.models import OfflineTraining
from tasks.planning.time_plan import OFFLINE_SHARE, TimePlan, plan_of, unmeasured
from tasks.planning.warm_up import warm_up
from tasks.runs.folder import PLAN, RunFolder
from tasks.runs.formatting import format_duration
from tasks.runs.ledger import Ledger
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import read_record, write_json


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
    """Makes the plan of a run after a warm-up, or reads that of a resumed one; tells the ledger.

    Where trials run on other machines this one says nothing about their speed: then nothing is
    planned, and nothing refused. Nor is a run refused that goes on without a plan.

    Raises:
        SettingsError: a time budget is too short, with the commands that are not.
        AutoPipeError: no trial of this run could be run.
    """
    file = run.path / PLAN
    config = plain_values(space.get_default_configuration())
    if file.exists():
        plan = _again(read_record(file, TimePlan), ledger)
    elif isinstance(backend.runner, Supervisor):
        processes = trial_processes(launchers[0])
        costs = warm_up(
            settings, run, inputs, config, backend.runner, lambda: ledger.elapsed_here, processes
        )
        if costs:
            costs = replace(costs, learning=learning.seconds(costs.start_up))
        begun = (run.path / "run.json").exists()
        plan = (
            plan_of(costs, settings, datetime.now(), ledger.elapsed, begun=begun)
            if costs
            else unmeasured(settings, "the default configuration could not be measured: no plan")
        )
        write_json(file, plan)
        plan = _again(plan, ledger) if begun else plan
    else:
        plan = unmeasured(settings, "trials run on other machines, which are not measured: no plan")
    ledger.trial_seconds = math.nan if plan.trial_seconds is None else plan.trial_seconds
    ledger.overhead_seconds = plan.overhead_seconds
    ledger.closing_seconds = plan.closing_seconds
    return plan


def _again(plan: TimePlan, ledger: Ledger) -> TimePlan:
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
    """How long the offline models may be waited for; None, as long as it takes."""
    if ledger.budget.unit != "seconds":
        return None
    spare = ledger.left - 3 * ledger.seconds(1.0)
    return max(0.0, min(OFFLINE_SHARE * ledger.budget.amount, spare))


def progress_to(observer: RunObserver) -> Report:
    """Tells an observer how far a measurement is."""

    def say(what: str, done: int, rows: int) -> None:
        if rows:
            observer.progress(done, rows)
        elif what:
            observer.phase(f"measuring: {what}")

    return say
