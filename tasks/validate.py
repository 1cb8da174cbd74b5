"""Great Expectations on the loaded dataset: what the loader cannot see in a single row."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.expectations import load_suite, run_suite, write_data_docs
from tasks.prepare import Inputs
from tasks.run_folder import RunFolder
from trials.dataset import Dataset
from trials.errors import DatasetError
from trials.records import write_json

SUITE = "dataset"
DOCS = "data_docs"


@task(cache_policy=NO_CACHE)
def validate_dataset(inputs: Inputs, run: RunFolder) -> None:
    """Validates the dataset; writes ``validation.json`` and Data Docs into the run folder.

    Raises:
        DatasetError: naming every expectation that failed, with what was observed.
    """
    frame = frame_of(inputs.dataset)
    results = check(frame)
    run.path.mkdir(parents=True, exist_ok=True)
    docs = write_data_docs(frame, load_suite(SUITE), run.path / DOCS)
    content = {"expectations": results, "data_docs": docs.relative_to(run.path).as_posix()}
    write_json(run.path / "validation.json", content)
    failed = [entry for entry in results if not entry["success"]]
    if failed:
        problems = "; ".join(f"{entry['expectation']}: {entry['observed']}" for entry in failed)
        raise DatasetError(
            problems,
            path=inputs.dataset.path,
            expected="distinct prompts with answers in every split (docs/datasets.md)",
        )


def frame_of(dataset: Dataset) -> pd.DataFrame:
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


def check(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs the suite ``data/expectations/dataset.json``; one entry for each expectation."""
    return [_entry(result) for result in run_suite(frame, load_suite(SUITE))]


def _entry(result: Any) -> dict[str, Any]:
    config = result.expectation_config
    return {
        "expectation": f"{config.type}({config.kwargs.get('column')})",
        "success": bool(result.success),
        "observed": _observed(result.result),
    }


def _observed(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        return f"observed {result['observed_value']}"
    return (
        f"{result.get('unexpected_count', 0)} of {result.get('element_count', 0)} rows unexpected, "
        f"e.g. {result.get('partial_unexpected_list', [])[:3]}"
    )
