"""HTTP clients for litellm to use with our credentials: they follow no redirect.

litellm's own clients follow redirects, and a cross-origin 307 carries ``x-api-key`` along. They are
also cached by their timeout, so that a deadline that shrinks from call to call would build a new
client, with a new TLS context, every time; ours take the timeout per request. They live in litellm's
own cache of clients, which keeps one per event loop, ages them out and closes them at exit; those of an
event loop go with it (see `loop_end`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import httpx
import litellm
import openai
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler, get_ssl_configuration
from litellm.llms.openai.common_utils import BaseOpenAILLM

from mesh_plugins.hosts.litellm.loop_end import forget_with_loop
from mesh_store.model.forking import forkable_lock

#: Enough for 100 threads on one host; httpx keeps 20 connections otherwise.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
#: Seconds a client is kept; a rotated secret's client goes then.
_TTL_S = 3_600

_making = forkable_lock()


class _Once:
    """Asks once, whatever litellm sets: its embeddings give the client they get two retries of their own."""

    @property
    def max_retries(self) -> int:
        """None: there is one retry layer, and it is ours."""
        return 0

    @max_retries.setter
    def max_retries(self, wanted: int) -> None:
        pass


class OpenAI(_Once, openai.OpenAI):
    """OpenAI's client, which asks once; of the same name, because providers are told it."""


class AsyncOpenAI(_Once, openai.AsyncOpenAI):
    """Like `Client`, on the caller's event loop."""


def openai_client(base_url: str, key: str, query: Mapping[str, str], *, is_async: bool) -> Any:
    """Return a client of OpenAI's SDK for one destination and credential."""
    users = litellm.aclient_session if is_async else litellm.client_session

    def make() -> Any:
        kind: Any = AsyncOpenAI if is_async else OpenAI
        session = _async_session() if is_async else _session()
        return kind(
            base_url=base_url, api_key=key, default_query=dict(query), max_retries=0, http_client=session
        )

    name = _name(is_async, base_url, key, tuple(query.items()))
    return _kept(name, make, is_async=is_async, own=users is None)


@lru_cache(maxsize=256)
def _name(is_async: bool, *bound: Any) -> str:
    """Name a client without naming its credential."""
    return f"{'aopenai' if is_async else 'openai'}-{hashlib.sha256(repr(bound).encode()).hexdigest()}"


def http_client(*, is_async: bool) -> Any:
    """Return litellm's plain handler, which serves every destination."""

    def make() -> Any:
        handler = AsyncHTTPHandler() if is_async else HTTPHandler()
        # Both: the handler makes itself a new client when somebody closed this one.
        handler.follow_redirects = handler.client.follow_redirects = False
        return handler

    return _kept("ahttp" if is_async else "http", make, is_async=is_async, own=True)


def _kept(name: str, make: Callable[[], Any], *, is_async: bool, own: bool) -> Any:
    """Return the client of this name; ``own`` is false where closing it would close the user's session."""
    cache = litellm.in_memory_llm_clients_cache
    at = f"mesh-{os.getpid()}-{name}"  # a forked child must not share its parent's connections
    client = cache.get_cache(at)
    if client is None:
        with _making:
            client = cache.get_cache(at)
            if client is None:
                client = make()
                cache.set_cache(at, client, ttl=_TTL_S, litellm_owned_client=own)
                forget_with_loop(cache, at, client, close=is_async and own)
    return client


def _session() -> httpx.Client:
    """The user's own session where one is set, else one made as litellm makes its own."""
    if litellm.client_session is not None:
        return litellm.client_session  # type: ignore[no-any-return]
    return httpx.Client(verify=get_ssl_configuration(), follow_redirects=False, limits=_LIMITS)


def _async_session() -> httpx.AsyncClient | None:
    # Private, but the way to litellm's own transport, which is faster than httpx's.
    session: httpx.AsyncClient | None = BaseOpenAILLM._get_async_http_client()
    if session is not None and session is not litellm.aclient_session:
        session.follow_redirects = False
    return session
