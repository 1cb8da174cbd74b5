"""A run with a proxy: which model each trial gets, what is recommended, and resuming it."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ConfigSpace as cs
import pandas as pd
import pytest

from surrogates.online.search import Search
from tasks.config.settings import Budget, TuneSettings
from tasks.history.outliers import changed_fingerprints
from tasks.inputs.spaces import plain_values
from tasks.monitoring.observers import (
    Message,
    RunEvent,
    RunObserver,
    RunStarted,
    TrialFinished,
)
from tasks.monitoring.proxies import LeftProxies
from tasks.runs.folder import ProxyInfo, RunFolder, final_model
from tasks.runs.ledger import Ledger
from tasks.search.allowance import TYPICAL_REST
from tasks.search.levels import level_records
from tasks.search.loop import SearchLoop
from tests.tasks.conftest import write_run
from trials.data.dataset import Dataset, DatasetCard, Row
from trials.spec.kinds import TrialState
from trials.spec.records import Cost, Schedule, TrialResult, TrialSpec, read_record, write_json

BUDGET = 3
COST = {"small": 0.05, "large": 1.0}


def space() -> cs.ConfigurationSpace:
    found = cs.ConfigurationSpace(seed=0)
    found.add(
        cs.Float("sft_learning_rate", (1e-5, 1e-1), log=True, default=1e-4),
        cs.Float("weight_decay", (0.0, 0.2), default=0.1),
    )
    return found


class Runner:
    """Finishes trials at once, with records as real ones leave; keeps what was run."""

    def __init__(self, floor: float | None = None, slow: bool = False) -> None:
        self.ran: list[str] = []
        self.seconds = 0.0
        self.floor = floor  # score of every trial of the small model, if it learns nothing
        self.slow = slow  # the small model takes as long as the large one

    def __call__(self, spec: TrialSpec) -> Future[TrialResult]:
        file = Path(spec.folder) / "result.json"
        done: Future[TrialResult] = Future()
        if file.exists():
            done.set_result(read_record(file, TrialResult))
            return done
        self.ran.append(spec.trial_id)
        model = spec.fidelity.model
        rate = float(spec.config["sft_learning_rate"])  # type: ignore[arg-type]
        score = 1.0 - 0.1 * (math.log10(rate) + 2.0 - 0.3 * (model == "small")) ** 2
        if model == "small" and self.floor is not None:
            score = self.floor
        seconds = 60.0 if self.slow else 60 * COST[model]
        self.seconds += seconds
        cost = Cost(seconds=seconds, flops=1e12 * COST[model], tokens=10)
        result = TrialResult(
            trial_id=spec.trial_id,
            state=TrialState.COMPLETED,
            fraction=1.0,
            score=score,
            score_se=0.01,
            cost=cost,
            checkpoint="checkpoint",
        )
        Path(spec.folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(spec.folder) / "spec.json", spec)
        write_json(file, result)
        final_model(spec).mkdir(parents=True)
        done.set_result(result)
        return done


def loop_in(
    folder: Path, runner: Runner, amount: float = BUDGET, parallel: int = 1, unit: str = "full"
) -> SearchLoop:
    row = Row([{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}], "a", {})
    data = Dataset(folder, DatasetCard(reward="exact_match"), "f", {"train": [row] * 100}, False)

    def inputs(model: str) -> Any:
        return SimpleNamespace(
            dataset=data, model=model, model_id=model, model_fingerprint=model, schedule=Schedule()
        )

    budget = Budget(amount=amount, unit=unit)
    settings = TuneSettings(
        dataset="d", model="large", proxies=("small",), budget=budget, parallel=parallel
    )
    search = Search(
        space(),
        strategy="gp",
        budget=float(amount) if unit == "full" else None,
        seed=0,
        n_candidates=64,
        finalist_share=0.0,
        levels=COST,
    )
    return SearchLoop(
        RunFolder(folder), settings, inputs("large"), search,
        Ledger(folder / "ledger.json", budget, clock=lambda: runner.seconds), runner,
        lambda *_: None, proxies=[inputs("small")],
    )  # fmt: skip


def played(folder: Path, slow: bool = False, **options: Any) -> tuple[SearchLoop, Runner]:
    folder.mkdir(exist_ok=True)
    runner = Runner(slow=slow)
    loop = loop_in(folder, runner, **options)
    loop.explore(plain_values(space().get_default_configuration()))
    loop.finish()
    return loop, runner


def test_trials_run_on_the_model_that_the_search_names(tmp_path: Path) -> None:
    loop, _ = played(tmp_path)
    specs = [spec for spec, _ in loop.finished.values()]
    models = Counter(spec.fidelity.model for spec in specs)
    assert specs[0].fidelity.model == "large"
    assert models["small"] >= 3
    assert {p.model for p in loop.run.proposals()} == {None, "small"}
    assert all(spec.model_fingerprint == spec.fidelity.model for spec in specs)
    # Nothing of the proxy is recommended, or taken for what a full trial takes.
    found = loop.recommendation()
    assert found is not None
    assert found[1][0].fidelity.model == "large"
    assert loop.ledger.seconds_per_full == 60
    spent = sum(COST[spec.fidelity.model] for spec in specs)
    # In the end new trials are the target's, reckoned at what finishing a trial usually takes.
    assert loop.ledger.spent_full == pytest.approx(spent)
    assert spent <= BUDGET + 1.0 - TYPICAL_REST + 1e-9
    finish = [p.model for p in loop.run.proposals() if p.phase == "finish"]
    assert set(finish) <= {None}
    assert models["small"] * COST["small"] <= 0.25 * BUDGET + COST["small"]


def test_what_the_proxy_did_is_kept_with_the_run(tmp_path: Path) -> None:
    loop, _ = played(tmp_path)
    [record] = loop.run.levels()
    assert [record] == level_records(loop.search)
    assert record.model == "small"
    assert record.trials >= 3
    assert record.left is None
    assert record.low is not None
    assert record.low <= record.correlation <= record.high  # type: ignore[operator]


def test_a_proxy_that_learns_nothing_is_left_and_that_is_told_at_once(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []

    class Kept(RunObserver):
        def notify(self, event: RunEvent) -> None:
            if isinstance(event, Message):
                told.append((len(loop.finished), event.text))

    proxy = ProxyInfo(model="small", path="small", parameters=1, meta={})
    info = write_run(tmp_path / "another", trials=0, finished=False).info()
    (tmp_path / "run").mkdir()
    loop = loop_in(tmp_path / "run", Runner(floor=0.0), 5)
    observer = LeftProxies(loop.run, Kept())
    observer.notify(RunStarted(info.model_copy(update={"proxies": [proxy]})))
    loop.on_result = lambda spec, result: observer.notify(TrialFinished(spec, result))
    loop.explore(plain_values(space().get_default_configuration()))
    loop.finish()
    [(trials, text)] = told
    assert text == "small is left: its scores do not differ by more than their noise"
    assert trials == 13  # twelve of the proxy after the default
    assert len(loop.finished) > trials
    assert not any(s.fidelity.model == "small" for s, _ in list(loop.finished.values())[trials:])
    [record] = loop.run.levels()
    assert record.left is not None
    assert record.left_after == trials


@pytest.mark.parametrize(("parallel", "kept"), [(1, 4), (2, 4), (2, 9), (3, 6)])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path, parallel: int, kept: int
) -> None:
    straight, all_of_them = played(tmp_path / "straight", parallel=parallel)
    # As a kill leaves it: the last trials are not there, and nothing is left of what ran in memory.
    killed, _ = played(tmp_path / "killed", parallel=parallel)
    lost = [spec for spec, _ in killed.finished.values()][kept:]
    for spec in lost:
        (Path(spec.folder) / "result.json").unlink()
        (Path(spec.folder) / "checkpoint" / "final").rmdir()
    (tmp_path / "killed" / "ledger.json").unlink()
    resumed, again = played(tmp_path / "killed", parallel=parallel)
    assert again.ran == [spec.trial_id for spec in lost]
    assert [p.model_dump() for p in resumed.run.proposals()] == [
        p.model_dump() for p in straight.run.proposals()
    ]
    assert len(all_of_them.ran) == len(straight.finished) == len(resumed.finished)


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_a_run_with_a_larger_budget_repeats_nothing(tmp_path: Path, parallel: int) -> None:
    before, _ = played(tmp_path, parallel=parallel)
    done = [p.trial_id for p in before.run.proposals()]
    resumed, again = played(tmp_path, parallel=parallel, amount=2 * BUDGET)
    trials = [p.trial_id for p in resumed.run.proposals()]
    assert trials[: len(done)] == done
    assert again.ran == trials[len(done) :]
    assert len(again.ran) >= BUDGET


def test_proxies_run_side_by_side(tmp_path: Path) -> None:
    """What runs is counted at what it is expected to cost, not as so many trials of the target."""
    loop, _ = played(tmp_path, parallel=4)
    told = [p.told for p in loop.run.proposals() if p.model == "small"]
    assert max(Counter(told).values()) >= 3


def test_where_no_other_trial_of_the_target_fits_a_proxy_may_still_run(tmp_path: Path) -> None:
    loop, _ = played(tmp_path, amount=1.9)
    proposals = loop.run.proposals()
    assert [p.model for p in proposals[:2]] == [None, "small"]
    assert {p.only for p in proposals if p.model == "small"} == {"proxies"}
    assert loop.ledger.spent_full <= 1.9 + 1.0 - TYPICAL_REST


def test_of_a_budget_of_time_proxies_have_their_share_in_time(tmp_path: Path) -> None:
    """Their trials take 60 s each here, although they are reckoned at a twentieth of the target."""
    loop, _ = played(tmp_path, slow=True, amount=2000, unit="seconds")
    seconds = [r.cost.seconds for s, r in loop.finished.values() if s.fidelity.model == "small"]
    assert 60 < sum(seconds) <= 0.25 * 2000 + 60


def test_each_model_of_a_run_has_weights_of_its_own() -> None:
    rows = pd.DataFrame(
        {
            "model_id": ["large", "small", "large", "small"],
            "model_fingerprint": ["a", "b", "a", "c"],
        }
    )
    assert list(changed_fingerprints(rows)) == [3]
