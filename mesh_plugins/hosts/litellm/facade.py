"""What a caller of litellm holds while it reads a governed stream.

It answers to the class of litellm's own stream (``isinstance`` holds, attributes show through), and
every way to read or close it goes through the governed one, which settles.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from mesh_plugins.core.streams import AsyncGovernedStream, GovernedStream
from mesh_plugins.hosts.litellm.doors import PREFIX
from mesh_plugins.hosts.litellm.errors import hosted
from mesh_store.model.errors import MeshError


class speaking_litellm:  # noqa: N801 - reads as the word it is in a with statement
    """Turn what we raise inside into errors that litellm's callers catch too."""

    __slots__ = ("_alias",)

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MeshError):
            twin = hosted(error, PREFIX + self._alias)
            if twin is not error:
                raise twin from error


_END = object()


def _shown(stream: Any, name: str) -> Any:
    """Return an attribute of litellm's stream; its special methods would read past the governed one."""
    if name.startswith("__"):
        raise AttributeError(f"{type(stream.native.native).__name__!r} object has no attribute {name!r}")
    return getattr(stream.native.native, name)


class StreamFacade:
    """A governed stream in the clothes of litellm's."""

    def __init__(self, governed: GovernedStream, alias: str) -> None:
        self._mesh_stream, self._mesh_alias = governed, alias

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._mesh_stream.native.native)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return _shown(self._mesh_stream, name)

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self  # litellm lets an event loop read a sync stream

    async def __anext__(self) -> Any:
        chunk = await asyncio.to_thread(next, self, _END)
        if chunk is _END:
            raise StopAsyncIteration
        return chunk

    def __next__(self) -> Any:
        with speaking_litellm(self._mesh_alias):
            return next(self._mesh_stream)

    def close(self) -> None:
        """Stop reading: closes the connection and settles at what was received; may be called twice."""
        self._mesh_stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStreamFacade:
    """Like `StreamFacade`, on the caller's event loop."""

    def __init__(self, governed: AsyncGovernedStream, alias: str) -> None:
        self._mesh_stream, self._mesh_alias = governed, alias

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._mesh_stream.native.native)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return _shown(self._mesh_stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        with speaking_litellm(self._mesh_alias):
            return await anext(self._mesh_stream)

    async def aclose(self) -> None:
        """Stop reading: closes the connection and settles at what was received; may be called twice."""
        await self._mesh_stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
