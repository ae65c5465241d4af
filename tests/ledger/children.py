"""What a child process does with litellm: a call and a stream in each colour, and one that is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger.books import ledger
from tests.ledger.table import TOO_LONG

_ASKED: dict[str, Any] = {"model": "mesh/fast", "max_tokens": 50}
_BRIEFLY = [{"role": "user", "content": "one two"}]


def played(mesh: MemoryMesh) -> list[str]:
    """Make the calls; return the outcomes of the facts they left."""
    import litellm

    before = len(mesh.facts)
    litellm.completion(messages=_BRIEFLY, **_ASKED)
    list(litellm.completion(messages=_BRIEFLY, stream=True, **_ASKED))
    asyncio.run(_on_a_loop())
    with suppress(litellm.RateLimitError):
        litellm.completion(messages=[{"role": "user", "content": TOO_LONG}], **_ASKED)
    return [fact.outcome for fact in mesh.facts[before:]]


async def _on_a_loop() -> None:
    import litellm

    await litellm.acompletion(messages=_BRIEFLY, **_ASKED)
    [chunk async for chunk in await litellm.acompletion(messages=_BRIEFLY, stream=True, **_ASKED)]


def told(mesh: MemoryMesh, pipe: Connection) -> None:
    """Make the calls in a child that inherited an installed mesh, and tell how they went."""
    pipe.send(played(mesh))


def told_from_scratch(pipe: Connection) -> None:
    """The same in a child that inherited nothing: it installs for itself, as any new process does."""
    from mesh_plugins.hosts.litellm import install

    with StandInProvider() as provider:
        mesh = ledger(provider)
        install(mesh)  # type: ignore[arg-type]
        pipe.send(played(mesh))
