"""The operator's `Admin` for code that does not await: scripts, and notebooks whose loop is running."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Self, TypeVar

from mesh_store.admin.admin import Admin
from mesh_store.postgres.repository import Repository

_T = TypeVar("_T")


class Loop:
    """An event loop in a daemon thread; what it is given runs there while the caller waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh-admin", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run to the end and return, or raise, what it does."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop the thread."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class BlockingRepository:
    """The methods of a `Repository`, each returning when it is done; listings of keys minted included."""

    def __init__(self, loop: Loop, repository: Repository) -> None:
        self._run = loop.run
        self._loop = loop
        self._repository = repository

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._repository, name)
        if inspect.iscoroutinefunction(attribute):
            return partial(self._call, attribute)
        if inspect.isasyncgenfunction(attribute):
            return partial(self._collect, attribute)
        return attribute

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._repository)})

    @contextlib.contextmanager
    def batch(self, *, expected_revision: int | None = None) -> Iterator[BlockingRepository]:
        """Make many changes in one transaction; see `Repository.batch`."""
        opening = self._repository.batch(expected_revision=expected_revision)
        with _entered(self._loop, opening) as joined:
            yield BlockingRepository(self._loop, joined)

    def _call(self, method: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **fields: Any) -> Any:
        return self._run(method(*arguments, **fields))

    def _collect(self, method: Callable[..., AsyncIterator[Any]], *arguments: Any, **fields: Any) -> Any:
        async def collect() -> list[Any]:
            return [item async for item in method(*arguments, **fields)]

        return self._run(collect())


class BlockingAdmin(BlockingRepository):
    """An `Admin` whose methods return when they are done; arguments as for `Admin.open`.

    ::

        with BlockingAdmin(database_url, redis_url, actor="ada") as admin:
            admin.create_team(name="research")
    """

    def __init__(self, database_url: str, redis_url: str, **options: Any) -> None:
        loop = Loop()
        self._closing = contextlib.ExitStack()
        self._closing.callback(loop.close)
        try:
            opening = Admin.open(database_url, redis_url, **options)
            admin = self._closing.enter_context(_entered(loop, opening))
        except BaseException:
            self._closing.close()
            raise
        super().__init__(loop, admin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both engines' connections; closing twice is fine."""
        self._closing.close()


@contextlib.contextmanager
def _entered(loop: Loop, manager: contextlib.AbstractAsyncContextManager[_T]) -> Iterator[_T]:
    """Enter an asynchronous context from a thread that does not await."""
    value = loop.run(_awaited(manager.__aenter__()))
    try:
        yield value
    except BaseException as error:
        if not loop.run(_awaited(manager.__aexit__(type(error), error, error.__traceback__))):
            raise
    else:
        loop.run(_awaited(manager.__aexit__(None, None, None)))


async def _awaited(work: Any) -> Any:
    return await work
