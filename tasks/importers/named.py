"""What a source is that is not imported, why not, and what would work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from tasks.translation.common import read_mapping
from tasks.translation.dialects import LLAMA_FACTORY_STAGES, dialect_of, unwrapped
from trials.io.errors import SettingsError

SQLITE = b"SQLite format 3\x00"
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")
SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
CHART_AXES = (
    *("Step", "step", "_step", "global_step", "train/global_step", "epoch", "_runtime"),
    *("Relative Time (Process)", "Relative Time (Wall)", "Wall Time", "_timestamp"),
)
MIN, MAX = "__MIN", "__MAX"  # at the ends of series


def chart_of(columns: Sequence[str]) -> list[str]:
    """The series of a chart exported from Weights & Biases; none for any other table."""
    named = [name for name in columns[1:] if " - " in name]
    if not named or len(named) < len(columns) - 1 or " - " in columns[0]:
        return []
    # The axis may be any value that was logged; then the series, and their ends, tell.
    metrics = {name.rpartition(" - ")[2].removesuffix(MIN).removesuffix(MAX) for name in named}
    known = columns[0] in CHART_AXES or len(metrics) == 1
    return named if known or any(name.endswith(MIN) for name in named) else []


def refuse_chart(source: Path, columns: Sequence[str]) -> None:
    """Refuses a chart or curve, which has values by step and no settings.

    Raises:
        SettingsError: it is one.
    """
    if {"Wall time", "Step", "Value"} == set(columns):
        raise SettingsError(
            f"{source} is a curve exported from TensorBoard, which has no settings of its run, so "
            "it is not imported\n  import the run's output folder (trainer_state.json), or a table "
            "of its results"
        )
    if series := chart_of(columns):
        raise SettingsError(
            f"{source} is a chart exported from Weights & Biases: {series[0]!r} by "
            f"{columns[0]}. A chart has no settings of its runs, so it is not imported\n"
            "  export the table of runs instead (Runs, then Download, then CSV), or import the "
            "folder wandb/run-* of a run"
        )


def tables_of(source: Path) -> set[str]:
    """Names of the tables of an SQLite database; none for any other file."""
    try:
        with source.open("rb") as stream:
            if stream.read(len(SQLITE)) != SQLITE:
                return set()
        with sqlite3.connect(read_only(source), uri=True) as base:
            rows = base.execute("select name from sqlite_master where type = 'table'").fetchall()
        return {str(name) for (name,) in rows}
    except (OSError, sqlite3.Error):
        return set()


def read_only(source: Path) -> str:
    """The address under which SQLite opens a file and writes nothing."""
    return f"file:{quote(str(source.resolve()))}?mode=ro"


def what_it_is(source: Path) -> str | None:
    """A sentence on a source that no importer reads; None where it is nothing that is known."""
    if source.is_dir():
        return _folder(source)
    suffix = source.suffix.lower()
    if tables := tables_of(source):
        if {"studies", "trials"} <= tables:
            return (
                "an Optuna storage, which is not read itself: write its trials to a table with "
                'study.trials_dataframe().to_csv("study.csv"), and import that'
            )
        return f"an SQLite database with the tables {_some(tables)}, which are not those of MLflow"
    if suffix in PICKLES:
        return "a pickle, or may be one: opening it may run code, so it is never read"
    if suffix in SHEETS:
        return "a spreadsheet: save it as CSV UTF-8, and import that"
    if suffix == ".wandb":
        return (
            "the record of a run of Weights & Biases in its own binary form: import the folder "
            "files/ beside it (config.yaml and wandb-summary.json), or a CSV export of the runs"
        )
    if source.name.startswith("events.out.tfevents"):
        return _TENSORBOARD
    if suffix in (".yaml", ".yml", ".json"):
        return _settings(source)
    return None


_TENSORBOARD = (
    "a log of TensorBoard: curves without the settings of the run, so it is not imported; import "
    "the run's output folder (trainer_state.json), or a table of its results"
)


def _settings(source: Path) -> str | None:
    try:
        found = unwrapped(read_mapping(source))
    except SettingsError:
        return None
    kind = dialect_of(found)
    if kind == "LLaMA-Factory":
        stage = str(found.get("stage") or "sft")
        return (
            f"a LLaMA-Factory file of stage {stage} "
            f"({LLAMA_FACTORY_STAGES.get(stage, 'unknown')}): the settings of a run and not its "
            f"outcome. Import its output_dir{_told(found.get('output_dir'))} with --config {source}"
        )
    if kind == "Axolotl":
        return (
            "an Axolotl file: the settings of a run and not its outcome. Import its "
            f"output_dir{_told(found.get('output_dir'))} with --config {source}"
        )
    if {"learning_rate", "per_device_train_batch_size"} & set(found):
        return (
            "a file of settings, without the outcome of a run: import the run's output folder, "
            f"with --config {source}"
        )
    return None


def _folder(source: Path) -> str | None:
    if next(source.rglob("events.out.tfevents*"), None):
        return f"a folder with {_TENSORBOARD}"
    if next(source.rglob("*.wandb"), None):
        return (
            "a folder of Weights & Biases whose runs have no files/wandb-summary.json, as runs "
            "that were offline or died have none: sync them (wandb sync), then export the runs"
        )
    if next(source.rglob("adapter_config.json"), None) or next(source.rglob("*.safetensors"), None):
        return "a folder of a model without the trainer_state.json of its training"
    return None


def _told(folder: object) -> str:
    return f" ({str(folder)[:100]})" if folder else ""


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(name[:40] for name in names)[:8])
