"""Output folders of TRL and transformers: ``trainer_state.json`` and the saved arguments.

``training_args.bin`` is a pickle, and reading one may run code, so it is never opened.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.translation.common import Imported, NoRowError, Target, number, read_mapping, with_nan
from tasks.translation.runs import Run, row_of

STATE = "trainer_state.json"
ARGUMENTS = (
    *("training_args.json", "training_args.yaml", "training_args.yml"),
    *("args.json", "args.yaml", "args.yml", "config.yaml", "config.yml"),
)
SAVE = 'json.dump(trainer.args.to_dict(), open("training_args.json", "w"))'


def import_trl(source: Path, target: Target) -> Imported:
    """Imports every run in a folder: an output folder itself, or folders below it."""
    shared = read_mapping(target.config) if target.config else None
    imported = Imported()
    for folder, state in sorted(run_folders(source).items()):
        item = "." if folder == source else folder.relative_to(source).as_posix()
        name = folder.name if item == "." else item
        imported.attempt(name, _row, (name, folder, state, shared), target, imported.metrics)
    return imported


def _row(
    run: tuple[str, Path, Path, dict[str, Any] | None],
    target: Target,
    metrics: Counter[tuple[str, float]],
) -> dict[str, Any]:
    return row_of(read_run(*run), target, metrics)


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


def read_run(item: str, folder: Path, state: Path, shared: dict[str, Any] | None = None) -> Run:
    """One run, from its folder and its newest ``trainer_state.json``.

    Raises:
        NoRowError: when its arguments were not saved in a form that can be read safely.
        SettingsError: when a file is broken.
    """
    content = _read_state(state)
    log = with_nan(each for each in content.get("log_history", []) if isinstance(each, dict))
    arguments = (_arguments((folder, state.parent)) or {}) | (shared or {})
    if not arguments:
        raise NoRowError(_no_arguments(folder, state.parent))
    # The best model was kept, and its metric, even where the log has no evaluation.
    best, metric = content.get("best_metric"), arguments.get("metric_for_best_model")
    if best is not None and metric and not any(_is_evaluation(entry) for entry in log):
        name = f"eval_{str(metric).removeprefix('eval_')}"
        log.append({"step": content.get("best_global_step") or content.get("global_step")})
        log[-1][name] = best
    totals = {"total_flos": content.get("total_flos"), "num_tokens": _tokens(content)}
    return Run(
        item=item,
        arguments=arguments,
        log=[totals, *log],
        reached=_whole("global_step", content),
        planned=_whole("max_steps", content),
        adapter=_adapter((folder, state.parent)),
    )


def _whole(name: str, content: dict[str, Any]) -> int | None:
    found = number(content.get(name))
    if found is None and content.get(name) is not None:
        raise NoRowError(f"{name}: expected a whole number, found {str(content[name])[:40]!r}")
    return None if found is None else int(found)


def _read_state(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoRowError(f"{file.name} cannot be read, perhaps half-written: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("log_history", []), list):
        raise NoRowError(f"{file.name} is not the state of a trainer")
    return content


def _arguments(folders: tuple[Path, ...]) -> dict[str, Any] | None:
    files = [folder / name for folder in folders for name in ARGUMENTS]
    found = next((file for file in files if file.is_file()), None)
    return None if found is None else read_mapping(found)


def _no_arguments(*folders: Path) -> str:
    expected = "expected training_args.json or args.yaml beside it, or --config FILE"
    if any((folder / "training_args.bin").exists() for folder in folders):
        return (
            "incomplete: training_args.bin is a pickle, which may run code when it is opened, and "
            f"is not read; {expected} (save it with: {SAVE})"
        )
    return f"incomplete: no arguments were saved; {expected}"


def _adapter(folders: tuple[Path, ...]) -> dict[str, Any] | None:
    files = [folder / "adapter_config.json" for folder in folders]
    found = next((file for file in files if file.is_file()), None)
    return None if found is None else read_mapping(found)


def _tokens(content: dict[str, Any]) -> Any:
    return content.get("num_input_tokens_seen")


def _is_evaluation(entry: dict[str, Any]) -> bool:
    return any(name.startswith("eval") for name in entry)
