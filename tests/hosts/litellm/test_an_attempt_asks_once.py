"""litellm's ways to its vendors retry whatever they are told; an attempt of ours is one request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mesh_plugins import ProviderError
from mesh_plugins.senders import SenderByKind
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team

ASK = [{"role": "user", "content": "hello"}]
#: The first of each are asked in every run, the others in the full one.
CHAT = ("openai/m", "mistral/m", "azure/m", "anthropic/m", "gemini/gemini-2.5-flash", "groq/m")
EMBEDDINGS = ("openai/m", "azure/m", "mistral/m", "cohere/m", "openai_like/m")


def _models(models: tuple[str, ...]) -> list[Any]:
    return [*models[:2], *(pytest.param(model, marks=pytest.mark.full) for model in models[2:])]


@dataclass
class Failing:
    """A provider that never answers well.

    Attributes:
        how: it answers 500, or hangs up before its answer, or in the middle of it.
    """

    url: str = ""
    how: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def running_failing() -> Iterator[Failing]:
    there = Failing()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            there.asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            if there.how != "hangs up":
                self.send_response(500 if there.how == "answers 500" else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "0" if there.how == "answers 500" else "600")
                self.end_headers()
            if there.how != "answers 500":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield there
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["answers 500", "hangs up", "breaks off"])
def failing(running_failing: Failing, request: pytest.FixtureRequest) -> Failing:
    running_failing.asked.clear()
    running_failing.how = request.param
    return running_failing


def _mesh(model: str, failing: Failing, monkeypatch: pytest.MonkeyPatch) -> MemoryMesh:
    """Return a mesh over one target, which spends nothing on repeats."""
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-vendor")
    target = Target(id="t", provider="p", model=model)
    provider = Provider(id="p", name="vendor", kind="litellm", base_url=failing.url, secret="env:VENDOR_KEY")
    alias = Alias(id="a", name="any", operations=("chat", "embeddings"), targets=(target,))
    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(provider,),
        aliases=(alias,),
        limits=(),
    )
    mesh = MemoryMesh(document=document, sender=SenderByKind())
    monkeypatch.setattr(mesh._engine.budget, "spend", lambda: False)
    return mesh


@pytest.mark.parametrize("model", _models(CHAT))
async def test_chat(model: str, litellm: Any, failing: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = _mesh(model, failing, monkeypatch)
    for ask in (mesh.chat, mesh.stream):
        with pytest.raises(ProviderError):
            list(ask("any", ASK))  # what breaks off does so while it is read
    for aask in (mesh.achat, mesh.astream):
        with pytest.raises(ProviderError):
            [_ async for _ in await aask("any", ASK)]

    assert len(failing.asked) == len(mesh.facts) == 4


@pytest.mark.parametrize("model", _models(EMBEDDINGS))
async def test_embeddings(
    model: str, litellm: Any, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = _mesh(model, failing, monkeypatch)
    with pytest.raises(ProviderError):
        mesh.embed("any", "hello")
    with pytest.raises(ProviderError):
        await mesh.aembed("any", "hello")

    assert len(failing.asked) == len(mesh.facts) == 2
