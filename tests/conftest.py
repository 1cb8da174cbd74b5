"""What every test process needs before anything heavy is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code. The same examples every time:
# a red run must be about the change at hand. New ones: pytest --hypothesis-profile=explore.
settings.register_profile("autopipe", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("autopipe")

# A home of its own for each test process: tests never touch, or wait for, a developer's server.
_prefect_home = tempfile.mkdtemp(prefix="autopipe-test-prefect-")
atexit.register(shutil.rmtree, _prefect_home, ignore_errors=True)
os.environ.pop("PREFECT_API_URL", None)

os.environ.update(
    {
        # Offline: a test that reaches for the network must fail at once, not after retries.
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Quiet: what a failing test prints should be about the failure.
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        # One thread a process: spinning OpenMP threads of two test processes on few cores slow
        # each other down many times over.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # The default of 20 s is too short for a temporary server on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_HOME": _prefect_home,
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests that need a Prefect server run in one process: to start one takes 10 s."""
    for item in items:
        if "prefect_harness" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("prefect"))


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """A Prefect server with an empty database, started once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
