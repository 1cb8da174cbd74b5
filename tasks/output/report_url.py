"""Address of served reports: pages of http may not link to files."""

from __future__ import annotations

import os
from urllib.parse import quote

REPORTS_URL_VARIABLE = "AUTOPIPE_REPORTS_URL"
REPORTS_PORT = 4201
DEFAULT_REPORTS_URL = f"http://127.0.0.1:{REPORTS_PORT}"


def report_url(run_id: str) -> str:
    """The address of a run's report; ``autopipe ui`` serves those of its workspace there."""
    base = os.environ.get(REPORTS_URL_VARIABLE, DEFAULT_REPORTS_URL).rstrip("/")
    return f"{base}/{quote(run_id, safe='')}/report.html"
