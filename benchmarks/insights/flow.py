"""Insights: what the history says of hyperparameters, of small models as proxies, and of noise.

    python -m benchmarks.insights.flow           # or: make insights, or: dvc repro insights

`make insights` also draws docs/images/insights-*.svg and renews the tables of
docs/rules-of-thumb.md; by hand: --pictures docs/images --page docs/rules-of-thumb.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flows.environment import configure_script

configure_script()

import typer  # noqa: E402
from prefect import flow  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.insights.figures import all_figures  # noqa: E402
from benchmarks.insights.page import update_page  # noqa: E402
from benchmarks.insights.pictures import write_pictures  # noqa: E402
from benchmarks.insights.steps import (  # noqa: E402
    PARTS,
    SECTION,
    Insights,
    InsightSettings,
    Report,
    find_insights,
    finished_trials,
    write_insights,
)
from flows.errors import friendly_errors  # noqa: E402
from flows.server import prefect_server  # noqa: E402
from flows.terminal import for_tables  # noqa: E402
from tasks.config.params import PARAMS, load_section  # noqa: E402
from tasks.config.paths import DATA, history_folder  # noqa: E402
from tasks.runs.formatting import plus_minus  # noqa: E402
from trials.io.errors import SettingsError  # noqa: E402

OUTPUT = DATA / "offline" / "insights"


@flow(name="insights", validate_parameters=False)
def insights_flow(
    settings: InsightSettings, history: Path, output: Path, report: Report
) -> Insights:
    """Reads the history, answers every question and writes the tables.

    Args:
        settings: the section `insights` of params.yaml.
        history: folder of parquet files.
        output: folder of metrics.json and the tables.
        report: told the name of each part as it begins.

    Raises:
        AutoPipeError: the history cannot be read.
        HistoryError: it is too thin to say anything.
    """
    report(PARTS[0])
    found = find_insights(finished_trials(history), settings, report)
    write_insights(found, output)
    return found


def main(
    history: Annotated[Path | None, typer.Option(help="Folder of parquet files.")] = None,
    output: Annotated[Path, typer.Option(help="Where metrics.json and tables/ go.")] = OUTPUT,
    pictures: Annotated[
        Path | None, typer.Option(help="Where SVG pictures go; they need kaleido.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page whose tables between markers are renewed.")
    ] = None,
    params: Annotated[Path, typer.Option(help="File with a section `insights`.")] = PARAMS,
) -> None:
    """Say which hyperparameters matter, which rules of thumb hold, and what proxies are worth."""
    console = for_tables()
    with friendly_errors():
        settings = load_section(InsightSettings, SECTION, params)
        columns = (TextColumn("{task.description:30}"), BarColumn(), TimeElapsedColumn())
        with prefect_server(), Progress(*columns, console=console) as progress:
            bar = progress.add_task("", total=len(PARTS) + 1)
            seen = 0

            def report(name: str) -> None:
                nonlocal seen
                progress.update(bar, description=name, completed=seen)
                seen += 1

            found = insights_flow(settings, history or history_folder(), output, report)
            written, missing = [output], ""
            if page is not None:
                update_page(page, found)
                written.append(page)
            report("pictures")
            if pictures is not None:
                try:
                    written += write_pictures(all_figures(found.tables), pictures)
                except SettingsError as error:  # the tables are there all the same
                    missing = str(error)
            progress.update(bar, description="done", completed=seen)
        show(found, console)
        console.print("written:", *map(str, written), soft_wrap=True)
        if missing:
            console.print(missing, soft_wrap=True, markup=False)


def show(found: Insights, console: Console) -> None:
    """Prints the rules of thumb and what the answers rest on; the rest is in the files."""
    counts, models = found.counts, found.tables["models"]
    rules = Table(
        title=f"Rules of thumb ({counts['trials']} trials, {counts['datasets']} datasets)",
        title_justify="left",
    )
    for name in ("rule", "verdict", "estimate", "unit", "datasets"):
        rules.add_column(name)
    for r in found.tables["rules"].to_dict("records"):
        estimate = plus_minus(r["estimate"], r["estimate_se"])
        rules.add_row(r["rule"], r["verdict"], estimate, r["unit"], str(r["datasets"]))
    console.print(rules)
    for r in models.to_dict("records"):
        console.print(f"R2 of {r['model']}: {plus_minus(r['r2'], r['r2_se'])}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
