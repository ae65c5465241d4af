"""One connection of an event loop: an exchange at a time, closed as soon as nobody wants its answer."""

from __future__ import annotations

import asyncio
import select

from mesh_plugins.http.aio.framing import AnswerParser, FramingError, Head
from mesh_plugins.http.transport import FailureKind, TransportFailure, most_of

#: Bytes of a stream that are kept for a reader that is slow; then the provider has to wait.
_AHEAD = 1024 * 1024


def _readable(socket: int) -> bool:
    if hasattr(select, "poll"):  # select itself knows only the first 1,024 descriptors
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([socket], [], [], 0)[0])


class Connection(asyncio.Protocol):
    """A connection to one origin.

    Attributes:
        closed: True once it is of no use any more.
        idle_since: loop time since when it waits for an exchange.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = False
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport
        self._socket = -1
        self._parser = AnswerParser()
        self._busy = False
        self._whole = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._paused = False
        self._failure: TransportFailure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self._deadline = 0.0
        self._idle_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket").fileno()

    def usable(self) -> bool:
        """Tell whether an idle connection may carry a request.

        What is readable on it now is its end, or nobody's answer; the loop may not have seen it yet.
        """
        return not (self.closed or self._transport.is_closing() or _readable(self._socket))

    async def exchange(self, raw: bytes, *, whole: bool, timeout_s: float, idle_s: float | None) -> Head:
        """Send a request; return when its whole answer arrived, or only its head.

        Raises:
            TransportFailure: there is no usable answer; the connection is closed.
        """
        self._parser, self._whole, self._busy = AnswerParser(), whole, True
        self._heard = now = self._loop.time()
        self._deadline, self._idle_s = now + timeout_s, idle_s
        self._transport.write(raw)
        self._watch()
        await self._wait()
        assert self._parser.head is not None
        return self._parser.head

    async def read(self) -> bytes:
        """Return what arrived of the body since, waiting for something; ``b""`` at its end."""
        if not self._pieces and not self._parser.done:
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Return what arrived of the body."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> bool:
        """End the exchange; True when the connection may be used again, else it is closed."""
        self._busy = False
        self._unwatch()
        if (
            self._parser.done
            and self._parser.reusable
            and not self.closed
            and not self._transport.is_closing()
        ):
            self.idle_since = self._loop.time()
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        self._unwatch()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # nobody asked
            return
        self._heard = self._loop.time()
        parser = self._parser
        had_head = parser.head is not None
        try:
            piece = parser.feed(data)
        except FramingError as error:
            self._fail("protocol", str(error))
            return
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
        if parser.done:
            self._unwatch()
        if self._whole:
            if parser.done or (parser.head is not None and self._size > most_of(parser.head.status)):
                self._wake()
        elif piece or parser.done or (parser.head is not None and not had_head):
            self._wake()
            if self._size > _AHEAD and not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self._busy or self._failure is not None:
            return
        if self._parser.eof():
            self._wake()
        elif self._parser.head is not None:
            self._fail("incomplete", "the connection closed before the answer was complete")
        else:
            self._fail("protocol", "the connection closed before an answer came")

    async def _wait(self) -> None:
        """Wait for the next thing to happen; whoever is cancelled here wants the answer no more."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            if self._failure is None:
                self._failure = TransportFailure("protocol", "given up")
            self.abort()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, kind: FailureKind, message: str) -> None:
        self._failure = TransportFailure(kind, message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure)
        self.abort()

    def _watch(self) -> None:
        """Look again when the deadline or the silence could be over; data only moves ``_heard``."""
        when = self._deadline
        if self._idle_s is not None and not self._paused:
            when = min(when, self._heard + self._idle_s)
        now = self._loop.time()
        if now >= self._deadline:
            self._fail("timeout", "the total deadline has passed")
        elif now >= when:
            self._fail("timeout", f"silent for {self._idle_s:g} s")
        else:
            if self._paused:
                self._heard = now
                when = min(when, now + (self._idle_s or 60.0))
            self._timer = self._loop.call_at(when, self._watch)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
