"""Joining: concurrent requests of one team become one script call.

While a call for a tag is under way, further requests for it line up; when it is back, all that
wait (up to 64 requests or 256 charges) go together, first come first served and each all or
nothing. Nothing waits on purpose: a lone request goes at once. One call carrying 64 requests of
four limits costs the server an eighth of 64 calls, and the client far less than that.

With `AsyncJoiner` a caller that is cancelled touches nobody else.
`Joiner` lets one of the waiting threads call for all, then hands over to the next. The main thread calls
for itself: what a signal's handler raises may leave it between any two steps, and nobody shall wait for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from mesh_store.model.errors import MeshError, QuotaUnavailable
from mesh_store.redis.answers import Answer
from mesh_store.redis.asks import Ask
from mesh_store.redis.batches import Batch

#: What a request becomes: its answer, or why there is none.
Result = Answer | MeshError

#: Seconds a thread waits for another to call for it; far above any deadline of a call.
PATIENCE = 5.0

#: Requests of one tag and one time may go together.
_Lane = tuple[str, int]

#: Requests of tasks that wait for a call, in their order.
_Line = deque[tuple[Ask, asyncio.Future[Result]]]


class _Waiting:
    """A thread's request in line.

    Attributes:
        ask: the request.
        result: its answer once there is one.
        turn: set when the thread shall call for this batch.
        wake: released when there is a result or a turn.
    """

    __slots__ = ("ask", "result", "turn", "wake")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.result: Result | None = None
        self.turn: list[_Waiting] | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Joiner:
    """Joins the requests of several threads.

    Args:
        decide: asks Redis for a batch at a time and returns the results in order.
    """

    def __init__(self, decide: Callable[[Sequence[Ask], int], Sequence[Result]]) -> None:
        self._decide = decide
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._lanes: dict[_Lane, deque[_Waiting]] = {}

    def ask(self, ask: Ask, now_us: int) -> Result:
        """Return the answer to one request, which may have travelled with others."""
        if threading.get_ident() == threading.main_thread().ident:
            return self._decide([ask], now_us)[0]
        if self._pid != os.getpid():
            # A forked child: the threads that would serve its lanes exist in the parent only.
            self._start_afresh()
        lane = (ask.part.tag, now_us)
        with self._lock:
            line = self._lanes.get(lane)
            if line is not None:
                mine = _Waiting(ask)
                line.append(mine)
            else:
                line = self._lanes[lane] = deque()
                mine = None
        if mine is None:
            return self._serve(lane, line, [ask], [])
        try:
            woken = mine.wake.acquire(timeout=PATIENCE)
        except BaseException:
            self._leave(lane, line, mine)
            raise
        if not woken:
            # The thread that should have called is gone. The same id makes asking twice harmless.
            self._leave(lane, line, mine)
            return self._decide([ask], now_us)[0]
        if mine.turn is not None:
            return self._serve(lane, line, [waiting.ask for waiting in mine.turn], mine.turn[1:])
        assert mine.result is not None
        return mine.result

    def _serve(self, lane: _Lane, line: deque[_Waiting], asks: list[Ask], others: list[_Waiting]) -> Result:
        """Call for a batch, wake the others, and hand over; return the first request's result."""
        results: Sequence[Result] = ()
        try:
            results = self._decide(asks, lane[1])
            return results[0]
        finally:
            for at, waiting in enumerate(others, start=1):
                # Without results this thread was interrupted; what was granted is unheard.
                waiting.result = (
                    results[at] if results else QuotaUnavailable("the thread that asked was interrupted")
                )
                waiting.wake.release()
            self._hand_over(lane, line)

    def _hand_over(self, lane: _Lane, line: deque[_Waiting]) -> None:
        with self._lock:
            if not line:
                if self._lanes.get(lane) is line:
                    del self._lanes[lane]
                return
            batch, turn = Batch(), [line.popleft()]
            batch.take(turn[0].ask)
            while line and batch.take(line[0].ask):
                turn.append(line.popleft())
            turn[0].turn = turn
            turn[0].wake.release()

    def _leave(self, lane: _Lane, line: deque[_Waiting], mine: _Waiting) -> None:
        """Step out of the line, passing on a turn that was given meanwhile."""
        with self._lock:
            if mine in line:
                line.remove(mine)
            if mine.turn is None:
                # Nobody may be serving this line any more; whoever comes next starts a new one.
                if self._lanes.get(lane) is line:
                    del self._lanes[lane]
                return
            line.extendleft(reversed(mine.turn[1:]))
        self._hand_over(lane, line)


class AsyncJoiner:
    """Joins the requests of the tasks of one event loop.

    While nobody else asks, a request is called for by its own task: a task of the joiner's would cost
    two more turns of the loop. Should it be cancelled, only its own call is. As soon as two were seen
    together, calls are made from the joiner's task, which gathers a whole turn's requests first.

    Args:
        decide: asks Redis for a batch at a time and returns the results in order.
    """

    def __init__(self, decide: Callable[[Sequence[Ask], int], Awaitable[Sequence[Result]]]) -> None:
        self._decide = decide
        self._lanes: dict[_Lane, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alone = True

    def ask(self, ask: Ask, now_us: int) -> Awaitable[Result]:
        """Return what brings the answer to one request, which may travel with others; await it at once."""
        lane = (ask.part.tag, now_us)
        line = self._lanes.get(lane)
        if line is None:
            line = self._lanes[lane] = deque()
            if self._alone:
                return self._ask_alone(lane, line, ask)
            self._start(lane)
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        line.append((ask, answer))
        return answer

    async def _ask_alone(self, lane: _Lane, line: _Line, ask: Ask) -> Result:
        try:
            return (await self._decide([ask], lane[1]))[0]
        finally:
            if line:
                self._start(lane)
            else:
                del self._lanes[lane]

    def _start(self, lane: _Lane) -> None:
        # An empty context: nobody's trace or contextvars follow the others' requests.
        serve = self._serve(lane)
        task = asyncio.get_running_loop().create_task(serve, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, lane: _Lane) -> None:
        """Call for batch after batch until nobody waits."""
        line = self._lanes[lane]
        members: list[tuple[Ask, asyncio.Future[Result]]] = []
        try:
            while line:
                members = _next_batch(line)
                if members:
                    self._alone = len(members) == 1
                    results = await self._decide([ask for ask, _ in members], lane[1])
                    for (_, answer), result in zip(members, results, strict=True):
                        if not answer.done():
                            answer.set_result(result)
        except Exception as error:
            for _, answer in (*members, *line):
                if not answer.done():
                    answer.set_exception(error)
        finally:
            del self._lanes[lane]
            # Only a loop that shuts down cancels this task; whoever still waits is cancelled with it.
            for _, answer in (*members, *line):
                answer.cancel()


def _next_batch(line: _Line) -> list[tuple[Ask, asyncio.Future[Result]]]:
    """Take from the line what may go together; who was cancelled while waiting goes nowhere."""
    batch = Batch()
    members: list[tuple[Ask, asyncio.Future[Result]]] = []
    while line:
        ask, answer = line[0]
        if not answer.done():
            if not batch.take(ask):
                break
            members.append((ask, answer))
        line.popleft()
    return members
