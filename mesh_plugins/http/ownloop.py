"""An event loop that whoever waits for an answer drives itself, so that signals are heard while it waits.

Python runs signal handlers in the main thread, between two steps of Python. A native library that waits
holds them up until it has its answer: Ctrl-C, a notebook's stop button and a worker's soft time limit come
too late. A loop waits in Python; whatever a handler raises leaves it at once, and the connection is cut.

What a handler raises in the middle of a callback is at the mercy of who is interrupted there: aiohttp takes
it for the server's fault, or keeps it. Ctrl-C is therefore not raised inside the loop, but stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mesh_plugins.http.wards import Ward

_T = TypeVar("_T")

#: How long a thread that was told to stop is waited for.
_PATIENCE_S = 5.0
#: Turns of a loop in which what was closed is gone.
_TURNS = 3
#: How often who waits looks up: a signal that came just before it began to wait does not end the waiting.
_LOOK_S = 0.1
#: What asyncio says of an error that it would otherwise only log: in a callback, while it reads or writes.
_SWALLOWED = ("Exception in callback", "Fatal ")


# poll(2) keeps nothing in the kernel that a forked child would share with its parent, as epoll does.
_Selector: Any = getattr(selectors, "PollSelector", selectors.DefaultSelector)


class _Looking(_Selector):  # type: ignore[misc]
    """Waits in short pieces, between which handlers of signals run."""

    def select(self, timeout: float | None = None) -> Any:
        return super().select(_LOOK_S if timeout is None else min(timeout, _LOOK_S))


class OwnLoop:
    """An event loop driven step by step, by one thread at a time.

    Args:
        closing: closes the connections of the loop it is awaited on.

    Attributes:
        ended: it was interrupted or closed, and cannot be used again.
    """

    def __init__(self, closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._selector = _Looking()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._loop.set_exception_handler(self._heard)
        self._closing = closing
        self._task: asyncio.Task[Any] | None = None
        self._raised: BaseException | None = None
        self.ended = False
        weakref.finalize(self, _dropped, self._loop, self._selector, os.getpid())

    def run(self, doing: Coroutine[Any, Any, _T], ward: Ward | None = None) -> _T:
        """Do something to its end.

        Args:
            doing: what to do.
            ward: who may cancel it from another thread.

        Raises:
            BaseException: what it raises, or a signal's handler; after a handler the loop has ended.
        """
        try:
            if asyncio._get_running_loop() is None:
                return self._driven(doing, ward)
            return self._driven_elsewhere(doing)
        except _Failed as failed:
            raise failed.error from None
        except BaseException:
            self.end()
            raise

    def cancel(self) -> None:
        """Cancel what is being done, from another thread."""
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(task.cancel)

    def end(self) -> None:
        """Cut every connection and close the loop; may be called twice."""
        if self.ended:
            return
        self.ended = True
        _cut(self._selector)
        if self._loop.is_running():  # by a thread that did not stop in time; without connections it will
            return
        try:
            if (task := self._task) is not None:
                task.cancel()
                self._here_or_elsewhere(_awaited(task))
            self._here_or_elsewhere(self._closing())
        finally:
            self._loop.close()

    def _here_or_elsewhere(self, doing: Coroutine[Any, Any, Any]) -> None:
        if asyncio._get_running_loop() is None:
            self._loop.run_until_complete(doing)
        else:
            thread = threading.Thread(target=self._loop.run_until_complete, args=(doing,), daemon=True)
            thread.start()
            thread.join()

    def _driven(self, doing: Coroutine[Any, Any, _T], ward: Ward | None) -> _T:
        task: asyncio.Task[_T] = self._loop.create_task(self._stopping(doing))
        self._task = task
        if ward is not None:
            ward.enter(self)
        interrupts = self._hear_interrupts()
        try:
            self._loop.run_forever()  # what a handler of a signal raises while the loop waits comes out here
        finally:
            if interrupts:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            if ward is not None:
                ward.leave(self)
        if self._raised is not None:
            raise self._raised
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._loop.run_until_complete(_turns())
            raise _Failed(error)
        return task.result()

    def _hear_interrupts(self) -> bool:
        """Let Ctrl-C stop the loop: it would raise `KeyboardInterrupt` in the middle of whatever runs."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return False
        signal.signal(signal.SIGINT, self._interrupted)
        return True

    def _interrupted(self, *_: object) -> None:
        self._raised = self._raised or KeyboardInterrupt()
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if not self.ended:
            self._loop.stop()

    async def _stopping(self, doing: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await doing
        finally:
            self._stop()  # a turn of the loop earlier than `run_until_complete` would

    def _driven_elsewhere(self, doing: Coroutine[Any, Any, _T]) -> _T:
        """Drive it in a thread, because a loop runs in this one already, as it does in a notebook."""
        answers: list[_T] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def drive() -> None:
            try:
                answers.append(self._driven(doing, None))
            except BaseException as error:  # whatever it is, who waits shall have it
                errors.append(error)
            finally:
                done.set()

        try:
            threading.Thread(target=drive, name="mesh-call", daemon=True).start()
            while not done.wait(_LOOK_S):
                pass
        except BaseException:
            self.cancel()
            done.wait(_PATIENCE_S)
            raise
        if errors:
            raise errors[0]
        return answers[0]

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what a signal's handler raised in the middle of a callback: asyncio would only log it."""
        error = context.get("exception")
        if error is None or not str(context.get("message")).startswith(_SWALLOWED):
            loop.default_exception_handler(context)
            return
        self._raised = self._raised or error
        loop.stop()


class _Failed(Exception):
    """What was being done failed of itself: its loop is unharmed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _awaited(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], timeout=_PATIENCE_S)
    if task.done() and not task.cancelled():
        task.exception()  # nobody else will ask


def _cut(selector: selectors.BaseSelector) -> None:
    """Shut every connection of a loop that is not being driven, whatever protocol is spoken over it."""
    for key in list((selector.get_map() or {}).values()):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(key.fd)) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6):  # not the loop's own pair
                connection.shutdown(socket.SHUT_RDWR)


def _dropped(loop: asyncio.AbstractEventLoop, selector: selectors.BaseSelector, pid: int) -> None:
    if pid == os.getpid() and not loop.is_running() and not loop.is_closed():
        _cut(selector)
        loop.close()
