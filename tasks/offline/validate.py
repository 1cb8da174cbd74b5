"""Great Expectations on datasets and on the history: what no single row shows, and Data Docs.

A run validates what it is given; the step `validate` of the offline flow validates all that there
is, and hands on the rows that can be learned from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tasks.config.paths import DATASET_DOCS, HISTORY_DOCS, OfflineFolder
from tasks.config.progress import Report, silent
from tasks.config.steps import step
from tasks.history.checks import (
    QUARANTINE,
    quarantine_bad_rows,
    validation_batch,
    write_history_docs,
)
from tasks.history.checks import SUITE as HISTORY_SUITE
from tasks.history.expectations import Validate, data_docs, load_suite
from tasks.history.rows import history_files, read_history, write_parquet
from tasks.inputs.prepare import CheckedInputs
from tasks.runs.folder import RunFolder
from trials.data.dataset import Dataset, load_dataset
from trials.io.errors import AutoPipeError, DatasetError, SettingsError
from trials.spec.records import write_json

SUITE = "dataset"


@step
def validate_dataset(inputs: CheckedInputs, run: RunFolder) -> None:
    """Validates the dataset; writes ``validation.json`` and Data Docs into the run folder.

    Raises:
        DatasetError: naming every expectation that failed, with what was observed.
    """
    frame = dataset_frame(inputs.dataset)
    run.path.mkdir(parents=True, exist_ok=True)
    with data_docs(run.path / DATASET_DOCS) as validate:
        results = check(validate, SUITE, frame)
    content = {"expectations": results, "data_docs": f"{DATASET_DOCS}/index.html"}
    write_json(run.path / "validation.json", content)
    if problems := _problems(results):
        raise _refused(inputs.dataset, problems)


@step
def document_history(files: list[Path], run: RunFolder) -> Path | None:
    """Writes Data Docs of the history that a run learns from into its folder; None without one."""
    rows = read_history(files)
    return write_history_docs(rows, run.path / HISTORY_DOCS) if len(rows) else None


@step
def validate_all(
    built: Path, history: Path, output: OfflineFolder, report: Report = silent
) -> dict[str, dict[str, int]]:
    """Validates all built datasets and the whole history.

    Writes the good history rows, Data Docs and ``validation.json``, which is returned: for each
    suite the numbers of sources, of good rows and of those that went to the quarantine.

    Raises:
        AutoPipeError: datasets are bad; every one is named, and all pages are written.
        SettingsError: no datasets, no history, or no row of it is good.
    """
    folders = sorted(path for path in built.glob("*") if path.is_dir())
    if not folders:
        raise SettingsError(
            f"no datasets in {built}\n  build them: python -m flows.offline datasets"
        )
    refused, counted = [], 0
    with data_docs(output.data_docs) as validate:
        for number, path in enumerate(folders):
            report(path.name, number, len(folders) + 1)
            dataset = load_dataset(path)
            frame = dataset_frame(dataset)
            counted += len(frame)
            if problems := _problems(check(validate, f"dataset-{path.name}", frame)):
                refused.append(_refused(dataset, problems))
        report("history", len(folders), len(folders) + 1)
        files = require_history_files(history)
        rows = read_history(files)
        good, bad = quarantine_bad_rows(rows, history)
        if bad.empty:  # every row is good now, or gone
            (history / QUARANTINE / "read.parquet").unlink(missing_ok=True)
        validate(HISTORY_SUITE, *validation_batch(rows))
    if refused:
        raise AutoPipeError("\n".join(map(str, refused)))
    write_parquet(good, output.checked)
    found = {
        SUITE: {"checked": len(folders), "rows_good": counted, "rows_put_aside": 0},
        HISTORY_SUITE: {"checked": len(files), "rows_good": len(good), "rows_put_aside": len(bad)},
    }
    write_json(output.validation, found)
    return found


def require_history_files(folder: Path) -> list[Path]:
    """The files of a history; a SettingsError where there are none."""
    if files := history_files(folder):
        return files
    raise SettingsError(
        f"no *.parquet in {folder}: nothing to learn from\n"
        "  restore the bundled history with: git checkout data/history\n"
        "  or add runs with: autopipe collect"
    )


def _problems(results: list[dict[str, Any]]) -> str:
    failed = [entry for entry in results if not entry["success"]]
    return "; ".join(f"{entry['expectation']}: {entry['observed']}" for entry in failed)


def _refused(dataset: Dataset, problems: str) -> DatasetError:
    return DatasetError(
        problems,
        path=dataset.path,
        expected="distinct prompts with answers in every split (docs/datasets.md)",
    )


def dataset_frame(dataset: Dataset) -> pd.DataFrame:
    """One row for each example: split, prompt, completion, answer."""
    return pd.DataFrame(
        [
            {
                "split": split,
                "prompt": "\n".join(message["content"] for message in row.prompt),
                "completion": row.completion[-1]["content"],
                "answer": row.answer,
            }
            for split, rows in dataset.splits.items()
            for row in rows
        ]
    )


def check(validate: Validate, name: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs the suite ``data/expectations/dataset.json``; one entry for each expectation."""
    return [
        {
            "expectation": f"{config.type}({config.kwargs.get('column')})",
            "success": bool(result.success),
            "observed": _observed(result.result),
        }
        for result in validate(name, frame, load_suite(SUITE))
        for config in [result.expectation_config]
    ]


def _observed(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        return f"observed {result['observed_value']}"
    return (
        f"{result.get('unexpected_count', 0)} of {result.get('element_count', 0)} rows unexpected, "
        f"e.g. {result.get('partial_unexpected_list', [])[:3]}"
    )
