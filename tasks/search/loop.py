"""The search of a run: ask for a configuration, run its trial, tell the score; finalists last.

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
from typing import Any, NamedTuple

import pandas as pd
from prefect.futures import PrefectFuture

from surrogates.core.base import Proposal, Recommendation
from surrogates.online.search import Search
from tasks.config.settings import TuneSettings
from tasks.execution.base import is_fatal, on_this_machine
from tasks.execution.devices import memory_share
from tasks.execution.trial import abort_run
from tasks.history.rows import records
from tasks.inputs.prepare import Inputs
from tasks.inputs.spaces import plain_values
from tasks.runs.folder import LevelRecord, Origin, Phase, ProposalRecord, RunFolder, final_model
from tasks.runs.ledger import CostScale, Ledger
from tasks.search.allowance import Allowance
from tasks.search.levels import level_records
from tasks.search.stages import inherited_share, plan_of, trial_limits
from trials.checkpoints.registry import CheckpointRegistry
from trials.evaluation.compare import row_adjusted_se
from trials.io.errors import HyperparameterError, SettingsError
from trials.spec.kinds import FailureKind, TrialState
from trials.spec.records import Compute, Fidelity, Pace, TrialResult, TrialSpec, read_record

Finished = tuple[TrialSpec, TrialResult]
OnResult = Callable[[TrialSpec, TrialResult], None]
OnRemoved = Callable[[Sequence[Path]], None]
Submit = Callable[[TrialSpec], PrefectFuture[TrialResult]]
# Finished models that are kept whatever the disk limit says: the recommendation may be any of them.
MODELS_KEPT = 3
# Share of its time without which the default configuration is not begun.
LEAST_OF_DEFAULT = 0.5


class Candidate(NamedTuple):
    """A proposal, why it was made, and the fraction of the schedule that it is run for."""

    proposal: Proposal
    origin: Origin
    fraction: float


class RunningTrial(NamedTuple):
    """A trial that was submitted, and its result to come."""

    proposal: Proposal
    spec: TrialSpec
    future: PrefectFuture[TrialResult]


@dataclass
class SearchLoop:
    """One run's search and everything its trials need.

    Attributes:
        on_result: called with each result, in the order of the proposals.
        on_removed: called with the checkpoints that were removed to keep within the disk limit.
        pace: that trials expect of themselves.
        finished: trials whose results the search was told, by proposal id.
        compute: the settings', with each trial's share of the memory if all are on this machine.
        proxies: smaller models that some trials are run on.
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
    finished: dict[str, Finished] = field(default_factory=dict)
    proxies: Sequence[Inputs] = ()
    registry: CheckpointRegistry = field(init=False)
    compute: Compute = field(init=False)
    costs: CostScale = field(init=False)
    allowance: Allowance = field(init=False)
    _first_cost: float = math.nan
    _order: int = 0
    _levels: list[LevelRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.allowance = Allowance(self.run, self.search, self.ledger)
        self._running: deque[RunningTrial] = deque()
        self.costs = CostScale(
            {each.model: self.search.levels.cost(each.model_id) for each in self.proxies}
        )
        self.registry = CheckpointRegistry(self.run.path / "trials")
        self.compute = self.settings.compute
        if self.compute.memory_bytes is None and on_this_machine(self.settings.trials_on):
            share = memory_share(self.settings.parallel, self.settings.accelerate_config)
            self.compute = self.compute.model_copy(update={"memory_bytes": share})

    # The story of a run

    def explore(self, default_config: dict[str, Any]) -> None:
        """Runs the default configuration at full length, then what the search proposes.

        Raises:
            SettingsError: a time budget has no time left for the default configuration.
        """
        self._check_time_for_default()
        default = self._propose_default(default_config)
        self._run_trials(lambda: self._propose() if self._order else default, "explore")

    def finish(self) -> None:
        """Runs the most promising stopped trials to full length, until the budget is spent."""
        self._run_trials(self._propose_finalist, "finish")

    def _run_trials(self, propose: Callable[[], Candidate], phase: Phase) -> None:
        """Keeps ``parallel`` trials running while the budget allows one more."""
        while True:
            while len(self._running) < self.settings.parallel and self._allows_another(phase):
                self._running.append(self._start(propose(), phase))
            if not self._running:
                return
            proposal, spec, future = self._running.popleft()
            self._tell(proposal, spec, future.result())

    def _start(self, candidate: Candidate, phase: Phase) -> RunningTrial:
        """Records a proposal and submits its trial."""
        proposal, origin, fraction = candidate
        inputs = self._inputs_of(proposal)
        spec = self._spec(proposal, fraction)
        parent = self.finished[proposal.continues][0] if proposal.continues else None
        self.run.add_proposal(
            ProposalRecord(
                order=self._order,
                trial_id=spec.trial_id,
                proposal_id=proposal.id,
                phase=phase,
                origin=origin,
                told=len(self.finished),
                only=self.allowance.only,
                search_budget=self.search.budget,
                model=None if inputs is self.inputs else inputs.model_id,
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
        return RunningTrial(proposal, spec, self.submit(spec))

    def _tell(self, proposal: Proposal, spec: TrialSpec, result: TrialResult) -> None:
        """Tells the search a result, charges it to the budget, and frees disk space."""
        cost = self.costs.of(spec, result)
        if result.failure and is_fatal(result):
            abort_run(spec, result, self._next_command(result.failure.kind))
        error = self._error(spec, result)
        self.finished[proposal.id] = (spec, result)
        # A trial that a rule stopped is over: its score stands for its final one. One that ran out
        # of wall-clock time is just short.
        over = result.state == TrialState.STOPPED and not result.out_of_time
        self.search.tell(
            proposal.id,
            score=result.score,
            score_se=error,
            cost=cost,
            fraction=1.0 if over or result.state == TrialState.FAILED else result.fraction,
            signals=result.signals,
            state=result.state.value,
            start=inherited_share(spec, self.inputs),
        )
        of_target = self._is_of_target(spec)
        self.ledger.settle(result, cost, of_target=of_target)
        self.allowance.settle(result, of_target)
        self._levels = level_records(self.search, self._levels)
        self.run.write_observations(self.observations(), self._levels)
        self._prune()
        self.on_result(spec, result)

    # Proposals

    def _propose_default(self, config: dict[str, Any]) -> Candidate:
        """Asks for the default by offering nothing else; the yardstick, so it runs in full."""
        [proposal] = self.search.ask(1, candidates=pd.DataFrame([config]), fraction=1.0)
        self._first_cost = proposal.expected_cost
        return Candidate(proposal, "default", 1.0)

    def _propose(self) -> Candidate:
        [proposal] = self.search.ask(1, only=self.allowance.only)
        return Candidate(proposal, proposal.kind, proposal.fraction)

    def _propose_finalist(self) -> Candidate:
        """A stopped trial to finish; with none worth it, a new configuration at full length."""
        if (proposal := self.search.finalist()) is not None:
            return Candidate(proposal, "finalist", 1.0)
        [proposal] = self.search.ask(1, fraction=1.0, only="target")
        return Candidate(proposal, proposal.kind, 1.0)

    def _expected_cost(self, proposal: Proposal) -> float:
        """Cost of the rest of a proposal, in full-trial equivalents.

        Before the search is told the first cost it only knows that of past runs, in whatever unit
        the history has; then the default, which is proposed first, is the reference.
        """
        return proposal.expected_cost / (1.0 if self.finished else self._first_cost)

    # The budget

    def _check_time_for_default(self) -> None:
        """Everything is compared with the default: without it a run comes to nothing.

        With a little less time than it needs it stops in time, and says as much as it can.
        """
        first = self.allowance.recorded.get(0)
        needed = self.ledger.seconds(1.0)
        done = first is not None and first.origin == "default" and self.allowance.ran(first)
        if done or self.ledger.left >= LEAST_OF_DEFAULT * needed:
            return
        longer = self.ledger.budget.amount + 3 * needed - self.ledger.left
        minutes = math.ceil(longer / 60)
        raise SettingsError(
            f"{max(0.0, self.ledger.left):.0f} s of the budget of {self.ledger.budget} are left "
            f"for trials, and one of the default configuration takes about {needed:.0f} s\n"
            f"  resume with a larger one: autopipe tune --resume {self.run.run_id} "
            f"--budget {minutes}m"
        )

    def _allows_another(self, phase: Phase) -> bool:
        """True if another trial fits, or was run in this phase before the run was interrupted."""
        return self.allowance.allows(
            phase, self._order, [self._expected_cost(t.proposal) for t in self._running]
        )

    # Specs

    def _inputs_of(self, proposal: Proposal) -> Inputs:
        """The inputs with the model that a proposal is to be run on."""
        return next((each for each in self.proxies if each.model_id == proposal.level), self.inputs)

    def _is_of_target(self, spec: TrialSpec) -> bool:
        return spec.fidelity.model == self.inputs.model

    def _spec(self, proposal: Proposal, fraction: float) -> TrialSpec:
        inputs = self._inputs_of(proposal)
        spec = TrialSpec(
            trial_id="",
            dataset=str(self.inputs.dataset.path),
            dataset_fingerprint=self.inputs.dataset.fingerprint,
            config=plain_values(proposal.config),
            fidelity=Fidelity(model=inputs.model, fraction=fraction),
            seed=self.settings.seed,
            folder="",
            model_fingerprint=inputs.model_fingerprint,
            schedule=self.inputs.schedule,
            stopping=self.settings.stopping,
            limits=trial_limits(self.settings, self.ledger, self.pace),
            compute=self.compute,
            allow_user_code=self.settings.allow_user_code,
        )
        # The id says when it was proposed and what it is: should a resumed run ever propose
        # something else at this point, it gets a folder of its own and nothing is overwritten.
        trial_id = f"{self._order:03d}-{spec.identity()}"
        folder = self.run.trial_folder(trial_id)
        if (folder / "result.json").exists() and (folder / "spec.json").exists():
            # A finished trial began where it did; the checkpoint may have been removed since.
            start = read_record(folder / "spec.json", TrialSpec).continue_from
        else:
            start = self._starting_checkpoint(spec)
        placed = {"trial_id": trial_id, "folder": str(folder), "continue_from": start}
        return spec.model_copy(update=placed)

    def _starting_checkpoint(self, spec: TrialSpec) -> str | None:
        """The furthest checkpoint of the same configuration, or of one with the same first stages.

        Only trials that the search was told are looked at, not all that happen to have finished:
        what a trial costs must not depend on how fast the machine is.
        """
        try:
            hyperparameters, plan = plan_of(spec, self.inputs)
        except HyperparameterError:
            return None  # the trial will say so
        among = {finished.trial_id for finished, _ in self.finished.values()}
        checkpoint = self.registry.furthest(spec, hyperparameters, plan, among=among)
        return str(checkpoint.path) if checkpoint else None

    # Results

    def _error(self, spec: TrialSpec, result: TrialResult) -> float:
        """The score's standard error without what all configurations have in common."""
        if not result.outcomes:
            return result.score_se or 0.0
        others = [
            r.outcomes
            for s, r in self.finished.values()
            if s.config != spec.config and s.fidelity.model == spec.fidelity.model
        ]
        return row_adjusted_se(result.outcomes, others)

    def _next_command(self, kind: FailureKind) -> str:
        if kind == FailureKind.BAD_DATA:  # corrected data are other data
            return "start a new run"
        return f"resume with: autopipe tune --resume {self.run.run_id}"

    def _prune(self) -> None:
        """Keeps the checkpoints within the disk limit, but never removes those still needed."""
        running = [spec for _, spec, _ in self._running]
        needed = [Path(each) for s in running for each in (s.folder, s.continue_from) if each]
        finals = [
            spec
            for spec, _ in sorted(self.finished.values(), key=lambda f: self._is_of_target(f[0]))
            if final_model(spec).exists()
        ]
        target = [spec for spec in finals if self._is_of_target(spec)]
        ranked = sorted(finals, key=self._expected())
        kept = [final_model(spec) for spec in [*ranked[-MODELS_KEPT:], *target[:1]]]
        removed = self.registry.prune(
            round(self.settings.disk_gigabytes * 1e9),
            needed=[*needed, *kept],
            finals=[final_model(spec) for spec in ranked],
        )
        if removed:
            self.on_removed(removed)

    def _expected(self) -> Callable[[TrialSpec], tuple[float, float]]:
        """Sort key for what the search would rather recommend: the score alone may be luck."""
        expected = {each.id: each.score for each in self.search.ranking()}
        by_trial = {
            spec.trial_id: (
                expected.get(id, -math.inf),
                -math.inf if result.score is None else result.score,
            )
            for id, (spec, result) in self.finished.items()
        }
        return lambda spec: by_trial[spec.trial_id]

    def recommendation(self) -> tuple[Recommendation, Finished] | None:
        """The best configuration whose model is still there, and the trial that made it.

        None if no trial left a model. One that the search would rather recommend may have lost
        its model to the disk limit.
        """
        for wanted in self.search.ranking():
            if trial := self.full_length(wanted.config):
                return wanted, trial
        return None

    def observations(self) -> list[dict[str, Any]]:
        """The search's present view of every trial, with the trial's id."""
        rows = []
        for row in records(self.search.observations()):
            plain = {k: _finite(v) if isinstance(v, float) else v for k, v in row.items()}
            told = self.finished.get(row["id"])
            rows.append({**plain, "trial_id": told[0].trial_id if told else None})
        return rows

    def full_length(self, config: dict[str, Any]) -> Finished | None:
        """The trial of a configuration that ran to its end (or was stopped by a rule)."""
        wanted = plain_values(config)
        found = [
            (spec, result)
            for spec, result in reversed(list(self.finished.values()))
            if spec.config == wanted and self._is_of_target(spec) and final_model(spec).exists()
        ]
        # One that ran out of time also left its model; it counts only if there is no other.
        return min(found, key=lambda trial: trial[1].out_of_time, default=None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
