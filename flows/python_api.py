"""The Python API: the same jobs as the command's, with plain arguments and nothing printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.server.environment import configure
from tasks.config.settings import EXAMPLE_MODEL

if TYPE_CHECKING:
    from tasks.config.settings import TuneSettings
    from tasks.monitoring.observers import RunObserver
    from tasks.runs.folder import RunFolder


def tune(
    dataset: str | Path,
    model: str | Path = EXAMPLE_MODEL,
    *,
    budget: str | int = 12,
    history: str | Path | None = None,
    observer: RunObserver | None = None,
    **settings: Any,
) -> RunFolder:
    """Finds the best configuration for a dataset and a model under a budget, as `autopipe tune`.

    Args:
        dataset: name in the catalog, folder or file.
        model: name in the catalog, folder, .gguf file or hub id.
        budget: a number of trials, or text: ``"25m"``, ``"8 full"``.
        history: folder of parquet files to learn from and to append to; None: the usual one.
        observer: is told what happens while it runs.
        settings: further fields of ``tasks.config.settings.TuneSettings``, as ``seed=1`` or
            ``schedule={"total_steps": 200}``.

    Returns:
        The folder of the run: ``.path``, ``.summary()``, ``.trials()``.

    Raises:
        AutoPipeError: settings, data or model cannot be used.
    """
    configure()
    from flows.server.prefect import prefect_server
    from flows.tune import tune as flow
    from tasks.config.paths import runs_folder
    from tasks.execution.base import WORKERS
    from tasks.monitoring.observers import RunObserver, observed_by
    from tasks.planning.preflight import check_settings
    from tasks.runs.folder import RunFolder

    chosen = _settings(dataset, model, budget, settings)
    check_settings(chosen)
    with prefect_server(chosen.trials_on == WORKERS), observed_by(observer or RunObserver()):
        run = flow(chosen, None, Path(history) if history is not None else None)
    return RunFolder.open(run, runs_folder())


def _settings(
    dataset: str | Path, model: str | Path, budget: str | int, further: dict[str, Any]
) -> TuneSettings:
    from pydantic import ValidationError

    from flows.cli.options import settled
    from tasks.config.settings import Budget, TuneSettings
    from tasks.config.unknown import problems_of_settings
    from tasks.inputs.catalog import load_catalog
    from trials.io.errors import SettingsError

    catalog = load_catalog()
    try:
        return TuneSettings(
            dataset=settled(str(dataset), catalog.datasets),
            model=settled(str(model), catalog.models),
            budget=Budget.parse(str(budget)),
            **further,
        )
    except ValidationError as error:
        problems = [f"  {line}" for line in problems_of_settings(error, TuneSettings)]
        raise SettingsError("\n".join(["refused:", *problems])) from None
    except ValueError as error:
        raise SettingsError(str(error)) from None
