"""What every test process needs before anything heavy is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from trials.process.supervisor import Supervisor

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


# Tests that share what takes 5 s and more to start run in one process: a Prefect server, a worker
# of trials, the datasets of the catalog, a run of the command.
TOGETHER = {
    "deployments/test_prefect_yaml.py": "prefect",
    "flows/cli/test_tune_command.py": "command",
    "flows/test_offline.py": "prefect",
    "tasks/delivery/test_folder.py": "worker",
    "tasks/delivery/test_promotion.py": "prefect",
    "tasks/delivery/test_trl.py": "worker",
    "tasks/execution/test_prefect_workers.py": "prefect",
    "tasks/execution/test_trial.py": "prefect",
    "tasks/inputs/test_catalog.py": "catalog",
    "tasks/inputs/test_featurize.py": "worker",
    "tasks/monitoring/test_notify.py": "prefect",
    "tasks/monitoring/test_prefect_pages.py": "prefect",
    "tasks/operations/test_doctor.py": "prefect",
    "tasks/output/test_log_filters.py": "prefect",
    "tasks/planning/test_warm_up.py": "worker",
    "trials/training/test_run.py": "worker",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out single tests, and those of `TOGETHER` in their groups, the groups first."""
    from xdist.scheduler import LoadScopeScheduling

    class InGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].removeprefix("tests/")
            return TOGETHER.get(file, nodeid)

    return InGroups(config, log)


@pytest.fixture(scope="session")
def real_worker() -> Iterator[Supervisor]:
    """A worker as trials run in, launched once; for tests that are not about its start or end."""
    from tests.trials.helpers import SharedLauncher
    from trials.process.supervisor import Supervisor

    with Supervisor(SharedLauncher()) as supervisor:
        yield supervisor


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """A Prefect server with an empty database, started once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
