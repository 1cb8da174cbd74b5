"""A finished run joins the history, so that the next dataset starts from more."""

from __future__ import annotations

from pathlib import Path

from tasks.config.steps import step
from tasks.history.checks import append_checked
from tasks.history.rows import RUN_KEY, history_row, run_key
from tasks.runs.folder import RunFolder


@step
def append_run_to_history(run: RunFolder, history: Path) -> Path | None:
    """Writes the run's finished trials as one new history file; None if there are none.

    Rows that do not pass the checks go to the quarantine beside it.
    """
    info = run.info()
    key = {RUN_KEY: run_key(info.settings, info.dataset.fingerprint)}
    proxies = {proxy.path: (proxy.model, proxy.meta) for proxy in info.proxies}
    models = [proxies.get(t.spec.fidelity.model, (info.model, info.meta)) for t in run.trials()]
    rows = [
        history_row(
            trial.spec,
            trial.result,
            run_id=run.run_id,
            dataset_id=info.dataset.name,
            model_id=model,
            meta=meta,
        )
        | key
        for trial, (model, meta) in zip(run.trials(), models, strict=True)
        if trial.result is not None
    ]
    file, _ = append_checked(rows, history, run.run_id, one_run=True)
    return file
