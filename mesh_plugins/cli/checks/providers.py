"""Providers: whether their secrets can be read on this machine, and whether they answer.

No secret is sent anywhere: a provider that answers at all, be it with a refusal, is reachable.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_plugins.cli.checks.finding import Finding

if TYPE_CHECKING:
    import httpx

    from mesh_store.model.entities import ProviderEntity
    from mesh_store.postgres import Database

#: Seconds a provider may take to answer.
DEADLINE = 5.0
#: Where a kind is reached when its provider has no address of its own.
DEFAULT_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


async def every_provider(database: Database) -> list[Finding]:
    """Look at every live provider."""
    import httpx

    providers = await _live(database)
    async with httpx.AsyncClient(timeout=DEADLINE, follow_redirects=False) as client:
        reached = await asyncio.gather(*(_reachable(client, provider) for provider in providers))
    return [_secret(provider) for provider in providers] + [finding for finding in reached if finding]


async def _live(database: Database) -> list[ProviderEntity]:
    from mesh_store.postgres.repository import Repository

    repo = Repository(database, actor="mesh doctor")
    found: list[ProviderEntity] = []
    after: str | None = None
    while True:
        page = await repo.list_providers(after=after, limit=1000)
        found += page.items
        after = page.next
        if after is None:
            return found


def _secret(provider: ProviderEntity) -> Finding:
    check = f"secret of {provider.name}"
    secret = provider.secret
    references = list(secret.values()) if isinstance(secret, dict) else [secret] if secret else []
    if not references:
        return Finding("fine", check, "needs none")
    if wrong := [said for reference in references if (said := _unreadable(str(reference)))]:
        return Finding("warning", check, "; ".join(wrong), "set it here, if calls are made from this machine")
    return Finding("fine", check, "can be read here")


def _unreadable(reference: str) -> str:
    """Say why a reference leads nowhere on this machine; what it leads to is never kept."""
    source, _, place = reference.partition(":")
    if source == "env" and not os.environ.get(place):
        return f"the environment variable {place} is not set here"
    if source == "file":
        try:
            if not Path(place).stat().st_size:
                return f"{place} is empty"
            with Path(place).open("rb"):
                pass
        except OSError as error:
            return f"{place}: {error.strerror}"
    return ""


async def _reachable(client: httpx.AsyncClient, provider: ProviderEntity) -> Finding | None:
    import httpx

    url = provider.base_url or DEFAULT_URLS.get(provider.kind)
    if url is None:
        return None  # litellm knows the address
    check = f"provider {provider.name}"
    try:
        async with client.stream("GET", url) as response:
            return Finding("fine", check, f"{url} answers ({response.status_code} without a key)")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        fix = "check base_url, the name server, the firewall and proxies"
        return Finding("failed", check, f"{url}: {type(error).__name__}: {error}", fix)
