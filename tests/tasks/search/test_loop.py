"""The loop's bookkeeping: what a resumed run may do again, and what it may not."""

from __future__ import annotations

import shutil
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace

from surrogates.online.search import Search
from tasks.config.settings import Budget, TuneSettings
from tasks.history.checks import check_history
from tasks.history.rows import history_row
from tasks.inputs.spaces import load_space, plain_values
from tasks.runs.folder import ProposalRecord, RunFolder, final_model
from tasks.runs.ledger import Ledger
from tasks.search.conclude import recommend
from tasks.search.loop import MODELS_KEPT, SearchLoop
from tasks.search.stages import stages_of, trial_limits
from tests.trials.checkpoint_helpers import fill, manifest
from trials.checkpoints.entries import entry_path, partial_path, publish, stage_keys
from trials.data.dataset import Dataset, DatasetCard, Row
from trials.io.errors import AutoPipeError, SettingsError
from trials.spec.hyperparameters import validate
from trials.spec.plan import plan_steps
from trials.spec.records import (
    Failure,
    Fidelity,
    Schedule,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)


def nothing_to_submit(spec: TrialSpec) -> None:
    raise AssertionError(f"no trial is to run here: {spec.trial_id}")


def loop_after(tmp_path, recorded, elapsed):
    """A loop on a run folder with recorded proposals: (phase, whether its trial finished)."""
    run = RunFolder(tmp_path)
    for order, (phase, finished) in enumerate(recorded):
        record = ProposalRecord(
            order=order,
            trial_id=f"{order:03d}-x",
            proposal_id=f"{order + 1:04d}",
            phase=phase,
            origin="new",
            fraction=1.0,
            config={},
        )
        run.trial_folder(record.trial_id).mkdir(parents=True)
        run.add_proposal(record)
        if finished:
            (run.trial_folder(record.trial_id) / "result.json").touch()
    clock = iter([0.0])
    ledger = Ledger(
        tmp_path / "ledger.json",
        Budget(amount=1000, unit="seconds"),
        clock=lambda: next(clock, elapsed),
    )
    settings = TuneSettings(dataset="d", model="m", budget=Budget(amount=1000, unit="seconds"))
    search = SimpleNamespace(budget=None, cheapest_proxy=lambda: None, rung=lambda: 1.0)
    return SearchLoop(run, settings, None, search, ledger, nothing_to_submit, lambda *_: None)


@pytest.mark.parametrize("elapsed", [0.0, 900.0, 5000.0])
def test_finished_trials_are_replayed_however_late_it_is(tmp_path, elapsed):
    loop = loop_after(tmp_path, [("explore", True), ("explore", True), ("finish", True)], elapsed)
    assert loop._allows_another("explore")
    loop._order = 1
    assert loop._allows_another("explore")
    # The third belongs to the other phase, whatever the budget would still allow.
    loop._order = 2
    assert not loop._allows_another("explore")
    assert loop._allows_another("finish")


def test_an_unfinished_trial_is_run_again_only_while_the_budget_lasts(tmp_path):
    early = loop_after(tmp_path / "early", [("explore", True), ("explore", False)], 10.0)
    late = loop_after(tmp_path / "late", [("explore", True), ("explore", False)], 999.0)
    early._order = late._order = 1
    assert early._allows_another("explore")
    assert not late._allows_another("explore")


@pytest.mark.parametrize("elapsed", [0.0, 760.0])
def test_the_default_comes_first_however_late_a_run_is_resumed(tmp_path, elapsed):
    """Resumed after three quarters of its time, a run went to the finalists without it."""
    loop = loop_after(tmp_path, [], elapsed)
    loop.ledger.trial_seconds = 200.0
    loop._check_time_for_default()
    assert loop._allows_another("explore")
    assert not loop._allows_another("finish")


def test_without_time_for_the_default_a_run_says_what_budget_it_needs(tmp_path):
    loop = loop_after(tmp_path, [], 905.0)
    loop.ledger.trial_seconds = 200.0
    with pytest.raises(SettingsError, match=rf"--resume {tmp_path.name} --budget 26m"):
        loop._check_time_for_default()
    # One that has it already is only brought to its end.
    done = loop_after(tmp_path / "done", [("explore", True)], 950.0)
    done.allowance.recorded[0] = done.allowance.recorded[0].model_copy(update={"origin": "default"})
    done.ledger.trial_seconds = 200.0
    done._check_time_for_default()


def test_the_limits_of_a_trial_follow_from_the_time_that_is_left(tmp_path):
    loop = loop_after(tmp_path, [], 900.0)
    limits = trial_limits(loop.settings, loop.ledger, loop.pace)
    assert (limits.wall_seconds, limits.reward_seconds, limits.silent_seconds) == (100, 10, 100)


# Checkpoints and failures that concern the whole run


def loop_with_data(tmp_path: Path, **settings: object) -> SearchLoop:
    """A loop that knows a dataset of 100 rows, and nothing of a search."""
    row = Row([{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}], "a", {})
    data = Dataset(tmp_path, DatasetCard(reward="exact_match"), "f", {"train": [row] * 100}, False)
    inputs = SimpleNamespace(dataset=data, model="m", model_fingerprint=None, schedule=Schedule())
    return SearchLoop(
        RunFolder(tmp_path),
        TuneSettings(dataset="d", model="m", **settings),
        inputs,
        SimpleNamespace(budget=None),
        Ledger(tmp_path / "ledger.json", Budget(amount=9, unit="trials")),
        nothing_to_submit,
        lambda *_: None,
    )


def trial(loop: SearchLoop, name: str, fraction: float = 1.0, **config: object) -> TrialSpec:
    return TrialSpec(
        trial_id=name,
        dataset="d",
        dataset_fingerprint="f",
        config=config,
        fidelity=Fidelity(model="m", fraction=fraction),
        folder=str(loop.run.trial_folder(name)),
    )


def leave_checkpoint(spec: TrialSpec, step: int, stage: str, kind: str, size: int = 10) -> Path:
    """A real checkpoint as the trial would have published it."""
    h = validate(spec.config)
    target = entry_path(Path(spec.folder), step)
    key = stage_keys(spec, h, plan_steps(h, spec.schedule, 100, 0))[stage]
    described = manifest(spec.trial_id, step, stage, kind).model_copy(update={"key": key})
    publish(fill(partial_path(target), kind, size), Path(spec.folder), described)
    return target


def leave_model(spec: TrialSpec, size: int = 10) -> Path:
    final = Path(spec.folder) / "checkpoint" / "final"
    final.mkdir(parents=True)
    (final / "model.safetensors").write_bytes(b"0" * size)
    return final


def tell(loop: SearchLoop, spec: TrialSpec, score: float) -> None:
    result = TrialResult(trial_id=spec.trial_id, state="completed", fraction=1.0, score=score)
    loop.finished[spec.trial_id] = (spec, result)


def test_a_trial_starts_from_what_told_trials_left(tmp_path):
    loop = loop_with_data(tmp_path)
    same, other = trial(loop, "same", 0.7), trial(loop, "other", rl_beta=0.5)
    furthest = leave_checkpoint(same, 70, "rl", "trainer")
    sft = leave_checkpoint(other, 60, "sft", "weights")
    asked = trial(loop, "asked")
    # Finished or not on this machine at this moment: only what was told may count.
    assert loop._starting_checkpoint(asked) is None
    tell(loop, other, 0.5)
    assert loop._starting_checkpoint(asked) == str(sft)
    tell(loop, same, 0.5)
    assert loop._starting_checkpoint(asked) == str(furthest)
    assert loop._starting_checkpoint(trial(loop, "asked", 0.65)) == str(sft)
    assert loop._starting_checkpoint(trial(loop, "asked", 0.5)) is None
    assert loop._starting_checkpoint(trial(loop, "asked", sft_learning_rate=0.5)) is None


def test_a_configuration_that_a_trial_would_refuse_starts_from_nothing(tmp_path):
    loop = loop_with_data(tmp_path)
    assert loop._starting_checkpoint(trial(loop, "bad", rl_batch_size=9)) is None


def test_the_disk_limit_spares_the_best_the_default_and_what_runs(tmp_path):
    loop = loop_with_data(tmp_path, disk_gigabytes=1e-6)
    loop.search = Search(load_space("sft"))  # that was told nothing: what was scored counts
    scores = {"default": 0.1, "b": 0.9, "c": 0.8, "d": 0.7, "e": 0.2, "zero": 0.0}
    models = {}
    for name, score in scores.items():
        spec = trial(loop, name)
        models[name] = leave_model(spec, size=300)
        tell(loop, spec, score)
    parent = leave_checkpoint(trial(loop, "parent", 0.7), 70, "rl", "trainer", 2000)
    useless = leave_checkpoint(trial(loop, "useless", 0.7), 70, "rl", "trainer", 2000)
    running = trial(loop, "running").model_copy(update={"continue_from": str(parent)})
    loop._running.append((None, running, None))
    told = []
    loop.on_removed = told.extend
    loop._prune()
    assert parent.is_dir()
    assert not useless.exists()
    assert set(told) == {useless, models["e"], models["zero"]}
    assert {name for name, model in models.items() if model.exists()} == {"default", "b", "c", "d"}


def shared_trial(loop: SearchLoop) -> tuple[SimpleNamespace, TrialSpec]:
    """A trial that differs from a told one in RL alone, and ends where its SFT does."""
    loop.ledger.budget = Budget(amount=9, unit="trials")
    first = trial(loop, "000-first", 0.6)
    leave_checkpoint(first, 60, "sft", "weights")
    tell(loop, first, 0.5)
    loop._order = 1
    config = {"rl_learning_rate": 1e-3}
    proposal = SimpleNamespace(id="0002", config=config, continues=None)
    return proposal, loop._spec(proposal, 0.6)


def test_a_trial_that_shares_its_whole_beginning_costs_nothing_and_is_told_so(tmp_path):
    loop = loop_with_data(tmp_path)
    loop.search = Search(load_space("sft_grpo"), stages=stages_of(Schedule(), 100, 0))
    _, spec = shared_trial(loop)
    assert spec.inherits_from == "000-first"
    assert spec.inherited_step == 60
    [asked] = loop.search.ask(1, fraction=0.6)
    loop.costs.reference_flops = 1e12
    loop.ledger.start_trial()
    result = TrialResult(trial_id=spec.trial_id, state="completed", fraction=0.6, score=0.5)
    loop._tell(asked, spec, result)
    assert loop.ledger.started == 0
    observation = loop.search.trial_log.observations[asked.id]
    assert (observation.cost, observation.start) == (0.0, 0.6)


def test_its_row_of_the_history_is_good_and_says_where_it_began(tmp_path):
    _, spec = shared_trial(loop_with_data(tmp_path))
    result = TrialResult(
        trial_id=spec.trial_id, state="completed", fraction=0.6, score=0.5, score_se=0.1
    )
    ids = {"run_id": "r", "dataset_id": "d", "model_id": "m", "meta": {}}
    row = history_row(spec, result, **ids)
    good, bad = check_history(pd.DataFrame([row]))
    assert bad.empty, bad["reason"].tolist()
    assert good["cost_flops"].tolist() == [0.0]
    assert good["began_from"].tolist() == ["r/d/000-first"]
    assert good["began_step"].tolist() == [60]
    alone = history_row(spec.model_copy(update={"continue_from": None}), result, **ids)
    assert check_history(pd.DataFrame([alone]))[1]["reason"].str.contains("not above 0").all()


def test_a_finished_trial_began_where_it_did_whatever_is_left_of_that(tmp_path):
    """Else a run that goes on would tell its search another cost, and propose other trials."""
    loop = loop_with_data(tmp_path)
    proposal, spec = shared_trial(loop)
    write_json(Path(spec.folder) / "spec.json", spec)
    (Path(spec.folder) / "result.json").touch()
    shutil.rmtree(spec.continue_from)
    assert loop._spec(proposal, 0.6) == spec
    (Path(spec.folder) / "result.json").unlink()
    assert loop._spec(proposal, 0.6).continue_from is None


def lucky_ones_and_a_good_one(loop: SearchLoop) -> dict[str, TrialSpec]:
    """Full-length trials whose highest scores are the least certain: the search knows better."""
    loop.search = Search(load_space("sft"), strategy="gp", seed=0)
    told = [(1e-3, 0.50, 0.01), (1.1e-3, 0.58, 0.005), (1.2e-3, 0.579, 0.005), (3e-4, 0.3, 0.01)]
    told += [(rate, 0.6, 0.4) for rate in (1e-4, 2e-4, 5e-3, 6e-3)]
    specs = {}
    for number, (rate, score, se) in enumerate(told):
        config = dict(load_space("sft").get_default_configuration()) | {"sft_learning_rate": rate}
        table = pd.DataFrame([plain_values(config)])
        [proposal] = loop.search.ask(1, candidates=table, fraction=1.0)
        loop.search.tell(proposal.id, score, score_se=se)
        spec = trial(loop, f"{number:03d}", **plain_values(config))
        leave_model(spec, size=300)
        result = TrialResult(trial_id=spec.trial_id, state="completed", fraction=1.0, score=score)
        loop.finished[proposal.id] = (spec, result)
        specs[proposal.id] = spec
    return specs


# review fault 6
def test_the_disk_limit_spares_what_will_be_recommended(tmp_path):
    """Not the luckiest scores: a recommendation without its model would end the run in nothing."""
    loop = loop_with_data(tmp_path, disk_gigabytes=1e-6)
    specs = lucky_ones_and_a_good_one(loop)
    best = loop.search.best()
    assert best.score < 0.6
    loop._prune()
    assert final_model(specs[best.id]).is_dir()
    assert sum(final_model(spec).is_dir() for spec in specs.values()) <= MODELS_KEPT + 1
    found, (spec, _) = loop.recommendation()
    assert (found.id, spec) == (best.id, specs[best.id])


# review fault 6
def test_where_the_best_lost_its_model_the_next_one_is_recommended(tmp_path, caplog):
    loop = loop_with_data(tmp_path)
    specs = lucky_ones_and_a_good_one(loop)
    first, second, *_ = loop.search.ranking()
    shutil.rmtree(final_model(specs[first.id]))
    found, (spec, _) = recommend(loop)
    assert (found.id, spec) == (second.id, specs[second.id])
    assert "--disk" in caplog.text
    for each in specs.values():
        shutil.rmtree(final_model(each), ignore_errors=True)
    with pytest.raises(AutoPipeError, match="nothing to recommend"):
        recommend(loop)


@pytest.mark.parametrize("kind", ["bad_data", "reward_failed", "disk_full"])
def test_what_would_fail_every_trial_ends_the_run(tmp_path, kind):
    """And the trial is run again when the run is resumed, once the cause is mended."""
    loop = loop_with_data(tmp_path)
    spec = trial(loop, "one")
    result = TrialResult(
        trial_id="one",
        state="failed",
        fraction=0.0,
        failure=Failure(kind=kind, message="the reason"),
    )
    write_json(Path(spec.folder) / "result.json", result)
    mend = "start a new run" if kind == "bad_data" else "autopipe tune --resume"
    with pytest.raises(AutoPipeError, match=rf"(?s)the reason.*log.txt.*{mend}"):
        loop._tell(SimpleNamespace(id="1"), spec, result)
    assert not (Path(spec.folder) / "result.json").exists()
    assert read_record(Path(spec.folder) / "result.given-up.json", TrialResult) == result
    assert not loop.finished


@pytest.mark.parametrize(("place", "shared"), [("here", True), ("dask", True), ("workers", False)])
def test_memory_is_shared_out_where_trials_are_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, shared: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = TuneSettings(dataset="d", model="m", trials_on=place)
    ledger = Ledger(tmp_path / "ledger.json", settings.budget)
    run = RunFolder(tmp_path)
    search = SimpleNamespace(budget=None)
    loop = SearchLoop(run, settings, None, search, ledger, nothing_to_submit, lambda *_: None)
    assert (loop.compute.memory_bytes is not None) == shared


# What the search believed, as people read it


def test_the_default_is_expected_to_cost_one_whatever_the_history_counts_in(tmp_path: Path) -> None:
    """Before a cost was told the search knows the history's unit alone, seconds for one."""
    space = ConfigurationSpace({"sft_share": (0.1, 0.9), "sft_learning_rate": (1e-4, 1e-1)}, seed=0)
    rng = np.random.default_rng(0)
    rows = [
        {"dataset_id": name} | {f"config.{key}": value for key, value in dict(config).items()}
        for name in "abc"
        for config in space.sample_configuration(15)
    ]
    past = pd.DataFrame(rows)
    past["meta.rows"] = 100.0
    past["score"] = rng.uniform(size=len(past))
    past["cost_seconds"] = 40.0 * past["config.sft_share"]  # so that the default costs 20 s
    loop = loop_with_data(tmp_path)
    loop.search = Search(space, history=past, dataset={"rows": 100.0}, seed=0)
    loop.submit = lambda spec: Future()
    default = dict(space.get_default_configuration())
    first = loop._propose_default(default)
    assert first.proposal.expected_cost > 10  # the history's seconds
    loop._start(first, "explore")
    [longer] = loop.search.ask(1, candidates=pd.DataFrame([{**default, "sft_share": 0.85}]))
    loop._start((longer, "new", 1.0), "explore")
    costs = [record.expected_cost for record in loop.run.proposals()]
    assert costs[0] == pytest.approx(1.0)
    assert costs[1] == pytest.approx(longer.expected_cost / first.proposal.expected_cost)
    assert 0 < costs[1] < 3
