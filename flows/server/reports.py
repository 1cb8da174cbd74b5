"""Serves the reports of a workspace's runs to a browser, and nothing else.

python -m flows.server.reports 4201 127.0.0.1     # until its parent ends; `autopipe ui` starts it
"""

from __future__ import annotations

import html
import sys
from pathlib import Path
from urllib.parse import quote

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from flows.server.origins import OwnPagesOnly
from tasks.config.paths import DATASET_DOCS, HISTORY_DOCS, runs_folder
from trials.io.watchdog import end_with_supervisor

REPORT, DOCS = "report.html", (DATASET_DOCS, HISTORY_DOCS)
HEADERS = {
    # The pages show what datasets hold; whatever that is, it must not act on Prefect's API.
    "Content-Security-Policy": "connect-src 'none'; form-action 'none'; object-src 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".gif": "image/gif",
    ".ico": "image/vnd.microsoft.icon",
    ".otf": "font/otf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def reports_app(host: str) -> ASGIApp:
    """``/`` lists the reports, ``/<run>/report.html`` is one, with the Data Docs that it links."""
    routes = [Route("/", _list_reports), Route("/{run}/{page:path}", _show_page)]
    return OwnPagesOnly(Router(routes, redirect_slashes=False), host)


def _list_reports(request: Request) -> Response:
    lines = [
        f'<li><a href="/{quote(run, safe="")}/{REPORT}">{html.escape(run)}</a></li>'
        for run in sorted(_reports())
    ]
    text = f"<!doctype html><title>Reports</title><h1>Reports</h1><ul>{''.join(lines)}</ul>"
    return Response(text, media_type="text/html", headers=HEADERS)


def _show_page(request: Request) -> Response:
    """A file of those that are there: an address is never made a path."""
    report = _reports().get(request.path_params["run"])
    file = _pages(report).get(request.path_params["page"]) if report else None
    if file is None:
        return Response("no such page", 404)
    return Response(file.read_bytes(), media_type=CONTENT_TYPES[file.suffix], headers=HEADERS)


def _reports() -> dict[str, Path]:
    return {file.parent.name: file for file in runs_folder().glob(f"*/{REPORT}")}


def _pages(report: Path) -> dict[str, Path]:
    """Files of a run that are served, by their path in the run's folder."""
    run = report.parent
    docs = [file for folder in DOCS for file in (run / folder).rglob("*") if file.is_file()]
    shown = [report, *(file for file in docs if file.suffix in CONTENT_TYPES)]
    return {file.relative_to(run).as_posix(): file for file in shown}


def main(port: int, host: str) -> None:
    """Serves until its parent is gone."""
    end_with_supervisor()
    uvicorn.run(reports_app(host), host=host, port=port, log_level="error", lifespan="off")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
