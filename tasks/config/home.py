"""A home and a name for users that the machine does not know, as of containers with `--user`.

DVC, PyTorch, Hugging Face and Prefect ask for ``~`` and for the user's name, and raise where there
is neither an environment variable nor an entry in the password database.
"""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path

from tasks.config.paths import workspace

HOME = ".home"  # in the workspace


def settle_in() -> None:
    """Sets HOME and USER for this process and its children where they cannot be told."""
    try:
        known = Path.home().is_dir()
    except (RuntimeError, KeyError, OSError):
        known = False
    if not known:
        home = workspace() / HOME
        with suppress(OSError):  # whoever needs it says so
            home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = os.environ["LOGNAME"] = f"uid-{os.getuid()}"
