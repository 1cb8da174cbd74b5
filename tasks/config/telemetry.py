"""Nobody is told what is run here: the telemetry of all libraries is off unless asked for."""

from __future__ import annotations

import os

OFF = {
    "DO_NOT_TRACK": "1",  # Prefect, Hugging Face and others
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
}


def switch_off() -> None:
    """For this process and all that it starts; what the environment says already wins."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
