"""Sources that are not imported: a name for each, the reason, and what to import instead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from tasks.translation.dialects import LLAMA_FACTORY_STAGES, detect_dialect, unwrap_wandb
from tasks.translation.values import read_mapping
from trials.io.errors import SettingsError

SQLITE = b"SQLite format 3\x00"
CHART_AXES = (
    *("Step", "step", "_step", "global_step", "train/global_step", "epoch", "_runtime"),
    *("Relative Time (Process)", "Relative Time (Wall)", "Wall Time", "_timestamp"),
)
MIN, MAX = "__MIN", "__MAX"  # at the ends of series
PICKLE = "a pickle, or may be one: opening it may run code, so it is never read"
SPREADSHEET = "a spreadsheet: save it as CSV UTF-8, and import that"
TENSORBOARD = (
    "a log of TensorBoard: curves without the settings of the run, so it is not imported; import "
    "the run's output folder (trainer_state.json), or a table of its results"
)
BY_SUFFIX = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"), PICKLE),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), SPREADSHEET),
    ".wandb": (
        "the record of a run of Weights & Biases in its own binary form: import the folder "
        "files/ beside it (config.yaml and wandb-summary.json), or a CSV export of the runs"
    ),
}
MODEL = "a folder of a model without the trainer_state.json of its training"
# Folders by a file that is somewhere in them; the first that fits counts.
BY_CONTENT = {
    "events.out.tfevents*": f"a folder with {TENSORBOARD}",
    "*.wandb": (
        "a folder of Weights & Biases whose runs have no files/wandb-summary.json, as runs "
        "that were offline or died have none: sync them (wandb sync), then export the runs"
    ),
    "adapter_config.json": MODEL,
    "*.safetensors": MODEL,
}


def chart_series(columns: Sequence[str]) -> list[str]:
    """The series of a chart exported from Weights & Biases; none for any other table."""
    named = [name for name in columns[1:] if " - " in name]
    if not named or len(named) < len(columns) - 1 or " - " in columns[0]:
        return []
    # The axis may be any value that was logged; then the series, and their ends, tell.
    metrics = {name.rpartition(" - ")[2].removesuffix(MIN).removesuffix(MAX) for name in named}
    known = columns[0] in CHART_AXES or len(metrics) == 1
    return named if known or any(name.endswith(MIN) for name in named) else []


def reject_chart(source: Path, columns: Sequence[str]) -> None:
    """Refuses, with a SettingsError, a chart or curve: it has values by step and no settings."""
    if {"Wall time", "Step", "Value"} == set(columns):
        raise SettingsError(
            f"{source} is a curve exported from TensorBoard, without the settings of its run\n"
            "  import the run's output folder (trainer_state.json), or a table of its results"
        )
    if series := chart_series(columns):
        raise SettingsError(
            f"{source} is a chart exported from Weights & Biases: {series[0]!r} by "
            f"{columns[0]}. A chart has no settings of its runs, so it is not imported\n"
            "  export the table of runs instead (Runs, then Download, then CSV), or import the "
            "folder wandb/run-* of a run"
        )


def sqlite_tables(source: Path) -> set[str]:
    """Names of the tables of an SQLite database; none for any other file."""
    try:
        with source.open("rb") as stream:
            if stream.read(len(SQLITE)) != SQLITE:
                return set()
        with sqlite3.connect(read_only_uri(source), uri=True) as base:
            rows = base.execute("select name from sqlite_master where type = 'table'").fetchall()
        return {str(name) for (name,) in rows}
    except (OSError, sqlite3.Error):
        return set()


def read_only_uri(source: Path) -> str:
    """The address under which SQLite opens a file and writes nothing."""
    return f"file:{quote(str(source.resolve()))}?mode=ro"


def describe_unsupported(source: Path) -> str | None:
    """A sentence on a source that no importer reads; None for an unknown one."""
    if source.is_dir():
        texts = (text for name, text in BY_CONTENT.items() if next(source.rglob(name), None))
        return next(texts, None)
    suffix = source.suffix.lower()
    if tables := sqlite_tables(source):
        return _describe_database(tables)
    if suffix in BY_SUFFIX:
        return BY_SUFFIX[suffix]
    if source.name.startswith("events.out.tfevents"):
        return TENSORBOARD
    return _describe_settings(source) if suffix in (".yaml", ".yml", ".json") else None


def _describe_database(tables: Iterable[str]) -> str:
    if {"studies", "trials"} <= set(tables):
        return (
            "an Optuna storage, which is not read itself: write its trials to a table with "
            'study.trials_dataframe().to_csv("study.csv"), and import that'
        )
    names = ", ".join(sorted(name[:40] for name in tables)[:8])
    return f"an SQLite database with the tables {names}, which are not those of MLflow"


def _describe_settings(source: Path) -> str | None:
    try:
        settings = unwrap_wandb(read_mapping(source))
    except SettingsError:
        return None
    output = f" ({str(folder)[:100]})" if (folder := settings.get("output_dir")) else ""
    advice = f"and not its outcome. Import its output_dir{output} with --config {source}"
    match detect_dialect(settings):
        case "LLaMA-Factory":
            stage = str(settings.get("stage") or "sft")
            kind = LLAMA_FACTORY_STAGES.get(stage, "unknown")
            return f"a LLaMA-Factory file of stage {stage} ({kind}): the settings of a run {advice}"
        case "Axolotl":
            return f"an Axolotl file: the settings of a run {advice}"
    if {"learning_rate", "per_device_train_batch_size"} & set(settings):
        return (
            "a file of settings, without the outcome of a run: import the run's output folder, "
            f"with --config {source}"
        )
    return None
