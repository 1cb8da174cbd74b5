"""Offline: from datasets and the history to models, and how good they are on unseen datasets.

    python -m flows.offline                # all steps
    python -m flows.offline featurize      # one: datasets validate featurize train evaluate show

Each step reads and writes files, so that DVC runs only those whose inputs changed: dvc.yaml calls
this file once per stage. `make offline` does that, and shows the tables.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which reads its environment then
    from flows.server.environment import configure_script

    configure_script()
    from flows.cli.offline import main

    main()

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pandas as pd
from prefect import flow
from prefect.logging import get_run_logger

from tasks.config.params import PARAMS, load_section
from tasks.config.paths import OfflineFolder, built_folder, offline_folder
from tasks.config.progress import Report, silent
from tasks.config.steps import step
from tasks.history.location import resolve_history_dir
from tasks.history.rows import history_files
from tasks.inputs.catalog import build_catalog, load_catalog
from tasks.monitoring.prefect_pages import publish_markdown, publish_table
from tasks.offline.evaluate import SECTION, SHOWN, OfflineSettings, evaluate, with_error
from tasks.offline.features import featurize_history
from tasks.offline.train import train
from tasks.offline.validate import validate_all
from tasks.output.escape import markdown
from tasks.runs.versions import FEATURES_NAME, HISTORY_NAME, MODELS_NAME
from tasks.sync.lock import offline_lock
from tasks.versioning.provenance import version_inputs, version_outputs


class Step(StrEnum):
    """The steps of the flow in their order, and `show`, which prints what was found."""

    DATASETS = "datasets"
    VALIDATE = "validate"
    FEATURIZE = "featurize"
    TRAIN = "train"
    EVALUATE = "evaluate"
    SHOW = "show"


ALL = tuple(step for step in Step if step is not Step.SHOW)
TITLES = {
    "kendall_tau": "Kendall tau", "ndcg5": "NDCG@5", "regret1": "regret@1", "regret3": "regret@3",
    "regret5": "regret@5", "spearman": "Spearman", "spearman_last": "last score",
    "mae": "MAE", "mae_last": "last score", "coverage90": "90 % coverage", "saved": "cost saved",
    "gain": "tau gained",
}  # fmt: skip

build_datasets = step(build_catalog).with_options(name="build_datasets")

Say = Callable[[str], None]
Watch = Callable[[Step], Report]
_listeners: ContextVar[tuple[Watch, Say] | None] = ContextVar("listeners", default=None)


def _current_listeners() -> tuple[Watch, Say]:
    """Those of `listening`, else Prefect's log.

    A function of its own, because a flow is pickled along with the globals that it names when it is
    sent to another process, and context variables cannot be pickled.
    """
    return _listeners.get() or (lambda step: silent, get_run_logger().info)


@flow(name="offline", flow_run_name="offline models")
def offline(
    steps: Sequence[Step] = ALL,
    settings: OfflineSettings | None = None,
    history: Path | None = None,
    built: Path | None = None,
    output: Path | None = None,
) -> None:
    """Check the history, describe its datasets and models, train and evaluate the offline models.

    Args:
        steps: Which; one that is left out must have left its files before.
        settings: Empty: the section `offline` of params.yaml.
        history: Folder of parquet files; empty: the project's.
        built: Folder of the built datasets; empty: the project's.
        output: Where everything else goes; empty: the project's data/offline.

    What it read and wrote is noted in versions.json of the output, unless `dvc repro` notes it.

    Raises:
        AutoPipeError: data that cannot be used, or an earlier step is missing.
        HistoryError: the history is too thin to evaluate anything.
    """
    job = _Job(
        settings or load_section(OfflineSettings, SECTION, PARAMS),
        resolve_history_dir(history),
        built or built_folder(),
        OfflineFolder(output) if output else offline_folder(),
        *_current_listeners(),
    )
    with offline_lock(job.folder.path):
        for each, work in WORK.items():
            if each in steps:
                work(job, job.watch(each))
    if job.said:
        text = "\n".join(f"- {markdown(text)}" for text in job.said)
        publish_markdown(text, "offline", "What the steps found")


@contextmanager
def listening(watch: Watch, say: Say) -> Iterator[None]:
    """Flows called in this context report progress and findings there, not to Prefect's log."""
    token = _listeners.set((watch, say))
    try:
        yield
    finally:
        _listeners.reset(token)


@dataclass(frozen=True)
class _Job:
    """Everything that the steps need; each works on the files that the ones before it left."""

    settings: OfflineSettings
    history: Path
    built: Path
    folder: OfflineFolder
    watch: Watch
    tell: Say
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Says what a step found, now and on Prefect's page of the flow."""
        self.said.append(text)
        self.tell(text)

    @property
    def keeps_versions(self) -> bool:
        """True if revisions are noted here; those of a stage of `dvc repro` are in dvc.lock."""
        return "DVC_STAGE" not in os.environ


def _build(job: _Job, report: Report) -> None:
    build_datasets(job.built, load_catalog(), lambda done, total: report("", done, total))


def _validate(job: _Job, report: Report) -> None:
    rows = validate_all(job.built, job.history, job.folder, report)
    if job.keeps_versions:
        version_inputs(job.folder.path, {HISTORY_NAME: history_files(job.history)})
    for suite, counts in rows.items():
        job.say(f"{suite}: {counts['rows_good']} rows good, {counts['rows_put_aside']} quarantined")
    job.say(f"Data Docs: {job.folder.data_docs / 'index.html'}")


def _featurize(job: _Job, report: Report) -> None:
    for pair in featurize_history(job.built, load_catalog().models, job.folder, report):
        job.say(f"keeps the features of its own rows: {pair}")
    if job.keeps_versions:
        version_outputs(job.folder.path, {FEATURES_NAME: job.folder.features})


def _train(job: _Job, report: Report) -> None:
    report("all models", 0, 1)
    train(job.settings.space, job.settings.seed, job.folder)
    if job.keeps_versions:
        version_outputs(job.folder.path, {MODELS_NAME: job.folder.models})


def _evaluate(job: _Job, report: Report) -> None:
    found = evaluate(job.settings, job.folder, report)
    job.say(f"the search would use: {found.chosen}")
    ranking = as_text(found.ranker, "method", SHOWN)
    titled = [{TITLES.get(name, name): cell for name, cell in row.items()} for row in ranking]
    publish_table(titled, "offline-ranking", "Ranking a dataset left out")


WORK: dict[Step, Callable[[_Job, Report], None]] = {
    Step.DATASETS: _build,
    Step.VALIDATE: _validate,
    Step.FEATURIZE: _featurize,
    Step.TRAIN: _train,
    Step.EVALUATE: _evaluate,
}


def as_text(table: pd.DataFrame, key: str, metrics: Sequence[str]) -> list[dict[str, str]]:
    """The rows of an evaluation for people: means ± standard errors over datasets, by metric."""
    columns = {key: map(str, table[key])} | {m: with_error(table, m) for m in metrics}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
