"""What operators configure, and what must not leak: certificates, forks, imports."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.httpx import HttpxTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]
Make = Callable[[TransportOptions], Any]


async def test_respx_sees_async_calls_too(make_call: MakeCall) -> None:
    with respx.mock(base_url="https://api.anthropic.com") as router:
        router.post("/v1/messages").mock(
            side_effect=[httpx.Response(529, json={"error": {"message": "busy"}})]
        )
        sender = DirectSender(HttpxTransport())
        with pytest.raises(ProviderError, match="busy") as failed:
            await sender.asend(make_call(None, "anthropic"))
        assert failed.value.status == 529
        await sender.aclose()


@pytest.fixture
def guarded(certificates: Path) -> Iterator[StandInProvider]:
    """A provider that only speaks TLS, to clients with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with StandInProvider(tls=context) as running:
        yield running


def test_an_own_authority_and_a_client_certificate_open_the_door(
    caller_with: Make, guarded: StandInProvider, certificates: Path, make_call: MakeCall
) -> None:
    ca, client = str(certificates / "ca.pem"), str(certificates / "client.pem")
    caller = caller_with(TransportOptions(ca_pem=ca, client_pem=client))
    assert caller.send(make_call(guarded.base_url)).finish_reason == "stop"
    for options in (TransportOptions(), TransportOptions(ca_pem=ca)):
        with pytest.raises(ProviderError):
            caller_with(options).send(make_call(guarded.base_url))
    assert guarded.count == 1


@pytest.mark.parametrize("transport_class", [DefaultTransport, HttpxTransport])
async def test_a_call_cancelled_before_its_answer_closes_its_secured_connection(
    transport_class: Any, guarded: StandInProvider, certificates: Path, make_call: MakeCall
) -> None:
    guarded.script(latency_s=60)
    ca, client = str(certificates / "ca.pem"), str(certificates / "client.pem")
    sender = DirectSender(transport_class(TransportOptions(ca_pem=ca, client_pem=client)))
    task = asyncio.create_task(sender.asend(make_call(guarded.base_url)))
    assert await asyncio.to_thread(guarded.wait_for, lambda p: p.count == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(guarded.wait_for, lambda p: p.aborted == 1 and p.open_connections == 0)
    await sender.aclose()


SCRIPT = """
import asyncio, os, signal, sys
from mesh_plugins.core.call import CallRequest, ProviderCall
from mesh_plugins.http.sender import DirectSender
from mesh_store.model.snapshot import KeyEntry, Provider, Target

def call(word):
    request = CallRequest("c", "chat", "fast", {}, KeyEntry(id="k", team="t"))
    payload = {"model": "m", "messages": [{"role": "user", "content": word}]}
    provider = Provider(id="p", name="p", kind="openai", base_url=sys.argv[1])
    target = Target(id="g", provider="p", model="m")
    return ProviderCall(request, provider, target, None, payload, False, 9.0, 1)

def child(work):
    pid = os.fork()
    if not pid:
        signal.alarm(20)  # a hang is a death
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid

def ended(pid):
    assert os.waitpid(pid, 0)[1] == 0
"""
FORKS = {
    "in the middle of a stream": """
from dataclasses import replace
sender = DirectSender()
async def main():
    slow = {"model": "m?chunk_delay_s=0.05", "messages": [{"role": "user", "content": "a b c d"}]}
    stream = await sender.astream(replace(call(""), stream=True, payload=slow))
    await anext(stream)
    pid = os.fork()
    if not pid:
        del stream
        sys.exit()  # the loop, which is the parent's, is taken down by asyncio.run
    ended(pid)
    assert len([chunk async for chunk in stream]) > 2
    await sender.asend(call("parent after"))
asyncio.run(main())
expected = 2
""",
    "after the parent called": """
sender = DirectSender()
sender.send(call("parent")); asyncio.run(sender.asend(call("aparent")))
def work():
    sender.send(call("child")); asyncio.run(sender.asend(call("achild")))
    DirectSender().send(call("new in child"))
    ended(child(lambda: sender.send(call("grandchild"))))
    sender.close()
workers = [child(work) for _ in range(3)]
sender.send(call("parent meanwhile"))
for worker in workers: ended(worker)
sender.send(call("parent after")); asyncio.run(sender.asend(call("aparent after")))
sender.close()
expected = 4 + 3 * 4 + 1
assert "httpx" not in sys.modules, "the parent stays on the fast transport"
""",
    "before the parent called": """
sender = DirectSender()
def work():
    sender.send(call("child")); asyncio.run(sender.asend(call("achild")))
    assert "httpx" not in sys.modules, "a child without an inherited runtime uses the fast transport"
workers = [child(work) for _ in range(3)]
for worker in workers: ended(worker)
sender.send(call("parent"))
expected = 3 * 2 + 1
""",
    "after somebody else started the runtime": """
from pyreqwest.client import SyncClientBuilder
theirs = SyncClientBuilder().build()
sender = DirectSender()
ended(child(lambda: sender.send(call("child"))))
expected = 1
""",
    "over httpx": """
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.httpx import HttpxTransport
sender = DirectSender(HttpxTransport())
sender.send(call("parent")); asyncio.run(sender.asend(call("aparent")))
def work():
    sender.send(call("child")); asyncio.run(sender.asend(call("achild")))
workers = [child(work) for _ in range(3)]
for worker in workers: ended(worker)
sender.send(call("parent after"))
sender.close()
expected = 3 + 3 * 2
""",
    "with multiprocessing": """
import multiprocessing
sender = DirectSender()
sender.send(call("parent"))
def work(word):
    return sender.send(call(word)).body.choices[0].message.content
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, ["a", "b", "c"]) == ["stand-in m: a", "stand-in m: b", "stand-in m: c"]
expected = 4
""",
    "while a thread makes the first client": """
import signal, threading, time
from mesh_plugins.http import pyreqwest
parent, making, configured = os.getpid(), threading.Event(), pyreqwest._configured
def slowly(*options):
    if os.getpid() != parent:
        signal.pause()  # as the half made runtime would
    making.set()
    time.sleep(0.3)
    return configured(*options)
pyreqwest._configured = slowly
sender = DirectSender()
def in_a_thread(said):
    thread = threading.Thread(target=sender.send, args=(call(said),))
    thread.start()
    return thread
meanwhile = in_a_thread("parent")
making.wait(20)
ended(child(lambda: in_a_thread("child").join()))
meanwhile.join()
expected = 2
""",
}
#: What the main thread waits with, and what any other does.
TRANSPORTS = {"heard": "", "unheard": "from mesh_plugins.http import wards; wards.hears = lambda: False"}


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.parametrize("signals", TRANSPORTS)
@pytest.mark.parametrize("when", FORKS)
def test_a_child_forked_calls_without_hanging_or_repeating(
    when: str, signals: str, provider: StandInProvider
) -> None:
    script = f"{SCRIPT}\n{TRANSPORTS[signals]}\n{FORKS[when]}\nprint(expected)"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, provider.base_url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert provider.count == int(ran.stdout.split()[-1])


def test_a_loop_that_is_never_closed_leaves_nothing_to_complain_about(provider: StandInProvider) -> None:
    script = f"""{SCRIPT}
from dataclasses import replace
sender, loop = DirectSender(), asyncio.new_event_loop()
loop.run_until_complete(sender.asend(call("a")))
stream = loop.run_until_complete(sender.astream(replace(call("b"), stream=True)))
loop.run_until_complete(anext(stream))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, provider.base_url], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_importing_the_direct_caller_loads_no_http_library() -> None:
    code = (
        "import sys, mesh_plugins.http.sender as s; s.DirectSender(); "
        "heavy = {'aiohttp', 'httpx', 'pyreqwest', 'litellm', 'langchain_core', 'openai', 'anthropic'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
