"""litellm's streams as ours: read along, judged at their end, closed when nobody reads them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import litellm
from litellm.utils import TextCompletionStreamWrapper

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.hosts.litellm.failures import broken_off, incomplete
from mesh_plugins.hosts.litellm.reading import ChatReader, Reader


class Chunks:
    """Chunks of one litellm stream; see `mesh_plugins.core.ports.ProviderStream`."""

    def __init__(self, begun: Begun, reader: Reader, call: ProviderCall, *, mocked: bool = False) -> None:
        self.native, self._mocked = begun.native, mocked
        self.reply = reader.reply
        self._reader, self._call, self._begun, self._chunks = reader, call, begun, iter(begun.native)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            chunk = self._begun.read.pop() if self._begun.read else next(self._chunks)
        except StopIteration:
            self._ended()
            raise
        except Exception as error:
            raise broken_off(self._call, error) from error
        self._reader.chunk(chunk)
        if self._reader.finished and not self._mocked and _invented(self._begun.wrapper):
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
        _read_held_back(self._reader, self._begun.wrapper)
        if not self._reader.finished:
            raise incomplete(self._call)


class AsyncChunks:
    """Like `Chunks`, on the caller's event loop."""

    def __init__(self, begun: Begun, reader: Reader, call: ProviderCall, *, mocked: bool = False) -> None:
        self.native, self._mocked = begun.native, mocked
        self.reply = reader.reply
        self._reader, self._call, self._begun, self._chunks = reader, call, begun, aiter(begun.native)
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = self._begun.read.pop() if self._begun.read else await anext(self._chunks)
        except StopAsyncIteration:
            self._ended()
            raise
        except Exception as error:
            raise broken_off(self._call, error) from error
        self._reader.chunk(chunk)
        if self._reader.finished and not self._mocked and _invented(self._begun.wrapper):
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
        _read_held_back(self._reader, self._begun.wrapper)
        if not self._reader.finished:
            raise incomplete(self._call)


#: Streams nobody reads any more, on their way out; their loops hold tasks weakly.
_closing: set[asyncio.Task[None]] = set()


def _close_soon(loop: asyncio.AbstractEventLoop, native: Any) -> None:
    task = loop.create_task(_aclosed(native))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _aclosed(native: Any) -> None:
    for resource in _connections(native):
        with contextlib.suppress(Exception):
            closing = getattr(resource, "aclose", None) or resource.close
            pending = closing()
            if pending is not None:
                await pending


@dataclass(slots=True)
class Begun:
    """A stream of litellm's whose request was sent.

    Attributes:
        native: the stream.
        read: its first chunk, where reading it was the only way to send the request.
        wrapper: litellm's chat stream, which may lie inside one of text completions; or None.
    """

    native: Any
    read: list[Any] = field(default_factory=list)
    wrapper: Any = None


def begun(native: Any, *, hide_usage: bool) -> Begun:
    """Return a stream whose request was sent: some of litellm's wait for the first read.

    Args:
        native: litellm's stream.
        hide_usage: give the caller the chunks it would have got without the usage we asked for.
    """
    started = Begun(native)
    _hide(native, hide_usage)
    if getattr(native, "make_call", None) is not None and native.completion_stream is None:
        try:
            native.fetch_sync_stream()
        except Exception as error:
            raise _mapped(native, error) from error
    elif inspect.isgenerator(getattr(native, "completion_stream", None)):
        started.read += itertools.islice(native, 1)
    started.wrapper = _wrapper(native)
    _hide(started.wrapper, hide_usage)
    return started


async def abegun(native: Any, *, hide_usage: bool) -> Begun:
    """Like `begun`, on the caller's event loop."""
    started = Begun(native)
    _hide(native, hide_usage)
    if getattr(native, "make_call", None) is not None and native.completion_stream is None:
        try:
            await native.fetch_stream()
        except Exception as error:
            raise _mapped(native, error) from error
    elif inspect.isasyncgen(getattr(native, "completion_stream", None)):
        with contextlib.suppress(StopAsyncIteration):
            started.read.append(await anext(native))
    started.wrapper = _wrapper(native)
    _hide(started.wrapper, hide_usage)
    return started


def _hide(native: Any, wanted: bool) -> None:
    if not wanted:
        return
    if isinstance(native, litellm.CustomStreamWrapper):
        native.send_stream_usage = False  # litellm 1.83 drops the usage unless stream_options ask for it
    elif isinstance(native, TextCompletionStreamWrapper):
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


def _invented(wrapper: Any) -> bool:
    """Tell whether litellm made up the finish reason of a stream that just ended.

    It does for a provider that fell silent, and for replies out of its cache, which are whole.
    """
    return (
        wrapper is not None
        and wrapper.received_finish_reason is None
        and wrapper.intermittent_finish_reason is None
        and wrapper.custom_llm_provider != "cached_response"
    )


def _read_held_back(reader: Reader, wrapper: Any) -> None:
    if isinstance(reader, ChatReader):
        reader.held_back(getattr(wrapper, "chunks", None) or ())


def _wrapper(native: Any) -> Any:
    """Return litellm's chat stream, which may lie inside one of text completions; or None."""
    for _ in range(_DEPTH):
        if native is None or isinstance(native, litellm.CustomStreamWrapper):
            break
        native = _beneath(native)
    return native if isinstance(native, litellm.CustomStreamWrapper) else None


def _connections(native: Any) -> list[Any]:
    """Return what holds a connection beneath a stream, outermost first."""
    found: list[Any] = []
    for _ in range(_DEPTH):
        if native is None:
            break
        if hasattr(native, "close") or hasattr(native, "aclose"):
            found.append(native)
        native = _beneath(native)
    return found


#: As deep as streams lie in streams.
_DEPTH = 6
_INNER = ("streamwrapper", "completion_stream", "response", "streaming_response", "stream_iterator", "self")


def _beneath(native: Any) -> Any:
    """Return the stream that one reads from; generators keep theirs in a frame, unread ones as ``self``."""
    if inspect.isgenerator(native):
        held: Any = inspect.getgeneratorlocals(native)
    elif inspect.isasyncgen(native):
        held = getattr(native.ag_frame, "f_locals", {})
    else:
        held = {name: getattr(native, name, None) for name in _INNER}
    return next((inner for name in _INNER if (inner := held.get(name)) is not None), None)
