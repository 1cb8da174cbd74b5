"""Imports of the programs that AutoPipe starts: its own packages, and nobody's by accident.

Whoever works in a folder with a ``tasks.py`` or a ``random.py`` runs AutoPipe all the same. Code of
the user's own, as a reward, is imported when its name is given, from the end of the import path.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("autopipe", "flows", "tasks", "surrogates", "trials")


def child_environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a Python program that this one starts, and of all that it starts in turn.

    The folder where it starts is not on its import path, and what ``PYTHONPATH`` names comes after
    AutoPipe itself. ``own`` variables are set beside those of this process.
    """
    # An empty entry would be the current folder.
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    found = {"PYTHONSAFEPATH": "1"}
    # An installed AutoPipe is found as it was here, after the standard library.
    if given or (ROOT / "pyproject.toml").is_file():
        found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *given]))
    return {**os.environ, **found, **(own or {})}


def user_module(name: str) -> ModuleType:
    """Imports a module of the user's: installed, of ``PYTHONPATH``, or of the current folder.

    Raises:
        ImportError: there is none, or it has the name of a package of AutoPipe's.
    """
    if name.partition(".")[0] in PACKAGES:
        raise ImportError(f"{name} is a package of AutoPipe's own; give yours another name")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)
