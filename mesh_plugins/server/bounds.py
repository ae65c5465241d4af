"""What stands in front of the application: how much it reads, and how it reads a path."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mesh_plugins.server.problems import ProblemResponse, plain_problem

log = logging.getLogger(__name__)

#: Bytes of a request's body; the largest thing there is, an alias granted to 10,000 teams, fits.
MAX_BODY = 2 * 1024 * 1024
#: Seconds a body may take to arrive.
BODY_DEADLINE = 10.0

#: Stands for a slash inside a name until the route is found; no name may hold it.
_SLASH = "\0"


class Bounds:
    """Refuses a body that is too large or too slow, and lets no failure past."""

    def __init__(self, app: ASGIApp, *, max_body: int = MAX_BODY, deadline: float = BODY_DEADLINE) -> None:
        self._app = app
        self._max_body = max_body
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._announced(scope) > self._max_body:
            await ProblemResponse(plain_problem(413, self._too_large))(scope, receive, send)
            return
        scope["path"] = path_of(scope)
        try:
            await self._app(scope, self._bounded(receive), _careful(send))
        except Exception:
            # The application has answered and logged it; raised on, the server would print a trace, too.
            log.debug("a request failed", exc_info=True)

    @property
    def _too_large(self) -> str:
        return f"a body has at most {self._max_body} bytes"

    def _announced(self, scope: Scope) -> int:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    def _bounded(self, receive: Receive) -> Receive:
        read = 0
        ends = time.monotonic() + self._deadline
        whole = False

        async def bounded() -> Message:
            nonlocal read, whole
            if whole:
                return await receive()  # waits for the client to hang up
            try:
                async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not arrive in time") from None
            read += len(message.get("body", b""))
            if read > self._max_body:
                raise HTTPException(413, self._too_large)
            whole = not message.get("more_body", False)
            return message

        return bounded


def path_of(scope: Scope) -> str:
    """Return the path with slashes inside names marked: ``%2F`` is part of a name, ``/`` never is."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return str(scope["path"])
    parts = raw.decode("latin-1").replace("%2f", "%2F").split("%2F")
    return _SLASH.join(unquote(part, errors="replace") for part in parts)


def restored(name: Any) -> Any:
    """Return a name out of a path with its slashes."""
    return name.replace(_SLASH, "/") if isinstance(name, str) else name


def _careful(send: Send) -> Send:
    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            # Answers hold keys at the moment they are minted.
            extra = [(b"x-content-type-options", b"nosniff")]
            if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return careful
