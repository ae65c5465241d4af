"""Clients in litellm's cache that go with their event loop.

litellm's cache keeps a client per event loop, and forgets a loop that ended only when 200 others came
after it: a process that calls ``asyncio.run`` for each call would hold 200 dead clients and their sockets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from litellm.caching.llm_caching_handler import LLMClientCache

#: What waits for the end of each client's loop; gone with the client, whoever drops it.
_waiting: WeakKeyDictionary[Any, AsyncGenerator[None, None]] = WeakKeyDictionary()


def forget_with_loop(cache: LLMClientCache, at: str, client: Any, *, close: bool) -> None:
    """Take ``client`` out of ``cache`` when the running event loop ends; without a loop, do nothing.

    Args:
        cache: litellm's.
        at: the client's name there.
        client: just put there.
        close: close it, too, on its own loop; else litellm closes it later if it owns it and it is idle.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    generator = _until_the_end(cache, cache.update_cache_key_with_event_loop(at), ref(client), close)
    try:
        generator.__anext__().send(None)  # it awaits nothing before it waits
    except StopIteration:
        _waiting[client] = generator


async def _until_the_end(
    cache: LLMClientCache, at: str, client: ReferenceType[Any], close: bool
) -> AsyncGenerator[None, None]:
    pid = os.getpid()
    # A loop that ends closes its asynchronous generators (`loop.shutdown_asyncgens`, which
    # asyncio.run calls): the only notice a library gets while it can still await.
    try:
        yield
    finally:
        kept = client()
        if kept is not None and pid == os.getpid():  # a fork's connections are its parent's
            _waiting.pop(kept, None)
            cached = cache.cache_dict.get(at) is kept
            if cached and close:  # not `delete_cache`, which would wait for a call on this loop to close it
                cache.cache_dict.pop(at, None)
                cache.ttl_dict.pop(at, None)
            elif cached:
                cache.delete_cache(at)
            if close:
                await kept.close()
