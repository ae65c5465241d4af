"""Chunks of one reply, in both colours: bytes come from a transport, a wire format makes chunks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.transport import AsyncByteStream, ByteStream, TransportFailure
from mesh_plugins.http.wire.base import Chunks
from mesh_plugins.http.wire.failures import incomplete, unreachable

#: How long the last bytes of a stream are waited for, once all it had to say was said.
_DRAIN_S = 0.25


class DirectStream:
    """Chunks of one reply; an iterator.

    Attributes:
        reply: usage, finish reason and ids, as far as they arrived.
    """

    def __init__(self, call: ProviderCall, source: ByteStream, chunks: Chunks) -> None:
        self._call, self._source, self._chunks = call, source, chunks
        self._ready: deque[Any] = deque()
        self._ended = False
        self.reply = chunks.reply

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._ready:
            if self._ended:
                raise StopIteration
            if _over(self._chunks):
                # Where waiting for it can be bounded: most transports' reading cannot.
                if self._chunks.complete and (drain := getattr(self._source, "drain", None)) is not None:
                    drain(_DRAIN_S)
                self.close()
                _finish(self._call, self._chunks)
                raise StopIteration
            self._read()
        return self._ready.popleft()

    def _read(self) -> None:
        try:
            piece = self._source.read()
        except TransportFailure as failure:
            self.close()
            if not self._chunks.complete:
                raise unreachable(self._call, failure) from None
            return
        if piece:
            self._ready.extend(self._chunks.feed(piece))
        else:
            self._chunks.done = True

    def close(self) -> None:
        """Close the connection; may be called twice and at any time."""
        self._ended = True
        self._ready.clear()
        self._source.close()


class AsyncDirectStream:
    """Like `DirectStream`, on the caller's event loop."""

    def __init__(self, call: ProviderCall, source: AsyncByteStream, chunks: Chunks) -> None:
        self._call, self._source, self._chunks = call, source, chunks
        self._ready: deque[Any] = deque()
        self._ended = self._at_end = False
        self.reply = chunks.reply

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            if _over(self._chunks):
                await self._drain()
                await self.aclose()
                _finish(self._call, self._chunks)
                raise StopAsyncIteration
            await self._read()
        return self._ready.popleft()

    async def _read(self) -> None:
        try:
            piece = await self._source.read()
        except TransportFailure as failure:
            await self.aclose()
            if not self._chunks.complete:
                raise unreachable(self._call, failure) from None
            return
        if piece:
            self._ready.extend(self._chunks.feed(piece))
        else:
            self._chunks.done = self._at_end = True

    async def _drain(self) -> None:
        """Read the end behind the last event, so that the connection can be used again; not for long."""
        if self._chunks.complete and not self._at_end:
            with contextlib.suppress(TimeoutError, TransportFailure):
                async with asyncio.timeout(_DRAIN_S):
                    await self._source.read()

    async def aclose(self) -> None:
        """Close the connection; may be called twice and at any time."""
        self._ended = True
        self._ready.clear()
        await self._source.close()


def _over(chunks: Chunks) -> bool:
    return chunks.done or chunks.failure is not None


def _finish(call: ProviderCall, chunks: Chunks) -> None:
    """Raise what the stream left to be raised, once its chunks were handed out."""
    if chunks.failure is not None:
        raise chunks.failure
    if not chunks.complete:
        raise incomplete(call)
