"""Great Expectations on the loaded dataset: what the loader cannot see in a single row."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.prepare import Inputs
from tasks.run_folder import RunFolder
from trials.dataset import Dataset
from trials.errors import DatasetError
from trials.records import write_json

LONGEST_PROMPT_CHARACTERS = 200_000
# A few repeated training prompts are harmless; a split made of copies is a mistake.
LEAST_DISTINCT_SHARE = 0.5
# The second one sets a level of its own when it is imported.
TALKATIVE = ("great_expectations", "great_expectations.data_context.types.base")


@task(cache_policy=NO_CACHE)
def validate_dataset(inputs: Inputs, run: RunFolder) -> None:
    """Validates the dataset and writes ``validation.json`` into the run folder.

    Raises:
        DatasetError: naming every expectation that failed, with what was observed.
    """
    results = check(frame_of(inputs.dataset))
    run.path.mkdir(parents=True, exist_ok=True)
    write_json(run.path / "validation.json", {"expectations": results})
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
    """Runs the suite on a frame; one entry for each expectation."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    expect = gx.expectations
    suite = gx.ExpectationSuite(
        name="dataset",
        expectations=[
            expect.ExpectColumnDistinctValuesToEqualSet(
                column="split", value_set=["train", "validation", "test"]
            ),
            expect.ExpectColumnValuesToNotBeNull(column="answer"),
            expect.ExpectColumnValueLengthsToBeBetween(
                column="prompt", min_value=1, max_value=LONGEST_PROMPT_CHARACTERS
            ),
            expect.ExpectColumnValueLengthsToBeBetween(column="completion", min_value=1),
            expect.ExpectColumnProportionOfUniqueValuesToBeBetween(
                column="prompt", min_value=LEAST_DISTINCT_SHARE
            ),
            expect.ExpectColumnUniqueValueCountToBeBetween(column="answer", min_value=2),
        ],
    )
    batch = (
        context.data_sources.add_pandas("pandas")
        .add_dataframe_asset("dataset")
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    return [_entry(result) for result in batch.validate(suite).results]


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
