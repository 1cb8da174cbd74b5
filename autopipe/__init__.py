"""The door for programs: ``from autopipe import Search, tune``.

Everything is imported on first use. Behind the door are the packages ``flows``, ``tasks``,
``surrogates`` and ``trials``; they are taken from where this package lies, so that a ``tasks.py``
beside a user's own program shadows nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.python_api import tune
    from surrogates.online.search import Search
    from trials.io.errors import AutoPipeError

__all__ = ["AutoPipeError", "Search", "tune"]

_HOME = {
    "AutoPipeError": "trials.io.errors",
    "Search": "surrogates.online.search",
    "tune": "flows.python_api",
}
_PACKAGES = ("trials", "surrogates", "tasks", "flows")  # none imports a later one


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    find_packages()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def find_packages() -> None:
    """Imports AutoPipe's packages from where this one lies, whatever the import path begins with.

    Raises:
        ImportError: a module of such a name, not AutoPipe's, was imported before.
    """
    root = Path(__file__).resolve().parents[1]
    for name in _PACKAGES:
        folder = root / name
        if (there := sys.modules.get(name)) is None:
            _import_from(folder)
        elif folder not in {Path(path).resolve() for path in getattr(there, "__path__", ())}:
            raise ImportError(
                f"AutoPipe needs the module name {name!r}, which {there!r} has already; import "
                "autopipe first, or give that module another name"
            )


def _import_from(folder: Path) -> None:
    spec = spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package at {folder}")
    module = sys.modules[folder.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[folder.name]
        raise
