"""Output folders of TRL and transformers: ``trainer_state.json`` and the saved arguments.

``training_args.bin`` is a pickle, and reading one may run code, so it is never opened.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from tasks.translation.metrics import null_to_nan
from tasks.translation.results import ImportOptions, Items, Row, RowError, Score
from tasks.translation.runs import RecordedRun, run_row
from tasks.translation.values import finite_number, read_mapping

STATE = "trainer_state.json"
ARGUMENTS = (
    *("training_args.json", "training_args.yaml", "training_args.yml"),
    *("args.json", "args.yaml", "args.yml", "config.yaml", "config.yml"),
)
SAVE = 'json.dump(trainer.args.to_dict(), open("training_args.json", "w"))'


def read_trl(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every run in a folder: an output folder itself, or folders below it."""
    for folder, state in sorted(run_folders(source).items()):
        name = folder.name if folder == source else folder.relative_to(source).as_posix()
        yield name, partial(_row, name, folder, state, options)


def run_folders(source: Path) -> dict[Path, Path]:
    """Output folders, each with its newest state: its own, or that of its last checkpoint."""
    states: dict[Path, list[tuple[float, Path]]] = {}
    for file in source.rglob(STATE):
        checkpoint = re.fullmatch(r"checkpoint-(\d+)", file.parent.name)
        inside = checkpoint is not None and file.parent != source
        folder = file.parent.parent if inside else file.parent
        age = float(checkpoint[1]) if checkpoint and inside else float("inf")
        states.setdefault(folder, []).append((age, file))
    return {folder: max(files)[1] for folder, files in states.items()}


def _row(item: str, folder: Path, state: Path, options: ImportOptions) -> tuple[Row, Score]:
    """The row of a run, from its folder and its newest ``trainer_state.json``."""
    content = _read_state(state)
    log = null_to_nan(each for each in content.get("log_history", []) if isinstance(each, dict))
    folders = (folder, state.parent)
    arguments = (_first_mapping(folders, *ARGUMENTS) or {}) | options.shared_arguments
    if not arguments:
        raise RowError(_no_arguments(folders))
    # The best model was kept, and its metric, even where the log has no evaluation.
    best, metric = content.get("best_metric"), arguments.get("metric_for_best_model")
    evaluated = any(name.startswith("eval") for entry in log for name in entry)
    if best is not None and metric and not evaluated:
        step = content.get("best_global_step") or content.get("global_step")
        log.append({"step": step, f"eval_{str(metric).removeprefix('eval_')}": best})
    tokens = content.get("num_input_tokens_seen")
    run = RecordedRun(
        item,
        arguments,
        [{"total_flos": content.get("total_flos"), "num_tokens": tokens}, *log],
        reached=_steps("global_step", content),
        planned=_steps("max_steps", content),
        adapter=_first_mapping(folders, "adapter_config.json"),
    )
    return run_row(run, options)


def _steps(name: str, content: dict[str, Any]) -> int | None:
    steps = finite_number(content.get(name))
    if steps is None and content.get(name) is not None:
        raise RowError(f"{name}: expected a whole number, found {str(content[name])[:40]!r}")
    return None if steps is None else int(steps)


def _read_state(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RowError(f"{file.name} cannot be read, perhaps half-written: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("log_history", []), list):
        raise RowError(f"{file.name} is not the state of a trainer")
    return content


def _first_mapping(folders: tuple[Path, ...], *names: str) -> dict[str, Any] | None:
    """The content of the first of some files that is there; None without any."""
    files = (folder / name for folder in folders for name in names)
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else read_mapping(file)


def _no_arguments(folders: tuple[Path, ...]) -> str:
    expected = "expected training_args.json or args.yaml beside it, or --config FILE"
    if any((folder / "training_args.bin").exists() for folder in folders):
        return (
            "incomplete: training_args.bin is a pickle, which may run code when it is opened, and "
            f"is not read; {expected} (save it with: {SAVE})"
        )
    return f"incomplete: no arguments were saved; {expected}"
