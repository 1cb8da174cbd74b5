"""Insights: what the history says of hyperparameters, of small models as proxies, and of noise.

    python -m benchmarks.insights.flow           # or: make insights, or: dvc repro insights

`make insights` also draws docs/images/insights-*.svg and renews the tables of
docs/rules-of-thumb.md; by hand: --pictures docs/images --page docs/rules-of-thumb.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flows.server.environment import configure_script

configure_script()

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.insights.figures import all_figures  # noqa: E402
from benchmarks.insights.page import update_page  # noqa: E402
from benchmarks.insights.steps import (  # noqa: E402
    SECTION,
    Insights,
    InsightSettings,
    find_insights,
    finished_trials,
    write_insights,
)
from benchmarks.pictures import write_pictures  # noqa: E402
from flows.cli.errors import friendly_errors  # noqa: E402
from flows.cli.offline import bars  # noqa: E402
from flows.terminal.console import for_tables  # noqa: E402
from tasks.config.params import PARAMS, load_section  # noqa: E402
from tasks.config.paths import DATA, history_folder  # noqa: E402
from tasks.runs.formatting import plus_minus  # noqa: E402
from trials.io.errors import SettingsError  # noqa: E402

OUTPUT = DATA / "offline" / "insights"


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
        with bars(console) as watch:
            watch("history")
            found = find_insights(finished_trials(history or history_folder()), settings, watch)
            write_insights(found, output)
            written, missing = [output], ""
            if page is not None:
                update_page(page, found)
                written.append(page)
            if pictures is not None:
                watch("pictures")
                try:
                    written += write_pictures(all_figures(found.tables), pictures)
                except SettingsError as error:  # the tables are there all the same
                    missing = str(error)
        show(found, console)
        console.print("written:", *map(str, written), soft_wrap=True)
        if missing:
            console.print(missing, soft_wrap=True, markup=False)


def show(found: Insights, console: Console) -> None:
    """Print the rules of thumb and the quality of the models; the rest is in the files."""
    counts, models = found.counts, found.tables["models"]
    title = f"Rules of thumb ({counts['trials']} trials, {counts['datasets']} datasets)"
    heads = ("rule", "verdict", "estimate", "unit", "datasets")
    rules = Table(*heads, title=title, title_justify="left")
    for r in found.tables["rules"].to_dict("records"):
        estimate = plus_minus(r["estimate"], r["estimate_se"])
        rules.add_row(r["rule"], r["verdict"], estimate, r["unit"], str(r["datasets"]))
    console.print(rules)
    for r in models.to_dict("records"):
        console.print(f"R2 of {r['model']}: {plus_minus(r['r2'], r['r2_se'])}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
