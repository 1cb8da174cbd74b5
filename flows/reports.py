"""Serves the reports of a workspace's runs to a browser, and nothing else.

python -m flows.reports 4201 127.0.0.1     # until its parent ends; `autopipe ui` starts it
"""

from __future__ import annotations

import html
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from flows.origins import is_ours, names_of
from tasks.config.paths import DATASET_DOCS, HISTORY_DOCS, runs_folder
from trials.io.watchdog import end_with_supervisor

REPORT, DOCS = "report.html", (DATASET_DOCS, HISTORY_DOCS)
HTML = "text/html; charset=utf-8"
POLICY = (
    "connect-src 'none'; form-action 'none'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
CONTENT_TYPES = {
    ".html": HTML,
    ".css": "text/css",
    ".gif": "image/gif",
    ".ico": "image/vnd.microsoft.icon",
    ".otf": "font/otf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class Reports(BaseHTTPRequestHandler):
    """``/`` lists the reports, ``/<run>/report.html`` is one, with the Data Docs that it links to.

    Files are looked up among those that are there: an address is never made a path.
    """

    server: Server
    server_version, sys_version = "AutoPipe", ""

    def do_GET(self) -> None:
        if not is_ours(self.headers["Host"], self.server.names):
            self.send_error(HTTPStatus.FORBIDDEN, "this server is not called that")
            return
        path = unquote(urlsplit(self.path).path)
        reports = {file.parent.name: file for file in runs_folder().glob(f"*/{REPORT}")}
        _, run, page = [*path.split("/", 2), "", ""][:3]
        if path == "/":
            self._answer(_listed(reports).encode(), HTML)
        elif run in reports and (file := _pages(reports[run]).get(page)):
            self._answer(file.read_bytes(), CONTENT_TYPES[file.suffix])
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "no such page")

    def _answer(self, content: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        # The pages show what datasets hold; whatever that is, it must not act on Prefect's API.
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the server of the pages."""


def _pages(report: Path) -> dict[str, Path]:
    """What is served of a run, by its path in the run's folder."""
    run = report.parent
    docs = [file for folder in DOCS for file in (run / folder).rglob("*") if file.is_file()]
    shown = [report, *(file for file in docs if file.suffix in CONTENT_TYPES)]
    return {file.relative_to(run).as_posix(): file for file in shown}


def _listed(reports: dict[str, Path]) -> str:
    lines = [
        f'<li><a href="/{quote(run, safe="")}/{REPORT}">{html.escape(run)}</a></li>'
        for run in sorted(reports)
    ]
    return f"<!doctype html><title>Reports</title><h1>Reports</h1><ul>{''.join(lines)}</ul>"


class Server(ThreadingHTTPServer):
    """Listens at once; ``serve_forever`` answers.

    Args:
        port: 0 takes a free one.
        host: to listen on.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, host: str = "127.0.0.1"):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.names = names_of(host)
        super().__init__((host, port), Reports)


def main(port: int, host: str) -> None:
    """Serves until its parent is gone."""
    end_with_supervisor()
    try:
        server = Server(port, host)
    except OSError as error:  # taken since `autopipe ui` looked
        sys.exit(f"the reports cannot be served on port {port}: {error.strerror or error}")
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
