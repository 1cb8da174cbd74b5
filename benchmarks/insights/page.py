"""Tables of a page in Markdown that a command keeps up to date; the prose around them is by hand.

A table stands between the lines ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.insights.marginals import compact
from benchmarks.insights.steps import REFERENCE, Insights
from tasks.runs.formatting import format_number
from trials.io.errors import SettingsError

BLOCK = re.compile(r"(<!-- begin: (?P<name>[a-z-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.S)
MARKER = re.compile(r"<!-- (?:begin|end): ([a-z-]+) -->")
MISSING = "The history has nothing to answer this with.\n"
SHOWN_PAIRS = 8


def update_page(page: Path, found: Insights) -> None:
    """Writes every table into its place in a page.

    Raises:
        SettingsError: no such page, or a marker in it that is unknown or not closed.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{page}: expected a page in Markdown, found: {error}") from None
    page.write_text(filled(text, blocks(found), str(page)), encoding="utf-8")


def filled(text: str, content: Mapping[str, str], place: str = "page") -> str:
    """The text with what is between the markers replaced.

    Raises:
        SettingsError: a marker whose name is unknown, or without its counterpart.
    """
    whole = {match["name"] for match in BLOCK.finditer(text)}
    for name in MARKER.findall(text):
        if name not in content:
            known = ", ".join(content)
            raise SettingsError(f"{place}: marker {name!r}: expected one of {known}")
        if name not in whole:
            raise SettingsError(f"{place}: marker {name!r}: expected a begin and an end after it")
    return BLOCK.sub(lambda m: f"{m[1]}{content[m['name']]}{m[3]}", text)


def blocks(found: Insights) -> dict[str, str]:
    """Every table by the name of its place."""
    makers: dict[str, Callable[[Insights], str]] = {
        "history": _history,
        "models": _models,
        "importance": _importance,
        "stages": _stages,
        "pairs": _pairs,
        "best": _best,
        "rules": _rules,
        "agreement": _agreement,
        "regret": _regret,
        "noise": _noise,
    }
    return {name: maker(found) for name, maker in makers.items()}


def table(head: Iterable[str], rows: Iterable[Iterable[str]], texts: int = 1) -> str:
    """A Markdown table, all columns but the first ones of text to the right."""
    head = list(head)
    ruler = ["---"] * texts + ["---:"] * (len(head) - texts)
    lines = [head, ruler, *map(list, rows)]
    if len(lines) == 2:
        return MISSING
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _history(found: Insights) -> str:
    counts = found.counts
    return (
        f"{counts['trials']:,} full-length trials of {counts['configurations']:,} configurations "
        f"in {counts['groups']} groups ({counts['datasets']} datasets, {counts['models']} models); "
        f"{counts['failed']:,} failed ones are left out.\n"
    )


def _models(found: Insights) -> str:
    rows = found.tables["models"].to_dict("records")
    return table(
        ["model of the standardised score", "held out", "R²"],
        ([r["model"], r["held_out"], _se(r, "r2")] for r in rows),
        texts=2,
    )


def _importance(found: Insights) -> str:
    rows = found.tables["importance"].to_dict("records")
    return table(
        ["hyperparameter", "stage", "shared, %", "by chance, %", "p", "in pairs, %", "own, %"],
        (
            [
                f"`{r['hyperparameter']}`",
                r["stage"],
                _se(r, "main", 100, 1),
                f"< {100 * r['null95']:.1f}",
                f"{r['p']:.3f}",
                _se(r, "pairs", 100, 1),
                _se(r, "own", 100, 1),
            ]
            for r in rows
        ),
        texts=2,
    )


def _stages(found: Insights) -> str:
    rows = found.tables["stages"].to_dict("records")
    return table(
        ["stage", "share of the score's variance, %", "by chance, %", "of the model's variance, %"],
        (
            [
                r["stage"],
                _se(r, "share", 100, 1),
                f"< {100 * r['null95']:.1f}",
                f"{100 * r['sobol']:.0f}",
            ]
            for r in rows
        ),
    )


def _pairs(found: Insights) -> str:
    rows = found.tables["interactions"].head(SHOWN_PAIRS).to_dict("records")
    return table(
        ["pair", "share, %", "this pair by chance, %", "the largest of all pairs by chance, %"],
        (
            [
                f"`{r['first']}` x `{r['second']}`",
                _se(r, "share", 100, 2),
                f"< {100 * r['null95']:.2f}",
                f"< {100 * r['null95_largest']:.2f}",
            ]
            for r in rows
        ),
    )


def _best(found: Insights) -> str:
    rows = []
    for r in found.tables["best_region"].to_dict("records"):
        if r["choice"]:
            best = f"{r['choice']} in {_se(r, 'best', 100, 0)} %"
            everywhere = f"{100 * r['all']:.0f} %"
        else:
            best = f"{r['best_value']} ({r['low_value']} to {r['high_value']})"
            everywhere = str(r["all_value"])
        clear = "yes" if r["clear"] else ""
        rows.append([f"`{r['hyperparameter']}`", best, everywhere, clear])
    return table(["hyperparameter", "best tenth", "all", "differs"], rows, texts=4)


def _rules(found: Insights) -> str:
    rows = []
    for r in found.tables["rules"].to_dict("records"):
        claim = f"{r['claim']} ({r['source']}, {r['year']})"
        if r["unit"] == "decades":
            estimate, low, high, nothing = (
                format_number(None) if pd.isna(r[k]) else compact(10 ** r[k])
                for k in ("estimate", "low", "high", "nothing")
            )
            unit = "ratio"
        else:
            estimate, low, high, nothing = (
                format_number(r[k], 2) for k in ("estimate", "low", "high", "nothing")
            )
            unit = r["unit"]
        values = [f"{estimate} ({low} to {high})", nothing, unit, str(r["datasets"])]
        rows.append([claim, f"**{r['verdict']}**", *values])
    head = ["rule", "verdict", "estimate (95 %)", "if nothing", "unit", "datasets"]
    return table(head, rows, texts=2)


def _agreement(found: Insights) -> str:
    pairs, noisy = (found.tables[name].to_dict("records") for name in ("agreement", "noise"))
    rows = [
        [
            f"{r['proxy']} for {r['target']}",
            str(r["datasets"]),
            _se(r, "spearman"),
            _se(r, "kendall"),
            format_number(r["disattenuated"], 2),
            format_number(r["disattenuated_seeds"], 2),
        ]
        for r in pairs
    ]
    rows += [
        [
            f"{r['model']} with other seeds",
            str(r["datasets"]),
            _se(r, "spearman"),
            _se(r, "kendall"),
            format_number(None),
            format_number(None),
        ]
        for r in noisy
    ]
    spearman, kendall = (f"{REFERENCE[name]:.2f}" for name in ("spearman", "kendall"))
    if rows:
        dash = format_number(None)
        rows.append(["JF-HPO's proxy, as reported", dash, spearman, kendall, dash, dash])
    head = ["", "datasets", "Spearman", "Kendall", "without evaluation noise", "without seed noise"]
    return table(head, rows)


def _regret(found: Insights) -> str:
    pairs = found.tables["agreement"]
    tops = [str(c).removeprefix("regret") for c in pairs if re.fullmatch(r"regret\d+", str(c))]
    head = [""]
    for k in tops:
        head += [f"regret@{k}", f"of {k} at random", f"overlap@{k}"]
    rows = [
        [f"{r['proxy']} for {r['target']}"]
        + [_se(r, f"{name}{k}") for k in tops for name in ("regret", "random", "overlap")]
        for r in pairs.to_dict("records")
    ]
    return table(head, rows)


def _noise(found: Insights) -> str:
    rows = found.tables["noise"].to_dict("records")
    return table(
        ["model", "datasets", "trials", "sd between seeds", "of it evaluation, %",
         "share of all variance, %", "ICC"],
        (
            [
                r["model"],
                str(r["datasets"]),
                str(r["trials"]),
                _se(r, "seed_sd", digits=4),
                f"{100 * r['evaluation_share']:.0f}",
                _se(r, "noise_share", 100, 0),
                _se(r, "icc"),
            ]
            for r in rows
        ),
    )  # fmt: skip


def _se(row: Mapping[Any, Any], name: str, scale: float = 1.0, digits: int = 2) -> str:
    """A mean and its standard error, where there is one."""
    value, se = scale * float(row[name]), scale * float(row[f"{name}_se"])
    text = format_number(value, digits)
    return text if pd.isna(se) else f"{text} ± {format_number(se, digits)}"
