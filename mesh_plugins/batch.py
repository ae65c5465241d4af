"""Many prompts, bounded concurrency, order kept, failures collected instead of raised.

Each prompt is one governed call like any other; a refused or failed one leaves its `MeshError` in its
place, so that one bad prompt does not lose the answers of a thousand good ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from mesh_plugins.http.wards import Ward, hears, warded
from mesh_store.model.errors import ConfigError, MeshError

T = TypeVar("T")

#: How often who waits looks up, so that signals are heard.
_LOOK_S = 0.1
#: How long an interrupted batch waits for the calls it had begun.
_PATIENCE_S = 5.0

#: Told after each prompt: how many are done.
Progress = Callable[[int], None]


def as_messages(prompt: Any) -> Any:
    """Return a prompt as chat messages: a text becomes one message of the user."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def run(
    ask: Callable[[Any], T], prompts: Iterable[Any], *, concurrency: int, progress: Progress | None = None
) -> list[T | MeshError]:
    """Ask every prompt from ``concurrency`` threads; prompts are drawn as threads come free."""
    results: dict[int, T | MeshError] = {}
    drawn = enumerate(prompts)
    ward = Ward() if hears() else None
    pool = ThreadPoolExecutor(_checked(concurrency), thread_name_prefix="mesh-map")
    waiting: dict[Future[T | MeshError], int] = {}
    try:
        while _fill(waiting, drawn, pool, partial(_collected, ask, ward), concurrency):
            for future in wait(waiting, _LOOK_S, FIRST_COMPLETED).done:
                results[waiting.pop(future)] = future.result()
                _tell(progress, len(results))
    except BaseException:
        # Nobody will see the answers: an interrupt, or the prompts or the progress failed.
        pool.shutdown(wait=False, cancel_futures=True)
        if ward is not None:
            ward.cancel()
        wait(waiting, timeout=None if ward is None else _PATIENCE_S)
        raise
    pool.shutdown()
    return [results[index] for index in range(len(results))]


async def arun(
    ask: Callable[[Any], Awaitable[T]],
    prompts: Sequence[Any],
    *,
    concurrency: int,
    progress: Progress | None = None,
) -> list[T | MeshError]:
    """Like `run`, as tasks on the caller's event loop."""
    results: list[T | MeshError | None] = [None] * len(prompts)
    drawn = iter(enumerate(prompts))
    done = 0

    async def worker() -> None:
        nonlocal done
        for index, prompt in drawn:
            try:
                results[index] = await ask(prompt)
            except MeshError as error:
                results[index] = error
            done += 1
            _tell(progress, done)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_checked(concurrency), len(prompts))):
            group.create_task(worker())
    return [result for result in results if result is not None]


def _fill(
    waiting: dict[Future[T | MeshError], int],
    drawn: Iterator[tuple[int, Any]],
    pool: ThreadPoolExecutor,
    ask: Callable[[Any], T | MeshError],
    concurrency: int,
) -> bool:
    while len(waiting) < concurrency:
        following = next(drawn, None)
        if following is None:
            break
        waiting[pool.submit(ask, following[1])] = following[0]
    return bool(waiting)


def _collected(ask: Callable[[Any], T], ward: Ward | None, prompt: Any) -> T | MeshError:
    try:
        with warded(ward):
            return ask(prompt)
    except MeshError as error:
        return error


def _tell(progress: Progress | None, done: int) -> None:
    if progress is not None:
        progress(done)


def _checked(concurrency: int) -> int:
    if type(concurrency) is not int or not 1 <= concurrency <= 1_000:
        raise ConfigError(f"concurrency must be a whole number from 1 to 1000, not {concurrency!r}")
    return concurrency
