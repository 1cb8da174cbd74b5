"""The online loop: ask, run trials in parallel, tell; then finalists at full length.

Results are told in the order of the proposals, not of their arrival, and cost is counted in FLOPs:
so the same seed proposes the same configurations however fast the machine is. For the same reason
a killed run continues by asking again from the start, with finished trials answered from disk.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from prefect.futures import PrefectFuture

from surrogates.core.base import Proposal, Recommendation
from surrogates.online.search import Search
from tasks.config.settings import TuneSettings
from tasks.execution.base import on_this_machine
from tasks.execution.devices import memory_share
from tasks.execution.trial import abort_run, is_fatal
from tasks.history.rows import records
from tasks.inputs.prepare import Inputs
from tasks.inputs.spaces import plain_values
from tasks.runs.folder import ProposalRecord, RunFolder, final_model
from tasks.runs.full_costs import CostScale
from tasks.runs.ledger import Ledger
from trials.checkpoints.registry import CheckpointRegistry
from trials.evaluation.compare import row_adjusted_se
from trials.io.errors import HyperparameterError, SettingsError
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import (
    Compute,
    FailureKind,
    Fidelity,
    Limits,
    Pace,
    TrialResult,
    TrialSpec,
    read_record,
)

Running = tuple[Proposal, TrialSpec, PrefectFuture[TrialResult]]
OnResult = Callable[[TrialSpec, TrialResult], None]
OnRemoved = Callable[[Sequence[Path]], None]
Submit = Callable[[TrialSpec], PrefectFuture[TrialResult]]
# Finished models that are kept whatever the disk limit says: the recommendation may be any of them.
MODELS_KEPT = 3
# A finalist still has to run what is left after an early stop: most of the schedule.
TYPICAL_REST = 0.7
# Share of its time without which the default configuration is not begun.
LEAST_OF_DEFAULT = 0.5
Phase = Literal["explore", "finish"]


@dataclass
class SearchLoop:
    """One run's search and everything its trials need.

    Attributes:
        submit: has a trial run, somewhere, and gives its result when that is there.
        on_removed: told which checkpoints were removed to keep within the disk limit.
        told: finished trials by proposal id.
        registry: checkpoints of all trials of the run.
        pace: that trials expect of themselves.
        compute: the settings', with each trial's share of the memory where all are on this machine.
        costs: of the trials that were told.
    """

    run: RunFolder
    settings: TuneSettings
    inputs: Inputs
    search: Search
    ledger: Ledger
    submit: Submit
    on_result: OnResult
    on_removed: OnRemoved = lambda paths: None
    pace: Pace = field(default_factory=Pace)
    told: dict[str, tuple[TrialSpec, TrialResult]] = field(default_factory=dict)
    registry: CheckpointRegistry = field(init=False)
    compute: Compute = field(init=False)
    costs: CostScale = field(default_factory=CostScale)
    _first_cost: float = math.nan
    _order: int = 0
    _recorded: dict[int, ProposalRecord] = field(init=False)

    def __post_init__(self) -> None:
        self._recorded = {record.order: record for record in self.run.proposals()}
        self._running: deque[Running] = deque()
        self.registry = CheckpointRegistry(self.run.path / "trials")
        self.compute = self.settings.compute
        if self.compute.memory_bytes is None and on_this_machine(self.settings.trials_on):
            share = memory_share(self.settings.parallel, self.settings.accelerate_config)
            self.compute = self.compute.model_copy(update={"memory_bytes": share})

    def explore(self, default_config: dict[str, Any]) -> None:
        """The default configuration at full length, then what the search asks for.

        Raises:
            SettingsError: a time budget has no time left for the default configuration.
        """
        self._check_time_for_default()
        first = self._default_proposal(default_config)
        self._run_all(lambda: self._next_explored(first), "explore")

    def finish(self) -> None:
        """Runs the most promising stopped trials to full length, until the budget is spent."""
        self._run_all(self._next_finalist, "finish")

    def _check_time_for_default(self) -> None:
        """Everything is compared with the default: without it a run comes to nothing.

        With a little less time than it needs it stops in time, and says as much as it can.
        """
        first = self._recorded.get(0)
        needed = self.ledger.seconds(1.0)
        done = first is not None and first.origin == "default" and self._finished(first)
        if done or self.ledger.left >= LEAST_OF_DEFAULT * needed:
            return
        longer = self.ledger.budget.amount + 3 * needed - self.ledger.left
        minutes = math.ceil(longer / 60)
        raise SettingsError(
            f"{max(0.0, self.ledger.left):.0f} s of the budget of {self.ledger.budget} are left "
            f"for trials, and one of the default configuration takes about {needed:.0f} s\n"
            f"  go on with a larger one: autopipe tune --resume {self.run.run_id} "
            f"--budget {minutes}m"
        )

    def _default_proposal(self, config: dict[str, Any]) -> Proposal:
        """Asks for the default by offering nothing else; the yardstick, so it runs in full."""
        [proposal] = self.search.ask(1, candidates=pd.DataFrame([config]), fraction=1.0)
        self._first_cost = proposal.expected_cost
        return proposal

    def _expected_cost(self, proposal: Proposal) -> float:
        """What is left to run of a proposal, in default trials at full length.

        Before the first cost is told the search knows that of past runs alone, in whatever unit
        the history has; then the default, which is proposed first, is the measure.
        """
        return proposal.expected_cost / (1.0 if self.told else self._first_cost)

    def _next_explored(self, first: Proposal) -> tuple[Proposal, str, float]:
        if self._order == 0:
            return first, "default", 1.0
        [proposal] = self.search.ask(1)
        return proposal, proposal.kind, proposal.fraction

    def _next_finalist(self) -> tuple[Proposal, str, float]:
        """A stopped trial to finish; with none worth it, a new configuration at full length."""
        proposal = self.search.finalist()
        if proposal is not None:
            return proposal, "finalist", 1.0
        [proposal] = self.search.ask(1, fraction=1.0)
        return proposal, proposal.kind, 1.0

    def _run_all(self, propose: Callable[[], tuple[Proposal, str, float]], phase: Phase) -> None:
        """Keeps ``parallel`` trials running while the budget allows one more."""
        running = self._running
        while True:
            while len(running) < self.settings.parallel and self._allows(phase, len(running)):
                running.append(self._submit(*propose(), phase))
            if not running:
                return
            proposal, spec, future = running.popleft()
            self._tell(proposal, spec, future.result())

    def _allows(self, phase: Phase, running: int) -> bool:
        """Whether another trial fits, or was made in this phase before the run was interrupted."""
        if self._order == 0:
            return phase == "explore"  # the default comes first, whatever phase was reached before
        finalist = phase == "finish"
        before = self._recorded.get(self._order)
        if before is not None:
            if before.phase == phase and self._finished(before):
                return True
            if phase == "explore" and before.phase == "finish":
                return False
        cost = self._typical_cost(finalist)
        return self.ledger.allows(cost, finalist, pending_full=running * cost)

    def _finished(self, record: ProposalRecord) -> bool:
        return (self.run.trial_folder(record.trial_id) / "result.json").exists()

    def _typical_cost(self, finalist: bool) -> float:
        """Cost of the next trial in full-trial equivalents, before it is known what it is."""
        if not self.told:
            return 1.0
        return TYPICAL_REST if finalist else self.search.rung()

    def _submit(self, proposal: Proposal, origin: str, fraction: float, phase: Phase) -> Running:
        spec = self._spec(proposal, fraction)
        parent = self.told[proposal.continues][0] if proposal.continues else None
        self.run.add_proposal(
            ProposalRecord(
                order=self._order,
                trial_id=spec.trial_id,
                proposal_id=proposal.id,
                phase=phase,
                origin=origin,
                continues=parent.trial_id if parent else None,
                fraction=fraction,
                config=spec.config,
                expected_score=_finite(proposal.expected_score),
                expected_score_sd=_finite(proposal.expected_score_sd),
                expected_cost=_finite(self._expected_cost(proposal)),
                prior_score=_finite(proposal.prior_score),
                failure_probability=_finite(proposal.failure_probability),
            )
        )
        self._order += 1
        self.ledger.start_trial()
        return proposal, spec, self.submit(spec)

    def _spec(self, proposal: Proposal, fraction: float) -> TrialSpec:
        spec = TrialSpec(
            trial_id="",
            dataset=str(self.inputs.dataset.path),
            dataset_fingerprint=self.inputs.dataset.fingerprint,
            config=plain_values(proposal.config),
            fidelity=Fidelity(model=self.inputs.model, fraction=fraction),
            seed=self.settings.seed,
            folder="",
            model_fingerprint=self.inputs.model_fingerprint,
            schedule=self.inputs.schedule,
            stopping=self.settings.stopping,
            limits=self._limits(),
            compute=self.compute,
            allow_user_code=self.settings.allow_user_code,
        )
        # The id says when it was proposed and what it is: should a resumed run ever propose
        # something else at this point, it gets a folder of its own and nothing is overwritten.
        trial_id = f"{self._order:03d}-{spec.identity()}"
        folder = self.run.trial_folder(trial_id)
        # A finished one began where it did; the checkpoint may have been removed since.
        finished = (folder / "result.json").exists() and (folder / "spec.json").exists()
        start = (
            read_record(folder / "spec.json", TrialSpec).continue_from
            if finished
            else self._start_of(spec)
        )
        placed = {"trial_id": trial_id, "folder": str(folder), "continue_from": start}
        return spec.model_copy(update=placed)

    def _limits(self) -> Limits:
        """Of a trial that starts now."""
        limits = self.settings.limits.model_copy(update={"pace": self.pace})
        wall = self.ledger.trial_limit()
        if wall is None:
            return limits
        # A time budget ends sooner than the limits that are made for long runs.
        return limits.model_copy(
            update={
                "wall_seconds": wall,
                "silent_seconds": min(limits.silent_seconds, max(60.0, wall)),
                "reward_seconds": min(limits.reward_seconds, max(10.0, wall / 10)),
            }
        )

    def _start_of(self, spec: TrialSpec) -> str | None:
        """The furthest checkpoint of the same configuration, or of one with the same first stages.

        Only trials that were told are looked at, and not those that happen to have finished: what
        a trial costs must not depend on how fast the machine is.
        """
        try:
            hyperparameters, plan = self._plan_of(spec)
        except HyperparameterError:
            return None  # the trial will say so
        checkpoint = self.registry.furthest(
            spec,
            hyperparameters,
            plan,
            among={told.trial_id for told, _ in self.told.values()},
        )
        return str(checkpoint.path) if checkpoint else None

    def _plan_of(self, spec: TrialSpec) -> tuple[Hyperparameters, StagePlan]:
        rows, pairs = len(self.inputs.dataset.splits["train"]), len(self.inputs.dataset.preferences)
        hyperparameters = validate(spec.config)
        return hyperparameters, plan_steps(hyperparameters, spec.schedule, rows, pairs)

    def _begun_at(self, spec: TrialSpec) -> float:
        """Share of the schedule that other trials had run for this one."""
        if (step := spec.inherited_step) == 0:
            return 0.0
        return min(1.0, step / self._plan_of(spec)[1].total)

    def _tell(self, proposal: Proposal, spec: TrialSpec, result: TrialResult) -> None:
        cost = self.costs.of(spec, result)
        if result.failure and is_fatal(result):
            abort_run(spec, result, self._next_command(result.failure.kind))
        error = self._error(spec, result)
        self.told[proposal.id] = (spec, result)
        # A trial that a rule ended is over: its score stands for its final one. One that ran out
        # of wall-clock time is just short.
        over = result.state == "stopped" and not result.out_of_time
        self.search.tell(
            proposal.id,
            score=result.score,
            score_se=error,
            cost=cost,
            fraction=1.0 if over or result.state == "failed" else result.fraction,
            signals=result.signals,
            state=result.state,
            start=self._begun_at(spec),
        )
        self.ledger.settle(result, cost)
        self.run.write_observations(self.observations())
        self._prune()
        self.on_result(spec, result)

    def _error(self, spec: TrialSpec, result: TrialResult) -> float:
        """What of the score's standard error sets it apart from other configurations' scores."""
        if not result.outcomes:
            return result.score_se or 0.0
        others = [r.outcomes for s, r in self.told.values() if s.config != spec.config]
        return row_adjusted_se(result.outcomes, others)

    def _next_command(self, kind: FailureKind) -> str:
        if kind == "bad_data":  # mended data are other data
            return "start a new run"
        return f"go on with: autopipe tune --resume {self.run.run_id}"

    def _prune(self) -> None:
        """Keeps the checkpoints within the disk limit, but never those that are still needed."""
        running = [spec for _, spec, _ in self._running]
        needed = [Path(each) for s in running for each in (s.folder, s.continue_from) if each]
        finished = [spec for spec, _ in self.told.values() if final_model(spec).exists()]
        ranked = sorted(finished, key=self._expected())
        kept = [final_model(spec) for spec in [*ranked[-MODELS_KEPT:], *finished[:1]]]
        removed = self.registry.prune(
            round(self.settings.disk_gigabytes * 1e9),
            needed=[*needed, *kept],
            finals=[final_model(spec) for spec in ranked],
        )
        if removed:
            self.on_removed(removed)

    def _expected(self) -> Callable[[TrialSpec], tuple[float, float]]:
        """What the search would rather recommend, as a sort key: the score alone may be luck."""
        expected, least = {each.id: each.score for each in self.search.ranking()}, -math.inf
        of_trial = {
            spec.trial_id: (expected.get(id, least), least if r.score is None else r.score)
            for id, (spec, r) in self.told.items()
        }
        return lambda spec: of_trial[spec.trial_id]

    def recommendation(self) -> tuple[Recommendation, tuple[TrialSpec, TrialResult]] | None:
        """The best configuration whose model is there, and the trial that made it.

        None where no trial left a model. One that the search would rather recommend may have lost
        its model to the disk limit.
        """
        for wanted in self.search.ranking():
            if trial := self.full_length(wanted.config):
                return wanted, trial
        return None

    def observations(self) -> list[dict[str, Any]]:
        """What the search makes of every trial now, with the trial's id."""
        rows = records(self.search.observations())
        return [
            {
                key: _finite(value) if isinstance(value, float) else value
                for key, value in row.items()
            }
            | {"trial_id": self.told[row["id"]][0].trial_id if row["id"] in self.told else None}
            for row in rows
        ]

    def full_length(self, config: dict[str, Any]) -> tuple[TrialSpec, TrialResult] | None:
        """The trial of a configuration that ran to its end (or was ended by a rule)."""
        wanted = plain_values(config)
        found = [
            (spec, result)
            for spec, result in reversed(list(self.told.values()))
            if spec.config == wanted and final_model(spec).exists()
        ]
        # One that ran out of time also left its model; it counts only where there is no other.
        return min(found, key=lambda trial: trial[1].out_of_time, default=None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
