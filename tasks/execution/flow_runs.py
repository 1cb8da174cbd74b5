"""Short requests to the Prefect server about the flow runs of trials."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed, Pending

UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]


def state_of(id: UUID) -> State[object]:
    """The state of a flow run; Crashed when it was removed from the server."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(id).state or Pending()
        except ObjectNotFound:
            return Crashed(message="it was removed from the server")


def cancel(id: UUID) -> None:
    """Asks for the end of a flow run."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(id, Cancelling())


def cancel_earlier(name: str, folder: str) -> None:
    """Cancels flow runs of a trial that have not ended: their leader is gone or abandoned them.

    One that waits would otherwise begin the trial anew on the next free worker, beside the next.
    The trial's folder distinguishes it: another workspace may have a run of the same name.
    """
    unfinished = FlowRunFilter(
        name=FlowRunFilterName(any_=[name]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished):
            if run.parameters.get("spec", {}).get("folder") == folder:
                client.set_flow_run_state(run.id, Cancelling())


def pool_without_worker(run: FlowRun) -> str | None:
    """The pool that a flow run waits in, if none of its workers is online."""
    with get_client(sync_client=True) as client:
        pool = client.read_flow_run(run.id).work_pool_name
        if pool is None:
            return None
        workers = client.read_workers_for_work_pool(pool)
        return None if any(one.status == WorkerStatus.ONLINE for one in workers) else pool
