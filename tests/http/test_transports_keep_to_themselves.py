"""What operators configure, and what must not leak: cookies, proxies, certificates, forks, imports."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import respx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.httpx import HttpxTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import Transport, TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]
Make = Callable[[TransportOptions], DirectSender]


@pytest.fixture(params=[DefaultTransport, HttpxTransport])
def sender_with(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Transport] = []

    def make(options: TransportOptions) -> DirectSender:
        made.append(request.param(options))
        return DirectSender(made[-1])

    yield make
    for transport in made:
        transport.close()


def test_a_providers_cookies_do_not_reach_the_next_call(make_call: MakeCall) -> None:
    reply = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    with respx.mock(base_url="https://api.openai.com") as router:
        route = router.post("/v1/chat/completions")
        route.respond(json=reply, headers={"set-cookie": "session=other-team; Path=/"})
        transport = HttpxTransport()
        for _ in range(2):
            assert DirectSender(transport).send(make_call()).body.choices[0].message.content == "hi"
        transport.close()
        assert [call.request.headers.get("cookie") for call in route.calls] == [None, None]


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


def test_a_configured_proxy_takes_every_call(
    sender_with: Make, provider: StandInProvider, make_call: MakeCall
) -> None:
    sender = sender_with(TransportOptions(proxy=provider.origin))
    assert sender.send(make_call("http://nowhere.invalid/v1")).finish_reason == "stop"
    assert provider.requests[0].headers["host"] == "nowhere.invalid"


def test_the_environments_proxy_is_used_unless_told_otherwise(
    sender_with: Make, provider: StandInProvider, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", provider.origin)
    monkeypatch.setenv("http_proxy", provider.origin)
    assert (
        sender_with(TransportOptions()).send(make_call("http://nowhere.invalid/v1")).finish_reason == "stop"
    )
    with pytest.raises(ProviderError) as failed:
        sender_with(TransportOptions(use_environment=False)).send(make_call("http://nowhere.invalid/v1"))
    assert failed.value.kind == "connect"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and ``server.pem`` and ``client.pem`` with certificate and key, signed by it."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def signed(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(signed("authority", authority, ca=True))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(signed(name, key, ca=False) + private)
    return folder


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
    sender_with: Make, guarded: StandInProvider, certificates: Path, make_call: MakeCall
) -> None:
    ca, client = str(certificates / "ca.pem"), str(certificates / "client.pem")
    sender = sender_with(TransportOptions(ca_pem=ca, client_pem=client))
    assert sender.send(make_call(guarded.base_url)).finish_reason == "stop"
    for options in (TransportOptions(), TransportOptions(ca_pem=ca)):
        with pytest.raises(ProviderError):
            sender_with(options).send(make_call(guarded.base_url))
    assert guarded.count == 1


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
}


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.parametrize("when", FORKS)
def test_a_child_forked_calls_without_hanging_or_repeating(when: str, provider: StandInProvider) -> None:
    script = f"{SCRIPT}\n{FORKS[when]}\nprint(expected)"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, provider.base_url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert provider.count == int(ran.stdout.split()[-1])


def test_importing_the_direct_caller_loads_no_http_library() -> None:
    code = (
        "import sys, mesh_plugins.http.sender as s; s.DirectSender(); "
        "heavy = {'aiohttp', 'httpx', 'pyreqwest', 'litellm', 'langchain_core', 'openai', 'anthropic'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
