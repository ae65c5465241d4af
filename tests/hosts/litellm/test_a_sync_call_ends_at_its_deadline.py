"""litellm gives a sync call a timeout for each read; ours is for all of them together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mesh_plugins import ProviderError
from mesh_plugins.senders import SenderByKind
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team

ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def dripping() -> Iterator[str]:
    """A provider that sends a byte of its answer every 50 ms, for half a minute unless it is left."""
    closing = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "600")
            self.end_headers()
            with suppress(OSError):
                for _ in range(600):
                    self.wfile.write(b" ")
                    if closing.wait(0.05):
                        return

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    closing.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("model", ["openai/m", "mistral/m", "anthropic/m", "gemini/gemini-2.5-flash"])
def test_a_reply_that_drips_in_is_a_timeout(
    model: str, dripping: str, litellm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-vendor")
    provider = Provider(id="p", name="vendor", kind="litellm", base_url=dripping, secret="env:VENDOR_KEY")
    target = Target(id="t", provider="p", model=model)
    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(provider,),
        aliases=(Alias(id="a", name="any", operations=("chat",), targets=(target,)),),
        limits=(),
    )
    mesh = MemoryMesh(document=document, sender=SenderByKind())
    began = time.monotonic()

    with pytest.raises(ProviderError) as failed:
        mesh.chat("any", ASK, timeout_s=1.0)

    assert time.monotonic() - began < 25, "the whole half minute was waited for"
    assert failed.value.kind == "timeout"
    assert [fact.outcome for fact in mesh.facts] == ["timeout"]
