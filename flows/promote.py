"""Promote: replace a dataset's promoted model by a run's winner, if that is better beyond noise.

autopipe promote RUN
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from tasks.config.paths import runs_folder
from tasks.delivery.promotion import Decision, challenge, promoted_folder
from tasks.execution.gpus import measuring_launcher
from tasks.monitoring.prefect_pages import publish_markdown
from tasks.output.escape import code, markdown
from tasks.runs.versions import dataset_name, promoted_name, winner_name
from tasks.search.run_storage import open_run
from tasks.versioning.provenance import version_inputs, version_outputs
from trials.process.supervisor import Supervisor


@flow(name="promote", flow_run_name="{run}")
def promote(run: str, rows: int = 1000) -> Decision:
    """Compare a run's winner with the incumbent on rows that chose neither, and promote a better.

    Without an incumbent it has to beat the base model. The run's own settings say how the models
    are run. What was read and written is noted in promotion/versions.json of the run.

    Args:
        run: Id or folder of a finished run.
        rows: To compare on; all that no trial was scored on, if there are fewer.
    """
    folder = open_run(run, runs_folder())
    info = folder.info()
    log = get_run_logger()
    where = promoted_folder(info.dataset.name, info.model)
    note, promoted = folder.path / "promotion", promoted_name(info.dataset.name, info.model)
    inputs = {
        dataset_name(info.dataset.name): Path(info.dataset.path),
        winner_name(info.dataset.name, info.model): folder.path / "best",
        promoted: where,  # the incumbent
    }
    version_inputs(note, {name: path for name, path in inputs.items() if path.exists()})
    with (
        measuring_launcher(info.settings.threads, log.info) as launcher,
        Supervisor(launcher) as measurer,
    ):
        decision = challenge(folder, rows, measurer)
    if decision.promoted:
        version_outputs(note, {promoted: where})
    log.info("%s: %s", info.dataset.name, decision)
    publish_markdown(
        f"**{markdown(info.dataset.name)}**, {markdown(info.model)}: {markdown(decision)}\n\n"
        f"The promoted model: {code(where)}",
        key="promotion",
        description=f"What came of run {markdown(folder.run_id)}",
    )
    return decision
