"""Serves the reports of a workspace's runs to a browser, and nothing else.

python -m flows.reports 4201 127.0.0.1     # until its parent ends; `autopipe ui` starts it
"""

from __future__ import annotations

import html
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tasks.paths import runs_folder
from trials.watchdog import end_with_supervisor

REPORT = "report.html"


class Reports(BaseHTTPRequestHandler):
    """``/`` lists the reports, ``/<run>/report.html`` is one. A run is named, never a path."""

    server_version, sys_version = "AutoPipe", ""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        known = {file.parent.name: file for file in runs_folder().glob(f"*/{REPORT}")}
        named = re.fullmatch(rf"/([^/]+)/{re.escape(REPORT)}", path)
        if path == "/":
            self._answer(_listed(known).encode())
        elif named and named[1] in known:
            self._answer(known[named[1]].read_bytes())
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "no such report")

    def _answer(self, content: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the server of the pages."""


def _listed(reports: dict[str, Path]) -> str:
    lines = [
        f'<li><a href="/{quote(run, safe="")}/{REPORT}">{html.escape(run)}</a></li>'
        for run in sorted(reports)
    ]
    return f"<!doctype html><title>Reports</title><h1>Reports</h1><ul>{''.join(lines)}</ul>"


def serve(port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """A server that listens; ``serve_forever`` answers.

    Raises:
        OSError: the port is taken.
    """
    return ThreadingHTTPServer((host, port), Reports)


def main(port: int, host: str) -> None:
    """Serves until its parent is gone."""
    end_with_supervisor()
    serve(port, host).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
