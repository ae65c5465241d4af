"""The stand-in provider, calls as the core makes them, and callers over every transport in its colours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh_plugins.core.call import CallRequest, ProviderCall, ProviderReply
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.httpx import HttpxTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import Transport
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.snapshot import KeyEntry, Provider, Target

MakeCall = Callable[..., ProviderCall]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def provider() -> Iterator[StandInProvider]:
    with StandInProvider() as running:
        yield running


@pytest.fixture
def make_call() -> MakeCall:
    def make(
        base_url: str | None = None,
        kind: str = "openai",
        *,
        operation: Any = "chat",
        model: str = "m",
        stream: bool = False,
        secret: Any = "sk-secret-1",
        timeout_s: float = 20.0,
        provider: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        **payload: Any,
    ) -> ProviderCall:
        if operation == "chat":
            payload.setdefault("messages", [{"role": "user", "content": "hello there"}])
        whom: Any = {"id": "p1", "name": "local", "kind": kind, "base_url": base_url, **(provider or {})}
        request = CallRequest(
            id="c1",
            operation=operation,
            alias="fast",
            payload=payload,
            principal=KeyEntry(id="k1", team="t1"),
            stream=stream,
        )
        return ProviderCall(
            request=request,
            provider=Provider(**whom),
            target=Target(id="g1", provider="p1", model=model, **(target or {})),
            secret=secret,
            payload={**payload, "model": model},
            stream=stream,
            timeout_s=timeout_s,
            attempt=1,
        )

    return make


@pytest.fixture(scope="module")
def transports() -> Iterator[dict[str, Transport]]:
    made: dict[str, Transport] = {
        "default": DefaultTransport(),
        "httpx": HttpxTransport(),
    }
    yield made
    for transport in made.values():
        transport.close()


@pytest.fixture(params=["default", "httpx"])
def transport(request: pytest.FixtureRequest, transports: dict[str, Transport]) -> Transport:
    return transports[request.param]


@pytest.fixture
def sender(transport: Transport) -> DirectSender:
    return DirectSender(transport)


class Caller:
    """Sends and collects, in one of the two colours."""

    def __init__(self, sender: DirectSender, colour: str) -> None:
        self.sender, self.colour = sender, colour

    def send(self, call: ProviderCall) -> ProviderReply:
        if self.colour == "sync":
            return self.sender.send(call)
        return asyncio.run(self.sender.asend(call))

    def collect(self, call: ProviderCall, seen: list[Any] | None = None) -> tuple[list[Any], ProviderReply]:
        """Read a whole stream; ``seen`` also gets the chunks that came before an error."""
        chunks: list[Any] = [] if seen is None else seen
        if self.colour == "async":
            return chunks, asyncio.run(self._acollect(call, chunks))
        stream = self.sender.stream(call)
        for chunk in stream:
            chunks.append(chunk)  # noqa: PERF402 - what was seen before an error stays seen
        return chunks, stream.reply

    async def _acollect(self, call: ProviderCall, chunks: list[Any]) -> ProviderReply:
        stream = await self.sender.astream(call)
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401 - as above
        return stream.reply


# The default is pyreqwest for threads and aiohttp for event loops.
@pytest.fixture(params=["default-sync", "default-async", "httpx-sync", "httpx-async"])
def caller(request: pytest.FixtureRequest, transports: dict[str, Transport]) -> Caller:
    transport, _, colour = request.param.partition("-")
    return Caller(DirectSender(transports[transport]), colour)


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(provider: StandInProvider, kind: str) -> str:
    return provider.base_url if kind == "openai" else provider.anthropic_url
