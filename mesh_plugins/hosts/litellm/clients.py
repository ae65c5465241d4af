"""HTTP clients for litellm to use with our credentials: they follow no redirect.

litellm's own clients follow redirects, and a cross-origin 307 carries ``x-api-key`` along. They are
also cached by their timeout, so that a deadline that shrinks from call to call would build a new
client, with a new TLS context, every time; ours take the timeout per request. They live in litellm's
own cache of clients, which keeps one per event loop, ages them out and closes them at exit.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import litellm
import openai
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler, get_ssl_configuration
from litellm.llms.openai.common_utils import BaseOpenAILLM

#: Enough for 100 threads on one host; httpx keeps 20 connections otherwise.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
#: Seconds a client is kept; a rotated secret's client goes then.
_TTL_S = 3_600

_making = threading.Lock()


def openai_client(base_url: str, key: str, query: Mapping[str, str], *, is_async: bool) -> Any:
    """Return a client of OpenAI's SDK for one destination and credential."""
    options: dict[str, Any] = {
        "base_url": base_url,
        "api_key": key,
        "default_query": dict(query),
        "max_retries": 0,
    }
    bound = hashlib.sha256(repr((base_url, key, sorted(query.items()))).encode()).hexdigest()
    if is_async:
        return _kept(f"aopenai-{bound}", lambda: openai.AsyncOpenAI(**options, http_client=_async_session()))
    return _kept(f"openai-{bound}", lambda: openai.OpenAI(**options, http_client=_session()))


def http_client(*, is_async: bool) -> Any:
    """Return litellm's plain handler, which serves every destination."""
    if is_async:
        return _kept("ahttp", lambda: AsyncHTTPHandler(follow_redirects=False))
    return _kept("http", lambda: HTTPHandler(follow_redirects=False))


def _kept(name: str, make: Callable[[], Any]) -> Any:
    cache = litellm.in_memory_llm_clients_cache
    at = f"mesh-{os.getpid()}-{name}"  # a forked child must not share its parent's connections
    client = cache.get_cache(at)
    if client is None:
        with _making:
            client = cache.get_cache(at)
            if client is None:
                client = make()
                cache.set_cache(at, client, ttl=_TTL_S, litellm_owned_client=True)
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
