"""Every vendor litellm knows is reached with our credential, and none of them may send it on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from mesh_plugins import ProviderError
from mesh_plugins.senders import SenderByKind
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team

ASK = [{"role": "user", "content": "hello"}]
#: One for each of litellm's ways to send: its OpenAI client, its shared handler, handlers of a vendor's own.
VENDORS = (
    "openai/m", "anthropic/m", "mistral/m", "groq/m", "gemini/gemini-2.5-flash", "cohere_chat/m",
    "ollama_chat/m", "huggingface/m", "deepseek/m", "together_ai/m", "azure_ai/m", "xai/m",
)  # fmt: skip


@dataclass
class Crossroads:
    """Two origins: the first answers every request with a redirect to the second, which notes who comes."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def crossroads() -> Iterator[Crossroads]:
    there = Crossroads()

    class Elsewhere(BaseHTTPRequestHandler):
        def _came(self) -> None:
            there.followed.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET = _came  # noqa: N815 - named by http.server

        def log_message(self, *args: Any) -> None:
            pass

    class First(Elsewhere):
        def _sent_on(self) -> None:
            there.asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{elsewhere.server_port}/stolen")
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_GET = _sent_on  # noqa: N815

    elsewhere, first = (ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Elsewhere, First))
    there.url = f"http://127.0.0.1:{first.server_port}"
    for server in (elsewhere, first):
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield there
    for server in (elsewhere, first):
        server.shutdown()
        server.server_close()


@pytest.fixture
def mesh(
    crossroads: Crossroads, litellm: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> MemoryMesh:
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-vendor")
    crossroads.asked.clear()
    crossroads.followed.clear()
    target = Target(id="t", provider="p", model=request.param)
    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(id="p", name="vendor", kind="litellm", base_url=crossroads.url, secret="env:VENDOR_KEY"),
        ),
        aliases=(Alias(id="a", name="any", operations=("chat",), targets=(target,)),),
        limits=(),
    )
    return MemoryMesh(document=document, sender=SenderByKind())


@pytest.mark.parametrize("mesh", VENDORS, indirect=True)
async def test_a_credential_stays_where_the_provider_is(mesh: MemoryMesh, crossroads: Crossroads) -> None:
    for ask in (mesh.chat, mesh.stream):
        with pytest.raises(ProviderError):
            ask("any", ASK)
    for aask in (mesh.achat, mesh.astream):
        with pytest.raises(ProviderError):
            await aask("any", ASK)

    assert crossroads.followed == []
    assert crossroads.asked


def test_other_traffic_of_the_process_is_followed_as_ever(litellm: Any, crossroads: Crossroads) -> None:
    crossroads.followed.clear()
    with httpx.Client(follow_redirects=True) as client:
        assert client.post(crossroads.url, json={}).status_code == 200
    assert crossroads.followed == ["/stolen"]


def test_what_a_message_names_is_fetched_as_ever(litellm: Any, crossroads: Crossroads) -> None:
    from mesh_plugins.hosts.litellm.attempts import attempt

    async def fetch() -> int:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            return (await client.get(crossroads.url)).status_code

    crossroads.followed.clear()
    with attempt(30.0), httpx.Client(follow_redirects=True) as client:
        assert client.get(crossroads.url).status_code == 200
        assert asyncio.run(fetch()) == 200
    assert crossroads.followed == ["/stolen", "/stolen"]


async def test_clients_that_hold_our_credential_follow_nothing_whoever_uses_them(
    litellm: Any, crossroads: Crossroads
) -> None:
    from mesh_plugins.hosts.litellm.clients import http_client, openai_client

    crossroads.followed.clear()
    asked: dict[str, Any] = {"model": "m", "messages": ASK}
    with pytest.raises(litellm.exceptions.openai.APIStatusError, match="307"):
        openai_client(crossroads.url, "sk", {}, is_async=False).chat.completions.create(**asked)
    with pytest.raises(litellm.exceptions.openai.APIStatusError, match="307"):
        await openai_client(crossroads.url, "sk", {}, is_async=True).chat.completions.create(**asked)
    with pytest.raises(httpx.HTTPStatusError, match="307"):
        http_client(is_async=False).post(crossroads.url, json={})
    with pytest.raises(httpx.HTTPStatusError, match="307"):
        await http_client(is_async=True).post(crossroads.url, json={})
    assert crossroads.followed == []
