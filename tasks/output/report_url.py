"""Where reports are served to a browser: pages of http may not link to files."""

from __future__ import annotations

import os
from urllib.parse import quote

VARIABLE = "AUTOPIPE_REPORTS_URL"
PORT = 4201
DEFAULT = f"http://127.0.0.1:{PORT}"


def report_url(run_id: str) -> str:
    """The address of a run's report; ``autopipe ui`` serves those of its workspace there."""
    return f"{os.environ.get(VARIABLE, DEFAULT).rstrip('/')}/{quote(run_id, safe='')}/report.html"
