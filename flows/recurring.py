"""Recurring: tune again when there is something new, promote what is better, learn from all of it.

Meant for a schedule (docs/weekly.md); by hand: autopipe recurring DATASET
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed, State

from flows.offline import Step, offline
from flows.promote import promote
from flows.tune import tune
from tasks.config.paths import history_folder
from tasks.config.settings import TuneSettings
from tasks.history.location import resolve_history_dir
from tasks.monitoring.notify import notify_on_exit
from tasks.monitoring.prefect_pages import publish_markdown
from tasks.operations.changes import detect_changes, save_snapshot
from tasks.output.escape import markdown
from tasks.output.report_url import report_url

RETRAIN = (Step.DATASETS, Step.VALIDATE, Step.FEATURIZE, Step.TRAIN)


@flow(name="recurring", flow_run_name="{settings.title}")
def recurring(
    settings: TuneSettings,
    history: Path | None = None,
    output: Path | None = None,
    notify: str | None = None,
) -> State[None]:
    """Tune a dataset again if data, history or settings changed; promote, learn, keep versions.

    Args:
        settings: What to tune, with what budget, and how trials are run.
        history: Folder of parquet files; empty: the project's.
        output: Folder of the offline models; empty: the project's data/offline, or `offline` beside
            a history of your own.
        notify: Prefect notification block to tell the end of, as "slack-webhook/team".
    """
    log, history = get_run_logger(), resolve_history_dir(history)
    with notify_on_exit(notify, f"AutoPipe: {settings.title}") as lines:
        seen, what_is_new = detect_changes(settings, history)
        if what_is_new is None and seen.done:
            message = f"nothing new since run {seen.run_id}: dataset, history and settings"
            lines.append(message)
            return Completed(message=message)
        if what_is_new is None:
            what_is_new = f"what run {seen.run_id} left undone"
        else:
            log.info("%s", what_is_new)
            run_id = tune(settings, None, history)  # its trials join the history
            seen = save_snapshot(settings, seen, run_id, history, done=False)

        decision = promote(seen.run_id)
        lines.append(f"{what_is_new}; run {seen.run_id}: {decision}")
        offline(list(RETRAIN), None, history, None, output or models_of(history))
        save_snapshot(settings, seen, seen.run_id, history, done=True)
    publish_markdown(
        f"**{markdown(settings.title)}**\n\n- why: {markdown(what_is_new)}\n"
        f"- run: [{markdown(seen.run_id)}]({report_url(seen.run_id)})\n"
        f"- its winner: {markdown(decision)}",
        key="recurring",
        description=f"Why it tuned {markdown(settings.dataset)}, and what came of it",
    )
    return Completed(message=f"{what_is_new}; {decision}")


def models_of(history: Path) -> Path | None:
    """The folder of a history's models, unless it is the project's history."""
    return None if history == history_folder() else history.with_name("offline")
