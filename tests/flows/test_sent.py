"""Every flow can be sent to another process: Dask does so with each trial."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
from prefect import Flow

import flows

ROOT = Path(__file__).parents[2]


def all_flows() -> list[Flow]:
    modules = [
        importlib.import_module(f"flows.{module.name}")
        for module in pkgutil.iter_modules(flows.__path__)
        if not module.ispkg  # of the command
    ]
    found = [value for module in modules for value in vars(module).values()]
    return list({value.name: value for value in found if isinstance(value, Flow)}.values())


FLOWS = all_flows()


def test_all_flows_are_seen() -> None:
    assert {"tune", "collect", "offline", "promote", "recurring"} <= {each.name for each in FLOWS}


def test_flows_arrive_in_another_process() -> None:
    read = "import cloudpickle as c, sys; print([f.name for f in c.load(sys.stdin.buffer)])"
    arrived = subprocess.run(
        [sys.executable, "-c", read],
        input=cloudpickle.dumps(FLOWS),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    assert arrived.stdout.decode().strip() == str([each.name for each in FLOWS])
