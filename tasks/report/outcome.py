"""The report's headline, its best configuration, and what it takes to run the same again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from tasks.config.command import beyond_options, reproduce_command
from tasks.config.paths import history_folder
from tasks.report import figures
from tasks.report.page import Html, as_json, chart, details, join, note, section, table, tag
from tasks.runs.folder import ModelScores, RunInfo, Summary
from tasks.runs.formatting import (
    Z95,
    format_duration,
    format_setting,
    format_test_score,
    gain,
    outcome,
    percent,
    plus_minus,
    verdict,
)
from tasks.runs.tables import RunTables, iter_rows

MAX_FILES = 40


def headline(tables: RunTables, data_docs: Mapping[str, str]) -> Html:
    """Title, facts of the run, and what came out, no better than it is.

    Args:
        tables: of the run.
        data_docs: pages of Great Expectations in the run's folder, by what they are about.
    """
    info, summary, trials = tables.info, tables.summary, tables.trials
    facts = {
        "dataset": info.dataset.name,
        "model": f"{info.settings.model} ({_count(info.model_parameters)} parameters)",
        "budget": str(info.settings.budget),
        "strategy": info.settings.strategy,
        "run": info.run_id,
        "begun": info.created,
    }
    items = [tag("span", f"{name} ", tag("b", value)) for name, value in facts.items()]
    head = join(
        [
            tag("h1", f"{info.dataset.name}: tuning report"),
            tag("p", *items, class_="facts"),
            _checks(data_docs),
        ]
    )
    if summary is None:
        return tag("header", head, *_so_far(tables))
    tone = _tone(summary)
    best_label = tables.labels.get(summary.best.trial_id or "", "–")
    tiles = [
        _tile("best, test", format_test_score(summary.best), f"trial {best_label}"),
        _tile("default, test", format_test_score(summary.default)) if summary.default else None,
        _tile("base model, test", format_test_score(summary.base)),
        _tile("trials", str(summary.trials), _kinds(trials)),
        _tile("trial time", format_duration(summary.trial_seconds), _wall(summary)),
    ]
    measured = [("best", summary.best), ("default", summary.default), ("base", summary.base)]
    return tag(
        "header",
        head,
        tag("p", outcome(summary), class_="lead"),
        tag("p", verdict(summary), class_=f"verdict {tone}".strip()),
        tag("div", *tiles, class_="tiles"),
        chart(
            "comparison",
            figures.comparison(_scores([(n, m) for n, m in measured if m is not None])),
            "Test and validation scores of best, default and base",
        ),
        note(
            "± is one standard error over the rows of the split. The test split is read only for "
            "this comparison. The search expected the best configuration at "
            f"{plus_minus(summary.best_expected, summary.best_expected_se)} on validation."
        ),
    )


def _checks(data_docs: Mapping[str, str]) -> Html | None:
    if not data_docs:
        return None
    links = [tag("a", what, href=quote(page)) for what, page in data_docs.items()]
    listed = [part for link in links for part in (" and ", link)][1:]
    return note("Checked by Great Expectations, see the Data Docs of ", *listed, ".")


def _so_far(tables: RunTables) -> list[Html]:
    info, best = tables.info, tables.best_row
    text = "No trial has a score yet."
    if best is not None:
        text = (
            f"Best so far: trial {best.label} with {plus_minus(best.score, best.score_se)} on "
            f"validation at {percent(best.fraction)} of full length; the base model, before any "
            f"training, {_split_score(info.base_validation)}."
        )
    return [
        tag(
            "p",
            f"This run is not finished ({tables.so_far}): nothing has been measured on the test "
            "split. Go on with ",
            tag("code", f"autopipe tune --resume {shlex.quote(info.run_id)}"),
            class_="verdict",
        ),
        tag("p", text, class_="lead"),
        tag("p", _kinds(tables.trials) or "No trials yet.", class_="note"),
    ]


def _tone(summary: Summary) -> str:
    measured = gain(summary)
    if measured is None or abs(measured[0]) <= Z95 * measured[1]:
        return ""
    return "good" if measured[0] > 0 else "bad"


def _tile(label: str, value: str, under: str = "") -> Html:
    return tag(
        "div",
        tag("div", label, class_="label"),
        tag("div", value, class_="value"),
        tag("div", under, class_="under") if under else None,
        class_="tile",
    )


def _kinds(trials: pd.DataFrame) -> str:
    kinds = [figures.trial_style(row) for row in iter_rows(trials)]
    counts = {kind: kinds.count(kind) for kind in figures.TRIAL_STYLES if kind in kinds}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _wall(summary: Summary) -> str:
    return f"{format_duration(summary.elapsed_seconds)} by the wall clock"


def _scores(measured: Sequence[tuple[str, ModelScores]]) -> pd.DataFrame:
    rows = [
        row
        for name, m in measured
        for row in (
            (name, "test", m.test, m.test_se),
            (name, "validation", m.validation, m.validation_se),
        )
    ]
    return pd.DataFrame(rows, columns=["name", "split", "score", "se"])


def _split_score(measured: Any) -> str:
    return plus_minus(measured.score, measured.score_se)


def _count(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def best_configuration(tables: RunTables, exported: Sequence[str]) -> Html:
    """The best configuration beside the default, differences marked, and the exported files."""
    summary, row, default = tables.summary, tables.best_row, tables.default_config
    config = summary.best.config if summary else None
    if config is None and row is not None:
        config = row.config
    title = "Best configuration" if summary else "Best configuration so far"
    if config is None:
        return section("best", title, tag("p", "There is none yet."))
    names = list(dict.fromkeys([*config, *(default or {})]))
    differs = [default is not None and config.get(n) != default.get(n) for n in names]
    heads = ["hyperparameter", "best", "default"]
    rows = [
        (
            tag("code", n),
            format_setting(config.get(n)),
            format_setting(default.get(n)) if default else "–",
        )
        for n in names
    ]
    marks = ["differs" if different else "" for different in differs]
    count = "This is the default itself."
    if any(differs):
        count = f"{sum(differs)} of {len(names)} values differ from the default."
    return section(
        "best",
        title,
        note(count if default else "The default configuration has not been tried yet."),
        table(heads, rows, marks),
        tag("h3", "Exported files"),
        _files(exported),
    )


def _files(exported: Sequence[str]) -> Html:
    if not exported:
        text = "Nothing is exported yet; at the end of the run the files will lie in "
        return note(text, tag("code", "best/"), ".")
    links = [tag("li", tag("a", name, href=quote(name))) for name in exported[:MAX_FILES]]
    rest = len(exported) - len(links)
    return join([tag("ul", *links), note(f"and {rest} more in best/") if rest else None])


def reproduction(tables: RunTables) -> Html:
    """What is needed to run the same again."""
    info = tables.info
    more = beyond_options(info.settings)
    facts = {
        "git commit": info.git_commit or "unknown",
        "seed": info.settings.seed,
        "dataset fingerprint": info.dataset.fingerprint,
        "reward": info.dataset.reward + (" (inferred)" if info.dataset.reward_inferred else ""),
        "rows": ", ".join(f"{split} {rows}" for split, rows in info.dataset.rows.items()),
        "check of the reward": " ".join(info.dataset.warnings) or "every completion earns it",
        "history": f"{info.history.trials} trials on {info.history.datasets} datasets",
        "history files": ", ".join(info.history.files) or "none",
    }
    return section(
        "reproduce",
        "Reproduce this run",
        tag("pre", reproduce_command(info.settings, _own_history(info))),
        note(f"No option exists for {', '.join(more)}: see all settings.") if more else None,
        table(["", ""], facts.items()),
        details("all settings", as_json(info.settings.model_dump(mode="json"))),
        details("versions", table(["package", "version"], sorted(info.versions.items()))),
        details("meta-features", table(["name", "value"], _meta(info.meta))),
    )


def _own_history(info: RunInfo) -> Path | None:
    """The history of a run where it is not the project's, which the command takes by itself."""
    folder = info.history.folder
    return Path(folder) if folder and Path(folder) != history_folder() else None


def _meta(meta: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name, f"{value:.4g}") for name, value in sorted(meta.items())]
