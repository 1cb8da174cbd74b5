"""The environment that this process and its children need before libraries are imported."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path

from tasks.config.paths import workspace

HOME = ".home"  # in the workspace
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",  # Prefect, Hugging Face and others
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
}


def switch_off_telemetry() -> None:
    """Switches the telemetry of all libraries off, unless the environment says otherwise."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)


def ensure_home() -> None:
    """Sets HOME and USER where the machine knows neither, as in containers with `--user`.

    DVC, PyTorch, Hugging Face and Prefect ask for ``~`` and for the user's name, and raise where
    there is neither an environment variable nor an entry in the password database.
    """
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
