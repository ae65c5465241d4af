"""Who waits for a provider in the main thread hears signals at once: Ctrl-C, a stop button, a supervisor.

Providers here stay silent for a minute; a signal that was heard ends the call long before, with one fact,
nothing reserved, and the connection closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.client_proto import ResponseHandler

from mesh_plugins.http import interruptible
from mesh_plugins.http.aiohttp import AiohttpTransport
from mesh_plugins.http.interruptible import InterruptibleTransport
from mesh_plugins.http.ownloop import OwnLoop
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import TransportFailure
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import ledger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")

ASK = [{"role": "user", "content": "hello"}]
WAYS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda mesh: mesh.chat("fast", ASK),
    "embed": lambda mesh: mesh.embed("fast", "hello"),
    "responses": lambda mesh: mesh.responses("fast", "hello"),
    "stream": lambda mesh: mesh.stream("fast", ASK),
    "anthropic": lambda mesh: mesh.chat("claude", ASK, max_tokens=50),
    "under a running loop": lambda mesh: asyncio.run(blocking(mesh)),
}


class Heard(Exception):
    """What a handler of these tests raises, as Celery's for a soft time limit does."""


@pytest.fixture
def mesh(provider: StandInProvider) -> Iterator[MemoryMesh]:
    sender = DirectSender()
    yield ledger(provider, sender)
    sender.close()


@pytest.fixture
def handled() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler) and None
    signal.signal(signal.SIGUSR1, before)


def raising(error: BaseException) -> Callable[..., None]:
    def handler(*_: object) -> None:
        raise error

    return handler


def signalled_once(provider: StandInProvider, claim: Callable[[StandInProvider], bool]) -> threading.Thread:
    """Send this process a signal, once the provider has seen what it should."""

    def send() -> None:
        if provider.wait_for(claim, 30):
            os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


async def blocking(mesh: Any) -> Any:
    return mesh.chat("fast", ASK)


def assert_settled(mesh: MemoryMesh, provider: StandInProvider, *outcomes: str) -> None:
    assert sorted(fact.outcome for fact in mesh.facts) == sorted(outcomes)
    assert not mesh.memory.open_intents
    assert provider.wait_for(lambda p: p.aborted == len(outcomes)), "a connection hangs at the provider"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("error", "outcome"), [(KeyboardInterrupt(), "cancelled"), (Heard(), "error")], ids=["interrupt", "error"]
)
def test_a_handler_that_raises_ends_the_call(
    way: str, error: BaseException, outcome: str, mesh: MemoryMesh, provider: StandInProvider, handled: Any
) -> None:
    handled(raising(error))
    provider.script(latency_s=60)
    signalled_once(provider, lambda p: p.count == 1)
    with pytest.raises(type(error)):
        WAYS[way](mesh)
    assert_settled(mesh, provider, outcome)
    provider.clear()
    assert mesh.chat("fast", ASK).choices[0].finish_reason == "stop", "the next call is unharmed"


def test_a_stream_hears_it_between_two_chunks(
    mesh: MemoryMesh, provider: StandInProvider, handled: Any
) -> None:
    handled(raising(KeyboardInterrupt()))
    provider.script(stall_after=3)
    stream = mesh.stream("fast", ASK)
    for _ in range(3):
        next(stream)
    own = stream.native._source._own  # type: ignore[attr-defined]

    def send() -> None:
        while not own._loop.is_running():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert_settled(mesh, provider, "cancelled")


def test_a_batch_ends_with_all_its_calls(mesh: MemoryMesh, provider: StandInProvider, handled: Any) -> None:
    handled(raising(KeyboardInterrupt()))
    provider.script(latency_s=60)
    signalled_once(provider, lambda p: p.count == 3)
    with pytest.raises(KeyboardInterrupt):
        mesh.map("fast", ["one", "two", "three", "four", "five"], concurrency=3)
    assert_settled(mesh, provider, "cancelled", "cancelled", "cancelled")
    assert provider.count == 3, "nothing is begun after it"


@pytest.mark.parametrize("way", ["chat", "under a running loop"])
def test_a_handler_that_returns_changes_nothing(
    way: str, mesh: MemoryMesh, provider: StandInProvider, handled: Any
) -> None:
    heard_while = []
    handled(lambda *_: heard_while.append(len(mesh.memory.open_intents)))
    provider.script(latency_s=1.0)
    signalled_once(provider, lambda p: p.count == 1)
    assert WAYS[way](mesh).choices[0].finish_reason == "stop"
    assert heard_while == [1], "heard while the call was open"
    assert [fact.outcome for fact in mesh.facts] == ["ok"]
    assert provider.count == 1


def test_calls_and_streams_of_the_main_thread_share_a_connection(
    mesh: MemoryMesh, provider: StandInProvider
) -> None:
    for _ in range(5):
        mesh.chat("fast", ASK)
        assert len(list(mesh.stream("fast", ASK))) > 3
    assert (provider.count, provider.connections, provider.aborted) == (10, 1, 0)


def test_a_stream_may_be_read_by_another_thread_while_the_main_one_calls(
    mesh: MemoryMesh, provider: StandInProvider
) -> None:
    streams = [mesh.stream("fast", ASK) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        read = [pool.submit(list, stream) for stream in streams]
        assert mesh.chat("fast", ASK).choices[0].finish_reason == "stop"
        assert all(len(chunks.result()) > 3 for chunks in read)
    assert [fact.outcome for fact in mesh.facts] == ["ok"] * 4
    assert provider.aborted == 0


def test_closing_a_stream_ends_its_reading_in_another_thread(
    mesh: MemoryMesh, provider: StandInProvider
) -> None:
    provider.script(stall_after=3)
    sender = DirectSender()
    stream = sender.stream(_attempt(mesh, provider))
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(stream))
        stream.close()
        assert provider.wait_for(lambda p: p.aborted == 1)
        reading.exception(30)
    sender.close()


def test_who_reads_after_the_deadline_is_told_whatever_has_arrived() -> None:
    arrived: Any = SimpleNamespace(
        status=200, headers={}, read_nowait=lambda: b"more", shut=lambda: None, let_go=lambda: None
    )
    home = InterruptibleTransport(AiohttpTransport())
    for ends, late in ((time.monotonic() + 60, False), (time.monotonic(), True)):
        stream = interruptible._Stream(home, OwnLoop(AiohttpTransport().aclose), arrived, ends)
        if late:
            with pytest.raises(TransportFailure) as told:
                stream.read()
            assert told.value.kind == "timeout"
        else:
            assert stream.read() == b"more"
        stream.close()
    home.close()


class _Interrupted:
    """A socket on which a handler raises while something is sent."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, data: bytes) -> int:
        raise Heard


def test_what_a_handler_raises_in_the_middle_of_sending_comes_out(provider: StandInProvider) -> None:
    async def sending() -> None:
        there = urlsplit(provider.base_url)
        _, writer = await asyncio.open_connection(there.hostname, there.port)
        transport: Any = writer.transport
        transport._sock = _Interrupted(transport._sock)
        writer.write(b"POST")
        await asyncio.sleep(5)

    with pytest.raises(Heard):
        OwnLoop(AiohttpTransport().aclose).run(sending())


def _attempt(mesh: MemoryMesh, provider: StandInProvider) -> Any:
    from mesh_plugins.core.call import ProviderCall

    plan = mesh._engine.plan(mesh.request("chat", "fast", {"messages": ASK}, stream=True))
    target = plan.targets[0]
    vendor = plan.snapshot.provider(target.provider)
    payload = {"messages": ASK, "model": target.model}
    return ProviderCall(plan.request, vendor, target, None, payload, True, 60.0, 1)


SCRIPT = """
import threading
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import ledger
with StandInProvider() as provider:
    mesh = ledger(provider)
    mesh._sender, mesh._speaks_interruptibly = None, False
    provider.script(latency_s=60)
    def tell():
        if provider.wait_for(lambda p: p.count == 1, 60):
            print("asked", flush=True)
    threading.Thread(target=tell).start()
    try:
        mesh.chat("fast", [{"role": "user", "content": "hello"}])
    except KeyboardInterrupt:
        closed = provider.wait_for(lambda p: p.aborted == 1, 30)
        print([fact.outcome for fact in mesh.facts], mesh.memory.open_intents, closed)
"""


def test_ctrl_c_ends_the_first_call_of_a_script() -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "asked\n"
    script.send_signal(signal.SIGINT)
    said, complained = script.communicate(timeout=50)
    assert (said.strip(), complained) == ("['cancelled'] {} True", "")


def test_ctrl_c_is_heard_although_what_it_interrupts_would_keep_it_to_itself(
    mesh: MemoryMesh, provider: StandInProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp takes whatever is raised while it parses an answer for the server's fault."""
    received = ResponseHandler.data_received

    def interrupted(self: Any, data: bytes) -> None:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        received(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mesh.chat("fast", ASK)
    monkeypatch.undo()
    assert [fact.outcome for fact in mesh.facts] == ["cancelled"]
    assert not mesh.memory.open_intents
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert mesh.chat("fast", ASK).choices[0].finish_reason == "stop", "the next call is unharmed"
