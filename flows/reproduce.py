"""Reproduce: run a search again on the very data it read, and say whether it went the same way.

autopipe reproduce RUN
"""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from flows.tune import tune
from tasks.config.paths import runs_folder
from tasks.runs.folder import RunFolder
from tasks.search.run_storage import open_run
from tasks.versioning.reproduce import RunComparison, compare_runs, restore_inputs


@flow(name="reproduce", flow_run_name="{run} again")
def reproduce(run: str) -> RunComparison:
    """Restore what a run read, search again with its settings and seed, and compare.

    Args:
        run: Id or folder of the run.

    Raises:
        SettingsError: there is no such run, or no record of what it read.
        VersionStoreError: what it read is neither in the cache nor in the remote.
    """
    log = get_run_logger()
    first = open_run(run, runs_folder())
    restored = restore_inputs(first)
    again = RunFolder.open(tune(restored.settings, None, restored.history), runs_folder())
    found = compare_runs(first, again)
    for difference in found.differences:
        log.warning("%s", difference)
    log.info("%d proposals and %d scores compared", found.proposals, found.scores)
    return found
