"""Great Expectations, with suites that are files: run on a frame, and shown as Data Docs."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.config.paths import DATA
from tasks.config.replace import refuse_others
from trials.io.errors import SettingsError

EXPECTATIONS = DATA / "expectations"
MAX_SHOWN = 300  # characters of a value on a page
ROW = "row"  # column that numbers the rows of a frame, so that unexpected ones can be named
# The second one sets a level of its own when it is imported.
NOISY_LOGGERS = ("great_expectations", "great_expectations.data_context.types.base")


def load_suite(name: str, only: Callable[[str], bool] = lambda kind: True) -> Any:
    """The committed suite ``dataset`` or ``history``, with the expectations that ``only`` keeps.

    Raises:
        SettingsError: when the file is missing or not a suite.
    """
    import great_expectations as gx

    file = EXPECTATIONS / f"{name}.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kept = [each for each in content["expectations"] if only(each["type"])]
        return gx.ExpectationSuite(name=content["name"], expectations=kept, meta=content["meta"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{file} is not a suite of Great Expectations: {error!r}\n"
            f"  restore it with: git checkout data/expectations/{name}.json"
        ) from None


def run_suite(frame: pd.DataFrame, suite: Any) -> list[Any]:
    """The result of every expectation; unexpected rows are named by the column ``row``."""
    context = _context(mode="ephemeral")
    batch = _definition(context, suite.name).get_batch(batch_parameters={"dataframe": frame})
    named = {"result_format": "COMPLETE", "unexpected_index_column_names": [ROW]}
    return list(batch.validate(suite, result_format=named).results)


def unexpected_rows(result: Any) -> list[int]:
    """Values of the column ``row`` of what an expectation on single rows did not expect.

    Raises:
        SettingsError: when the expectation could not be computed, so that nothing passes unseen.
    """
    if not result.result and not result.success:
        kind = result.expectation_config.type
        raise SettingsError(
            f"{kind} on {result.expectation_config.kwargs.get('column')} could not be computed: "
            f"{result.exception_info}"
        )
    return [int(entry[ROW]) for entry in result.result.get("unexpected_index_list") or []]


Validate = Callable[[str, pd.DataFrame, Any], list[Any]]
"""Runs a suite (see ``load_suite``) on a frame, under a name; returns all expectations' results."""


@contextmanager
def data_docs(folder: Path) -> Iterator[Validate]:
    """Runs suites; unless there was an error, Data Docs on them then replace the folder.

    Great Expectations writes values into its pages as they are, so they are escaped in what the
    pages are made of: nothing of the data is markup there.
    """
    with tempfile.TemporaryDirectory() as place:
        context = _context(mode="file", project_root_dir=place)
        yield partial(_validate, context)
        for outcome in Path(place).rglob("uncommitted/validations/**/*.json"):
            _escape(outcome)
        context.build_data_docs()
        [index] = Path(place).rglob("local_site/index.html")
        refuse_others(folder, {path.name for path in index.parent.iterdir()})
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(index.parent, folder)


def _validate(context: Any, name: str, frame: pd.DataFrame, suite: Any) -> list[Any]:
    import great_expectations as gx

    name = re.sub(r"[^\w.-]", "_", name)  # it becomes a part of paths and of pages
    suite = context.suites.add_or_update(suite)
    definition = gx.ValidationDefinition(name=name, data=_definition(context, name), suite=suite)
    definition = context.validation_definitions.add_or_update(definition)
    # The run is kept in the context's store, which the pages are made of.
    return list(definition.run(batch_parameters={"dataframe": frame}).results)


def _escape(outcome: Path) -> None:
    """Escapes and shortens what an outcome quotes of the data."""
    content = json.loads(outcome.read_text(encoding="utf-8"))
    for result in content["results"]:
        for part in ("result", "exception_info"):
            result[part] = _harmless(result.get(part))
    outcome.write_text(json.dumps(content), encoding="utf-8")


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]} ..."
        # A dollar sign begins a variable in the templates of the pages.
        return escape(shown).replace("$", "&#36;")
    if isinstance(value, list):
        return [_harmless(each) for each in value]
    if isinstance(value, dict):
        return {name: _harmless(each) for name, each in value.items()}
    return value


def _context(**options: Any) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(**options)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _definition(context: Any, name: str) -> Any:
    source = context.data_sources.add_or_update_pandas("pandas")
    return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
