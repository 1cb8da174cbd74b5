"""Flows as workers load them, from their files alone: nobody is told what is run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from tasks.config.paths import ROOT
from tasks.config.process import TELEMETRY_OFF

FILE = ROOT / "deployments" / "prefect.yaml"
FLOWS = [each["entrypoint"] for each in yaml.safe_load(FILE.read_text("utf-8"))["deployments"]]
# What is read when a library is imported; the others look at the environment when they would send.
LOAD = """
import os, sys
from prefect.flows import load_flow_from_entrypoint
load_flow_from_entrypoint(sys.argv[1])
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY
print({name: os.environ.get(name) for name in %r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("entrypoint", FLOWS)
def test_telemetry_is_off_in_a_flow_that_a_worker_runs(entrypoint: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in TELEMETRY_OFF}
    done = subprocess.run(
        [sys.executable, "-c", LOAD % list(TELEMETRY_OFF), entrypoint],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(TELEMETRY_OFF)


def test_what_the_environment_says_wins() -> None:
    code = "import os, tasks; print(os.environ['DO_NOT_TRACK'], os.environ['DVC_NO_ANALYTICS'])"
    environment = os.environ | {"DO_NOT_TRACK": "0"}
    environment.pop("DVC_NO_ANALYTICS", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"0", b"1"]
