"""Weights & Biases: CSV exports, one line per run, and the folders that it writes beside a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.importers.table import (
    check_columns,
    line_row,
    parse_line,
    score_column,
    unused_columns_note,
)
from tasks.importers.unsupported import reject_chart
from tasks.translation.cells import is_field, parse_cell
from tasks.translation.dialects import unwrap_wandb
from tasks.translation.files import Line, read_table
from tasks.translation.metrics import divergence_step
from tasks.translation.results import (
    CONFIG,
    ImportOptions,
    Items,
    Row,
    RowError,
    Score,
    with_content_id,
)
from tasks.translation.runs import RecordedRun, run_row
from tasks.translation.values import (
    finite_number,
    is_nonfinite,
    parse_literal,
    positive_number,
    read_mapping,
)

SUMMARY = "wandb-summary.json"
# Groups that W&B puts before names of arguments and values.
GROUPS = ("config.", "config/", "summary.", "summary/", "args/", "train/")


def read_wandb(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every line of an export of the runs' table, or every folder of a run.

    Columns given for fields (``--map``) precede what the arguments say.
    """
    if source.is_dir():
        for folder in run_folders(source):
            own = folder.parent if folder.name == "files" else folder
            item = own.name if own == source else own.relative_to(source).as_posix()
            yield item, partial(_folder_row, item, folder, options)
        return
    table = read_table(source)
    reject_chart(source, table.columns)
    check_columns(table, replace(options, ignore=frozenset()))  # it may name settings, too
    # Where columns under our names say all, the others are not read as arguments.
    if any(n.startswith(CONFIG) and is_field(n) for n in [*table.columns, *options.columns]):
        expected = options.ignore | {"ID", "Name", "State"}
        notes += unused_columns_note(table, replace(options, ignore=expected))
    seen: Counter[str] = Counter()

    def row(name: str, line: Line) -> tuple[Row, Score]:
        """The row of a line, under its id; names may repeat, so a hash is added to them."""
        row, score = _line_row(name, line, options)
        return (row if line.cells.get("ID") else with_content_id(row, seen)), score

    for line in table.lines:
        name = str(line.cells.get("ID") or line.cells.get("Name") or source.stem)
        yield f"{name}, {line.place}", partial(row, name, line)


def _line_row(name: str, line: Line, options: ImportOptions) -> tuple[Row, Score]:
    state = parse_cell("state", line.cells.get("State"))
    summary = {_without_group(column): value for column, value in line.cells.items()}
    if state == "failed" and divergence_step([summary]) is None:
        raise RowError(
            f"its state is {line.cells['State']}, and why is not recorded: it is imported only "
            "where its loss ends in NaN, as it diverged then; export the column train/loss, too"
        )
    own = parse_line(line, options)
    if "score" in own and any(column.startswith(CONFIG) for column in own):
        return line_row(name, own, options), score_column(options)  # the columns say all
    values = {
        _without_group(column): parse_literal(value)
        for column, value in line.cells.items()
        if column not in options.ignore
    }
    run = _run(name, values, own, interrupted=state == "stopped")
    if "score" not in own:
        return run_row(run, options)
    # A column that is mapped to the score is it, whatever its name is.
    run = replace(run, log=[{**run.log[0], "eval_score": own["score"]}])
    row, _ = run_row(run, replace(options, score="eval_score"))
    return row, score_column(options)


def _run(
    name: str, values: dict[str, Any], own: dict[str, Any], interrupted: bool = False
) -> RecordedRun:
    """A run whose log is its summary: the last value of everything."""
    step, planned = (positive_number(values.get(n)) for n in ("global_step", "max_steps"))
    if step is None and planned is not None and interrupted:
        raise RowError(
            "it ended early, and how far it came is not known: export train/global_step, too"
        )
    # W&B's own _step counts what was logged; a run that finished took all of its steps.
    step = step or planned or positive_number(values.get("_step")) or 1
    summary = {
        column: value
        for column, value in values.items()
        if finite_number(value) is not None or is_nonfinite(value) or isinstance(value, str)
    }
    runtime = values.get("train_runtime") or values.get("Runtime") or values.get("_runtime")
    log = [{**summary, "step": int(step), "train_runtime": runtime}]
    columns = {column: value for column, value in own.items() if column != "score"}
    columns["curve"] = ""  # one of a single point tells nothing
    return RecordedRun(name, values, log, interrupted=interrupted, values=columns)


def run_folders(source: Path) -> list[Path]:
    """Folders with the summary of a run, in a fixed order."""
    return sorted(file.parent for file in source.rglob(SUMMARY))


def _folder_row(item: str, folder: Path, options: ImportOptions) -> tuple[Row, Score]:
    """The row of a run, from its ``config.yaml`` and ``wandb-summary.json``."""
    config, shared = folder / "config.yaml", options.shared_arguments
    if not config.is_file() and not shared:
        raise RowError("its config.yaml is not beside its summary, nor was --config given")
    settings = unwrap_wandb(read_mapping(config)) if config.is_file() else {}
    summary = {_without_group(n): v for n, v in _flat(read_mapping(folder / SUMMARY)).items()}
    values = {n: v for n, v in (settings | summary).items() if n not in options.ignore}
    planned, step = ((values | shared).get(name) for name in ("max_steps", "global_step"))
    if positive_number(planned) and not positive_number(step):
        # Nothing in the folder says whether it finished.
        raise RowError("how far it came is not known: its summary has no train/global_step")
    return run_row(_run(item, values, {}), options)


def _flat(summary: dict[str, Any]) -> dict[str, Any]:
    """Values in groups under names with slashes; of a value with several summaries the last."""
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        if not isinstance(value, dict):
            flat[name] = value
        elif "last" in value or "value" in value:
            flat[name] = value.get("last", value.get("value"))
        else:
            flat |= {f"{name}/{part}": each for part, each in value.items()}
    return flat


def _without_group(name: str) -> str:
    """Names of transformers' arguments and values, without the groups that W&B puts them in."""
    for prefix in GROUPS:
        name = name.removeprefix(prefix)
    return name
