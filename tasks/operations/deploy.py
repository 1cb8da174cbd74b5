"""Work pools and deployments on a Prefect server, from deployments/prefect.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.settings import PREFECT_API_URL

from tasks.config.paths import DEPLOYMENTS, ROOT
from trials.io.errors import AutoPipeError, SettingsError
from trials.io.imports import child_environment
from trials.outcomes.provenance import git_commit

LEAD, TRAIN = POOLS = ("autopipe", "autopipe-trials")
KINDS = ("process", "docker", "kubernetes")
IN_IMAGE = "/opt/autopipe"  # where deployments/Dockerfile puts the checkout
# Variables of templates; a run that waits for its trials must not hold a GPU that they need.
WITHOUT_GPU: dict[str, Any] = {"gpus": 0, "device_requests": []}


def deploy(kind: str = "process", root: Path | None = None) -> list[str]:
    """Creates or updates work pools and deployments; returns what the pools keep of their own.

    Workers see the checkout at ``root``; None: where this one is, or that of the image.

    Raises:
        SettingsError: no server to deploy to, an unknown kind, or a pool of another one.
        AutoPipeError: ``prefect deploy`` failed; its own words.
    """
    if kind not in KINDS:
        raise SettingsError(f"pool type {kind!r}: expected one of {', '.join(KINDS)}")
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "PREFECT_API_URL is not set, so there is no server to deploy to\n"
            "  start one with: autopipe ui\n"
            "  then: export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    with get_client(sync_client=True) as client:
        pools = {pool.name: pool for pool in client.read_work_pools()}
        refuse_other_kinds([pools[name] for name in POOLS if name in pools], kind)
        notes = [note for name in POOLS for note in make_pool(client, name, kind, pools.get(name))]
    seen = root or (ROOT if kind == "process" else Path(IN_IMAGE))
    command = [
        sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all",
        "--prefect-file", str(DEPLOYMENTS / "prefect.yaml"),
    ]  # fmt: skip
    own = {"AUTOPIPE_ROOT": str(seen), "AUTOPIPE_VERSION": git_commit() or "unknown"}
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(own), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AutoPipeError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")
    return notes


def refuse_other_kinds(pools: Sequence[WorkPool], kind: str) -> None:
    """Refuses existing pools of another type than the deployments expect.

    Raises:
        SettingsError: naming them all.
    """
    others = [pool for pool in pools if pool.type != kind]
    if others:
        found = ", ".join(f"{pool.name} is of type {pool.type}" for pool in others)
        lines = [f"  prefect work-pool delete {pool.name}" for pool in others]
        raise SettingsError(
            f"work pools of type {kind} were asked for, and {found}: no run would find its code\n"
            "  remove what is there, its queues and waiting runs with it, then deploy again:\n"
            + "\n".join(lines)
        )


def make_pool(
    client: SyncPrefectClient, name: str, kind: str, existing: WorkPool | None = None
) -> list[str]:
    """Creates a work pool, or updates it; returns the values set on its page, which are kept."""
    wanted = template(kind, name)
    if existing is None:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=wanted))
        return []
    own = existing.base_job_template.get("variables", {}).get("properties", {})
    notes = []
    for variable, field in wanted["variables"]["properties"].items():
        default = own.get(variable, field).get("default")
        if variable == "env":
            default = {**field["default"], **(default or {})}
        if default != field["default"]:
            notes.append(f"work pool {name} keeps {variable} = {json.dumps(default)}")
            field["default"] = default
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted))
    return notes


def template(kind: str, pool: str) -> dict[str, Any]:
    """The base job template of a pool, from deployments/pools."""
    content: dict[str, Any] = json.loads(
        (DEPLOYMENTS / "pools" / f"{kind}.json").read_text("utf-8")
    )
    if pool == LEAD:
        variables = content["variables"]["properties"]
        for name in WITHOUT_GPU.keys() & variables.keys():
            variables[name]["default"] = WITHOUT_GPU[name]
    return content
