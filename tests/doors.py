"""Many ways to ask for the same, tried one after the other: each is named by what it did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mesh_plugins.shared import shared_mesh

#: Asks an alias through one door and reads the answer to its end.
Door = Callable[[str], Any]


async def every(doors: Mapping[str, Door], alias: str) -> dict[str, str]:
    """Ask through every door; return what came of it: ``ok``, or the error in words."""
    told = {}
    for name, door in doors.items():
        try:
            answer = door(alias)
            answer = await answer if isinstance(answer, Awaitable) else answer
            if hasattr(answer, "__aiter__") and not hasattr(answer, "__next__"):
                answer = [chunk async for chunk in answer]
            elif hasattr(answer, "__next__"):
                answer = list(answer)
            told[name] = "ok" if answer else "no answer"
        except Exception as error:  # whatever it is, it is shown beside its door
            told[name] = f"{type(error).__mro__[1].__name__} {type(error).__name__}: {error}"
    return told


async def who_called(world: Any, facts: int) -> list[str]:
    """Return the ids of the keys in so many facts of a team, once they are in Postgres."""
    import asyncio

    def arrived() -> list[str]:
        assert shared_mesh().flush(60)
        world.collect()
        return [row["key_id"] for row in world.rows("e.key_id::text AS key_id")]

    keys = await asyncio.to_thread(arrived)
    assert len(keys) == facts
    return keys
