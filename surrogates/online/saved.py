"""The files of a saved search: JSON and CatBoost's own form, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from surrogates.core.base import OptionError, SurrogateError
from surrogates.offline.models import OfflineModels
from surrogates.space.axes import plain
from surrogates.space.options import Part

FORMAT = 2
STATE_FILE, OFFLINE = "search.json", "offline"


def write_state(folder: Path, state: Mapping[str, Any], offline: OfflineModels | None) -> None:
    """Write a search's state and its offline models; a reader sees the old state or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    if offline is not None:
        offline.save(folder / OFFLINE)
    payload = {"format": FORMAT, **state, "offline": offline is not None}
    partial = folder / (STATE_FILE + ".partial")
    partial.write_text(json.dumps(payload, indent=1, default=plain))
    os.replace(partial, folder / STATE_FILE)


def read_state(folder: Path, stages: bool) -> tuple[dict[str, Any], OfflineModels | None]:
    """Inverse of `write_state`; `stages`: whether the search is given some, for they are not saved.

    Raises:
        SurrogateError: The folder holds no search, or one of another format.
        OptionError: The search had stages and is given none, or the other way round.
    """
    try:
        state = json.loads((folder / STATE_FILE).read_text())
    except FileNotFoundError:
        raise SurrogateError(
            f"no search in {folder}: expected {STATE_FILE}. Write one with search.save(folder)."
        ) from None
    if state.get("format") != FORMAT:
        raise SurrogateError(
            f"{folder / STATE_FILE} has format {state.get('format')!r}, expected {FORMAT}."
        )
    if state.get("stages", False) != stages:
        raise OptionError(
            "this search was made without stages: Search.load(folder)"
            if stages
            else "this search was made with stages: Search.load(folder, stages=...)"
        )
    options = state["options"]
    parts = options.pop("without", options.get("ablate", ()))  # its earlier name
    options["ablate"] = [part for part in parts if part in get_args(Part)]
    return state, OfflineModels.load(folder / OFFLINE) if state["offline"] else None
