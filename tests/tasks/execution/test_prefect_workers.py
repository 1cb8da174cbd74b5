"""Trials on workers of a real server; this test is the worker, and does what workers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Completed, Failed, Running, Scheduled

from tasks.execution import prefect_workers as workers
from tasks.execution.mirror import mirrored
from tasks.execution.prefect_workers import DeploymentRunner
from tasks.execution.remote import RemoteRunner
from tasks.sync.store import Store
from tests.trials.helpers import make_spec, write_dataset
from trials.io.errors import AutoPipeError, SettingsError
from trials.process.supervisor import Cancelled
from trials.spec.records import Cost, Failure, Limits, TrialResult, TrialSpec, write_json

pytestmark = pytest.mark.slow

POOL = "test-trials"
Act = Callable[[TrialSpec], State[Any] | None]

pytestmark = pytest.mark.usefixtures("deployment")


@flow(name="test-trial")
def trial(spec: dict[str, Any], runner: dict[str, Any]) -> None:
    """As flows/trial.py; it is never run."""


@pytest.fixture(scope="module")
def deployment(prefect_harness: None) -> None:
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        client.create_deployment(
            flow_id=client.create_flow(trial), name="test", work_pool_name=POOL, entrypoint="x:y"
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "STORE_SECONDS"):
        monkeypatch.setattr(workers, name, 0.1)
    monkeypatch.setattr(workers, "SETTLE_SECONDS", 0.5)


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    return make_spec(
        tmp_path / f"{tmp_path.name}" / "trials" / "000", write_dataset(tmp_path / "data")
    )


@pytest.fixture
def work(spec: TrialSpec) -> Iterator[Callable[..., list[FlowRun]]]:
    """``work(act, ...)``: a worker that does one act for each flow run of the trial."""
    over, threads = threading.Event(), []

    def start(*acts: Act) -> list[FlowRun]:
        taken: list[FlowRun] = []

        def serve() -> None:
            with get_client(sync_client=True) as client:
                for act in acts:
                    run = next_run(client, taken)
                    if run is None:
                        return
                    taken.append(run)
                    client.set_flow_run_state(run.id, Running(), force=True)
                    if (state := act(spec)) is not None:
                        client.set_flow_run_state(run.id, state, force=True)

        def next_run(client: Any, taken: list[FlowRun]) -> FlowRun | None:
            while not over.wait(0.1):
                known = {run.id for run in taken}
                found = [run for run in of_trial(client, spec) if run.id not in known]
                if found:
                    return found[0]
            return None

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return taken

    yield start
    over.set()
    for thread in threads:
        thread.join()


def of_trial(client: Any, spec: TrialSpec) -> list[FlowRun]:
    name = FlowRunFilterName(any_=[f"{Path(spec.folder).parents[1].name} {spec.trial_id}"])
    found: list[FlowRun] = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=name))
    return found


def on_workers(**runner: Any) -> DeploymentRunner:
    return DeploymentRunner(RemoteRunner(**runner), "test-trial/test")


def leave(spec: TrialSpec, kind: str | None = None) -> None:
    failure = Failure(kind=kind, message="gone", log_tail="") if kind else None
    state = "failed" if kind else "completed"
    score = None if kind else 0.5
    result = TrialResult(
        trial_id=spec.trial_id,
        state=state,
        fraction=1.0,
        score=score,
        cost=Cost(seconds=1),
        failure=failure,
    )
    write_json(Path(spec.folder) / "result.json", result)


def done(spec: TrialSpec) -> State[Any]:
    leave(spec)
    return Completed()


def test_a_result_is_that_of_the_folder(spec: TrialSpec, work) -> None:
    taken = work(done)
    assert on_workers().run(spec).score == 0.5
    assert on_workers().run(spec).score == 0.5
    assert len(taken) == 1
    assert TrialSpec(**taken[0].parameters["spec"]) == spec


def test_what_went_wrong_on_a_worker_is_no_result(spec: TrialSpec, work) -> None:
    work(lambda _: Failed(message="no GPU is free"))
    with pytest.raises(AutoPipeError, match="no result: its flow run ended Failed: no GPU is free"):
        on_workers().run(spec)
    assert not (Path(spec.folder) / "result.json").exists()


def test_a_worker_that_is_gone_is_noticed(
    spec: TrialSpec, work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SILENCE_SECONDS", 0.5)
    spec = spec.model_copy(update={"limits": Limits(silent_seconds=1.0)})
    work(lambda _: None)  # it stays Running
    with pytest.raises(AutoPipeError, match="nothing was heard of its worker for 2 s"):
        on_workers().run(spec)


def test_a_removed_flow_run_has_ended(spec: TrialSpec, work) -> None:
    def remove(spec: TrialSpec) -> None:
        with get_client(sync_client=True) as client:
            for run in of_trial(client, spec):
                client.delete_flow_run(run.id)

    work(remove)
    with pytest.raises(AutoPipeError, match="it was removed from the server"):
        on_workers().run(spec)


def test_without_a_worker_it_says_so(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "UNTAKEN_SECONDS", 0.5)
    runner, caught = on_workers(), []

    def run() -> None:
        try:
            runner.run(spec)
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while "prefect worker start" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.1)
    assert caplog.text.count(f"prefect worker start --pool {POOL} --limit 1") == 1
    runner.close()
    thread.join(timeout=20)
    assert caught
    with get_client(sync_client=True) as client:
        assert [run.state.name for run in of_trial(client, spec) if run.state] == ["Cancelled"]
    with pytest.raises(Cancelled):  # and no other is started
        runner.run(spec)


def test_what_an_earlier_leader_left_waiting_is_cancelled(spec: TrialSpec, work) -> None:
    name = f"{Path(spec.folder).parents[1].name} {spec.trial_id}"
    with get_client(sync_client=True) as client:
        id = client.read_deployment_by_name("test-trial/test").id
        own, of_another = (
            client.create_flow_run_from_deployment(
                id,
                name=name,
                parameters={"spec": {"folder": folder}, "runner": {}},
                state=Scheduled(),
            )
            for folder in (spec.folder, "/another/workspace")
        )
        runner = on_workers()
        started = runner._start(spec)
        states = {run.id: run.state for run in of_trial(client, spec)}
    assert {id: state.name for id, state in states.items() if state} == {
        own.id: "Cancelled",
        of_another.id: "Scheduled",
        started.id: "Scheduled",
    }


def test_a_missing_deployment_is_named(spec: TrialSpec) -> None:
    with pytest.raises(SettingsError, match="autopipe deploy"):
        DeploymentRunner(RemoteRunner(), "test-trial/none").run(spec)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "other"))
    return Store((tmp_path / "storage").as_uri())


def test_with_a_store_a_failure_is_decided_by_the_leader(
    spec: TrialSpec, work, store: Store
) -> None:
    def fail(spec: TrialSpec) -> State[Any]:
        with mirrored(spec, store.url) as (own, _):
            leave(own, "killed")
        return Completed()

    def succeed(spec: TrialSpec) -> State[Any]:
        with mirrored(spec, store.url) as (own, _):
            if not (Path(own.folder) / "result.json").exists():
                leave(own)
        return Completed()

    taken = work(fail, succeed)
    runner, file = on_workers(store=store.url), Path(spec.folder) / "result.json"
    parts = Path(spec.folder).parents[1].name, "trials", "000", "result.json"
    first = runner.run(spec)
    assert first.failure is not None
    assert first.failure.kind == "killed"
    assert store.text(*parts) is None
    file.rename(file.with_name("result.attempt-1.json"))
    assert runner.run(spec).score == 0.5
    assert store.text(*parts) == file.read_text()
    assert len(taken) == 2
    # One that ended while nobody led the run is not run again.
    file.unlink()
    assert on_workers(store=store.url).run(spec).score == 0.5
