"""Many prompts, bounded concurrency, order kept, failures collected instead of raised.

Each prompt is one governed call like any other; a refused or failed one leaves its `MeshError` in its
place, so that one bad prompt does not lose the answers of a thousand good ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from mesh_store.model.errors import ConfigError, MeshError

T = TypeVar("T")

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
    with ThreadPoolExecutor(_checked(concurrency), thread_name_prefix="mesh-map") as pool:
        waiting: dict[Future[T | MeshError], int] = {}
        try:
            while _fill(waiting, drawn, pool, ask, concurrency):
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    results[waiting.pop(future)] = future.result()
                    _tell(progress, len(results))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
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
    ask: Callable[[Any], T],
    concurrency: int,
) -> bool:
    while len(waiting) < concurrency:
        following = next(drawn, None)
        if following is None:
            break
        waiting[pool.submit(_collected, ask, following[1])] = following[0]
    return bool(waiting)


def _collected(ask: Callable[[Any], T], prompt: Any) -> T | MeshError:
    try:
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
