"""What holds for every request litellm posts inside an attempt of ours, whichever vendor it speaks to.

- No redirect is followed: a cross-origin 307 would carry ``x-api-key`` along.
- The total deadline holds while nothing comes, and while a body drips in; litellm's timeout is for each
  read alone, and some of its ways lose it.
- What failed is not sent again: SDKs that litellm uses retry twice when they are told not to (its
  embeddings read 0 as unset), and there is one retry layer, which is ours.

litellm has dozens of ways to its vendors, most with a client of their own making. All that were tried end
in httpx's public ``send``, so that is where both are decided; all other traffic of the process stays as it
is. A GET is left alone: it fetches an image that a message names.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx

from mesh_store.model.forking import forkable_lock


@dataclass(slots=True)
class _Going:
    """An attempt that is on its way.

    Attributes:
        ends: monotonic time at which its total deadline passes.
        broken: how the connection to an address broke.
    """

    ends: float
    broken: dict[httpx.URL, httpx.TransportError] = field(default_factory=dict)


#: None outside of attempts.
_going: ContextVar[_Going | None] = ContextVar("mesh_litellm_attempt", default=None)
_lock = forkable_lock()
#: What stood in each class before, and what we put there.
_wrapped: dict[type, tuple[Callable[..., Any], Callable[..., Any]]] = {}


class attempt:  # noqa: N801 - reads as the word it is in a with statement
    """Hold to these rules in this task or thread, and in what it starts."""

    __slots__ = ("_timeout_s", "_token")

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        if not _wrapped:
            _wrap()
        self._token = _going.set(_Going(time.monotonic() + self._timeout_s))

    def __exit__(self, *_: object) -> None:
        _going.reset(self._token)


def restore() -> None:
    """Put httpx's functions back where ours are outermost; the next `attempt` wraps them again."""
    with _lock:
        for kind, (before, wrapper) in list(_wrapped.items()):
            if kind.send is wrapper:  # type: ignore[attr-defined]
                kind.send = before  # type: ignore[attr-defined]
                del _wrapped[kind]


def _wrap() -> None:
    with _lock:
        for kind, colour in ((httpx.Client, _governed), (httpx.AsyncClient, _agoverned)):
            if kind not in _wrapped:
                before: Callable[..., Any] = kind.send
                _wrapped[kind] = before, colour(before)
                kind.send = _wrapped[kind][1]  # type: ignore[method-assign]


def _governed(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    @functools.wraps(send)
    def wrapper(self: httpx.Client, request: httpx.Request, *, stream: bool = False, **kwargs: Any) -> Any:
        going = _going.get()
        if going is None or request.method == "GET":
            return send(self, request, stream=stream, **kwargs)
        ends = _begin(request, going)
        try:
            response = send(self, request, stream=True, **{**kwargs, "follow_redirects": False})
        except httpx.TransportError as error:
            going.broken[request.url] = error
            raise
        _end(response)
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Timed(response.stream, ends, request)
        if not stream:
            try:
                response.read()
            except BaseException as error:
                response.close()
                if isinstance(error, httpx.TransportError):
                    going.broken[request.url] = error
                raise
        return response

    return wrapper


def _agoverned(send: Callable[..., Any]) -> Callable[..., Any]:
    # Event loops can cut a task off, so for a whole body the deadline is kept where the call is awaited.
    @functools.wraps(send)
    async def wrapper(self: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> Any:
        going = _going.get()
        if going is None or request.method == "GET":
            return await send(self, request, **kwargs)
        ends = _begin(request, going)
        try:
            response = await send(self, request, **{**kwargs, "follow_redirects": False})
        except httpx.TransportError as error:
            going.broken[request.url] = error
            raise
        _end(response)
        if kwargs.get("stream") and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _AsyncTimed(response.stream, ends, request)
        return response

    return wrapper


def _begin(request: httpx.Request, going: _Going) -> float:
    """Let no phase of a request last longer than what is left of the total deadline, which is returned.

    Raises:
        TransportError: the same was sent in this attempt already, and the connection broke.
    """
    if (broken := going.broken.get(request.url)) is not None:
        raise broken
    left = max(0.001, going.ends - time.monotonic())
    phases = request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool"))
    bounded = {phase: left if given is None else min(given, left) for phase, given in phases.items()}
    request.extensions = {**request.extensions, "timeout": bounded}
    return going.ends


def _end(response: httpx.Response) -> None:
    """Tell the SDKs of OpenAI and Anthropic that an error is not worth another request."""
    if response.status_code >= 400:
        response.headers["x-should-retry"] = "false"


class _Timed(httpx.SyncByteStream):
    """A body that is read until a deadline."""

    def __init__(self, inner: httpx.SyncByteStream, ends: float, request: httpx.Request) -> None:
        self._inner, self._ends, self._request = inner, ends, request

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            if time.monotonic() > self._ends:
                raise httpx.ReadTimeout("the total deadline has passed", request=self._request)
            yield piece

    def close(self) -> None:
        self._inner.close()


class _AsyncTimed(httpx.AsyncByteStream):
    """Like `_Timed`, on the caller's event loop."""

    def __init__(self, inner: httpx.AsyncByteStream, ends: float, request: httpx.Request) -> None:
        self._inner, self._ends, self._request = inner, ends, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            if time.monotonic() > self._ends:
                raise httpx.ReadTimeout("the total deadline has passed", request=self._request)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
