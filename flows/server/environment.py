"""Environment of every flow: quiet, offline-friendly, and with Prefect's state in the workspace.

Only defaults are set: what the user has in the environment wins. Imported before Prefect.
"""

from __future__ import annotations

import os
import sys

from tasks.config.paths import workspace
from tasks.output.log_filters import escape_all_records
from trials.io.errors import FileError

REFUSED = 2  # exit code

DEFAULTS = {
    "PREFECT_HOME": str(workspace() / ".prefect"),
    # One that Prefect starts by itself would let every web page use it; ours checks who asks.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # 20 s, the default, is too short for the first start on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The command line shows errors itself, without Prefect's tracebacks around them.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_ROOT_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}


def configure() -> None:
    """Sets the defaults that are not set, and makes the workspace, which Prefect does not.

    What is logged from now on has no characters that a terminal acts on.

    Raises:
        FileError: the workspace cannot be made.
    """
    escape_all_records()
    try:
        workspace().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError("write", workspace(), error) from None
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def configure_script() -> None:
    """Calls `configure` for a script, and ends it with the reason if that fails."""
    try:
        configure()
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from None
