"""litellm's streams as ours: read along, judged at their end, closed when nobody reads them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import litellm

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.hosts.litellm.failures import incomplete
from mesh_plugins.hosts.litellm.reading import ChatReader, Reader


class Chunks:
    """Chunks of one litellm stream; see `mesh_plugins.core.ports.ProviderStream`."""

    def __init__(self, native: Any, reader: Reader, call: ProviderCall, *, mocked: bool = False) -> None:
        self.native, self._mocked = native, mocked
        self.reply = reader.reply
        self._reader, self._call, self._chunks = reader, call, iter(native)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._ended()
            raise
        self._reader.chunk(chunk)
        if self._reader.finished and not self._mocked and _invented(self.native):
            # Nothing more can come: reading on lets litellm tell the caller's callbacks of its end.
            for _ in self._chunks:
                pass
            self._reader.finished, self.reply.finish_reason = False, None
            self._ended()
        return chunk

    def close(self) -> None:
        """Close the connection."""
        for resource in _connections(self.native):
            with contextlib.suppress(Exception):
                resource.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if not self._reader.finished:
                self.close()

    def _ended(self) -> None:
        _read_held_back(self._reader, self.native)
        if not self._reader.finished:
            raise incomplete(self._call)


class AsyncChunks:
    """Like `Chunks`, on the caller's event loop."""

    def __init__(self, native: Any, reader: Reader, call: ProviderCall, *, mocked: bool = False) -> None:
        self.native, self._mocked = native, mocked
        self.reply = reader.reply
        self._reader, self._call, self._chunks = reader, call, aiter(native)
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._ended()
            raise
        self._reader.chunk(chunk)
        if self._reader.finished and not self._mocked and _invented(self.native):
            async for _ in self._chunks:
                pass
            self._reader.finished, self.reply.finish_reason = False, None
            self._ended()
        return chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await _aclosed(self.native)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # half made, or its loop is closed and its connections with it
            if not self._reader.finished:
                # The last reference may go away in any thread.
                self._loop.call_soon_threadsafe(_close_soon, self._loop, self.native)

    def _ended(self) -> None:
        _read_held_back(self._reader, self.native)
        if not self._reader.finished:
            raise incomplete(self._call)


#: Streams nobody reads any more, on their way out; their loops hold tasks weakly.
_closing: set[asyncio.Task[None]] = set()


def _close_soon(loop: asyncio.AbstractEventLoop, native: Any) -> None:
    task = loop.create_task(_aclosed(native))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _aclosed(native: Any) -> None:
    close = getattr(native, "aclose", None)
    if close is not None:
        await close()
        return
    for resource in _connections(native):
        with contextlib.suppress(Exception):
            closing = getattr(resource, "aclose", None) or resource.close
            pending = closing()
            if pending is not None:
                await pending


def fetched(native: Any) -> Any:
    """Return a stream whose request was sent: some of litellm's wait for the first read."""
    if getattr(native, "make_call", None) is not None and native.completion_stream is None:
        try:
            native.fetch_sync_stream()
        except Exception as error:
            raise _mapped(native, error) from error
    return native


async def afetched(native: Any) -> Any:
    """Like `fetched`, on the caller's event loop."""
    if getattr(native, "make_call", None) is not None and native.completion_stream is None:
        try:
            await native.fetch_stream()
        except Exception as error:
            raise _mapped(native, error) from error
    return native


def hide_usage(native: Any) -> None:
    """Give the caller the chunks it would have got without the usage we asked for."""
    wrapper = _wrapper(native)
    if wrapper is not None:
        wrapper.send_stream_usage = False  # litellm 1.83 drops the usage unless stream_options ask for it
        if native is not wrapper:
            native.stream_options = None


def _mapped(native: Any, error: Exception) -> Exception:
    """Name an exception as litellm would; its mapper raises the result."""
    try:
        litellm.exception_type(
            model=native.model, custom_llm_provider=native.custom_llm_provider, original_exception=error
        )
    except Exception as named:
        return named
    return error


def _invented(native: Any) -> bool:
    """Tell whether litellm made up the finish reason of a stream that just ended.

    It does for a provider that fell silent, and for replies out of its cache, which are whole.
    """
    wrapper = _wrapper(native)
    return (
        wrapper is not None
        and wrapper.received_finish_reason is None
        and wrapper.intermittent_finish_reason is None
        and wrapper.custom_llm_provider != "cached_response"
    )


def _read_held_back(reader: Reader, native: Any) -> None:
    if isinstance(reader, ChatReader):
        reader.held_back(getattr(_wrapper(native), "chunks", None) or ())


def _wrapper(native: Any) -> Any:
    """Return litellm's chat stream, which may lie inside one of text completions; or None."""
    if not isinstance(native, litellm.CustomStreamWrapper):
        native = getattr(native, "completion_stream", None)
    return native if isinstance(native, litellm.CustomStreamWrapper) else None


def _connections(native: Any) -> list[Any]:
    """Return what holds a connection beneath a stream, outermost first."""
    found: list[Any] = []
    for _ in range(6):
        if native is None:
            break
        if hasattr(native, "close") or hasattr(native, "aclose"):
            found.append(native)
        native = _beneath(native)
    return found


_INNER = ("completion_stream", "response", "streaming_response", "stream_iterator", "streamwrapper")


def _beneath(native: Any) -> Any:
    """Return the stream that one reads from; text completions keep theirs in a generator's frame."""
    if inspect.isgenerator(native):
        held: Any = inspect.getgeneratorlocals(native)
    elif inspect.isasyncgen(native):
        held = getattr(native.ag_frame, "f_locals", {})
    else:
        held = {name: getattr(native, name, None) for name in _INNER}
    return next((inner for name in _INNER if (inner := held.get(name)) is not None), None)
