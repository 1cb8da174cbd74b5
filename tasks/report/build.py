"""``report.html``: one self-contained page about a run, from its folder alone.

It can be written at any time: what an unfinished run does not know yet is left out or said to be
unknown. The sections lie in ``tasks.report.outcome``, ``tasks.report.sections`` and
``tasks.report.reasons``.
"""

from __future__ import annotations

from pathlib import Path

from surrogates.evaluation.importance import importance_of
from tasks.config.paths import DATASET_DOCS, HISTORY_DOCS
from tasks.report import outcome as report_outcome
from tasks.report import reasons as report_reasons
from tasks.report import sections as report_sections
from tasks.report.figures_space import axes_of, final_configurations
from tasks.report.page import page
from tasks.runs.folder import RunFolder
from tasks.runs.tables import RunTables
from trials.io.atomic import write_text

# What Great Expectations found, by what it looked at: folders of pages in the run's folder.
DATA_DOCS = {"the dataset": DATASET_DOCS, "the history": HISTORY_DOCS}


def write_report(run: RunFolder) -> Path:
    """Writes ``<run>/report.html`` from what is on disk and returns its path.

    Raises:
        pydantic.ValidationError: when a record of the run folder is damaged.
    """
    tables = RunTables.read(run)
    axes = axes_of(tables.info.space)
    varied = {name: axes[name] for name in tables.varied if name in axes}
    rows = final_configurations(tables.trials)
    ranking = importance_of(list(rows.config), rows.final, varied, tables.info.settings.seed)
    if ranking is not None:
        varied = {name: varied[name] for name in ranking.table.name}
    exported = sorted(
        path.relative_to(run.path).as_posix()
        for path in (run.path / "best").rglob("*")
        if path.is_file()
    )
    docs = {name: file for name, folder in DATA_DOCS.items() if (file := _results(run, folder))}
    document = page(
        f"{tables.info.dataset.name} · {run.run_id} · AutoPipe",
        report_outcome.headline(tables, docs),
        report_outcome.best_configuration(tables, exported),
        report_sections.progress(tables),
        report_sections.trials(tables, list(varied)),
        report_reasons.reasons(tables),
        report_sections.curves(tables),
        report_sections.prior(tables),
        report_sections.space(tables, varied),
        report_sections.importance(tables, ranking),
        report_sections.cost(tables),
        report_sections.stops(tables),
        report_outcome.reproduction(tables),
    )
    target = run.path / "report.html"
    write_text(target, document)
    return target


def _results(run: RunFolder, folder: str) -> str | None:
    """The page of results, if there is one; the first page of all shows nothing without internet.

    Great Expectations has its tables' scripts and styles fetched from public servers.
    """
    pages = sorted((run.path / folder / "validations").rglob("*.html"))
    return pages[-1].relative_to(run.path).as_posix() if pages else None
