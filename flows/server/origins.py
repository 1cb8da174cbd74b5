"""Access to AutoPipe's servers: for programs and its own pages, never for another site's script.

A browser sends what a page of any site asks for, also to the loopback interface. ``Origin`` names
the site that the script came from, ``Host`` the name that the address was looked up under: another
site's own after DNS rebinding. Programs such as Prefect's client send no ``Origin``.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

VARIABLE = "AUTOPIPE_ALLOWED_HOSTS"  # names, comma-separated, of a proxy in front of a server
UI_ADDRESS_VARIABLES = ("PREFECT_SERVER_UI_API_URL", "PREFECT_UI_API_URL")
POLICY_VIOLATION = 1008  # of WebSocket's close codes
DEFAULT_PORTS = {"http": 80, "https": 443}


def names_of(host: str) -> frozenset[str]:
    """Names under which a server that listens on ``host`` may be called, besides IP addresses."""
    # The second is what Prefect's Docker worker calls its machine inside a container.
    names = {"localhost", "host.docker.internal", host, *named_in_environment()}
    if not is_loopback(host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower() for name in names)


def named_in_environment() -> frozenset[str]:
    """Further names, under which a proxy hands requests on."""
    names = os.environ.get(VARIABLE, "").lower().split(",")
    return frozenset(filter(None, map(str.strip, names)))


def in_url(host: str) -> str:
    """A name or address to listen on as URLs write it; this machine's name where it is any."""
    if host in ("0.0.0.0", "::"):
        return socket.getfqdn()
    return f"[{host}]" if ":" in host else host


def is_ours(host: str | None, names: Collection[str]) -> bool:
    """True if a ``Host`` header has an IP address, which nobody rebinds, or one of the names."""
    if not host:
        return False
    name = _name_and_port(f"http://{host}")
    return name is not None and (name[0] in names or _is_address(name[0]))


def is_same_origin(origin: str, host: str, names: Collection[str] = ()) -> bool:
    """True if an ``Origin`` is that of the server's own pages, or of a proxy of such a name.

    ``null`` is nobody's own; ``host`` is the ``Host`` header of the same request.
    """
    scheme = origin.partition("://")[0]
    ours, theirs = _name_and_port(f"{scheme}://{host}"), _name_and_port(origin)
    return theirs is not None and (theirs == ours or theirs[0] in names)


class OwnPagesOnly:
    """ASGI middleware that refuses whatever another site's page sends, WebSockets included.

    Prefect's pages are told that the API is where they themselves came from, so that they work
    under each of the server's names; ``host`` is what it listens on.
    """

    def __init__(self, app: ASGIApp, host: str):
        self._app, self._names, self._proxies = app, names_of(host), named_in_environment()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if problem := self._problem(scope):
            refusal: ASGIApp = JSONResponse({"detail": problem}, HTTPStatus.FORBIDDEN)
            if scope["type"] == "websocket":  # closed before it is accepted: the server answers 403
                refusal = WebSocketClose(POLICY_VIOLATION, problem)
            await refusal(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].endswith("/ui-settings"):
            await self._tell_address(scope, receive, send)
        else:
            await self._app(scope, receive, _unframed(send) if scope["type"] == "http" else send)

    def _problem(self, scope: Scope) -> str | None:
        hosts, origins = (Headers(scope=scope).getlist(name) for name in ("host", "origin"))
        host = hosts[0] if len(hosts) == 1 else None
        if host is None or not is_ours(host, self._names):
            return (
                f"this server is not known as {host!r}; if it is, add the name to {VARIABLE} "
                "in the environment of the server"
            )
        if any(not is_same_origin(origin, host, self._proxies) for origin in origins):
            return "pages of other sites may not use this server"
        return None

    async def _tell_address(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers Prefect's question for its settings with the address that was asked."""
        if any(os.environ.get(name) for name in UI_ADDRESS_VARIABLES):  # named by who serves it
            await self._app(scope, receive, send)
            return
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app({**scope, "headers": plain}, receive, keep)
        start, *parts = answer
        body = b"".join(part.get("body", b"") for part in parts)
        body = _with_address(body, f"{scope['scheme']}://{Headers(scope=scope)['host']}")
        MutableHeaders(scope=start)["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _with_address(body: bytes, origin: str) -> bytes:
    try:
        settings = json.loads(body)
    except ValueError:  # an error's text
        return body
    if not isinstance(settings, dict) or not isinstance(settings.get("api_url"), str):
        return body
    settings["api_url"] = origin + urlsplit(settings["api_url"]).path
    return json.dumps(settings).encode()


def _unframed(send: Send) -> Send:
    """No other site shows these pages in a frame, where people would click what they do not see."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            policy = (b"content-security-policy", b"frame-ancestors 'none'")
            message["headers"] = [*message.get("headers", []), policy]
        await send(message)

    return sending


def _name_and_port(url: str) -> tuple[str, int | None] | None:
    """Name and port of an address, the port of its scheme where it has none; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return (parts.hostname.rstrip("."), port) if parts.hostname and plain else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """True if only this machine reaches a server that listens there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
